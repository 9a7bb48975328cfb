//! What came of an embedding, beside what was expected when it began.

use vecferry_core::reembed::estimate::{Amount, Estimate};
use vecferry_core::reembed::{NONE_LEFT, Summary};

use crate::ui::table;
use crate::units::{count, duration};

/// Tokens, dollars and hours: expected, the range that was given, and what it took. `None` where nobody estimated.
pub(super) fn beside_estimate(summary: &Summary) -> Option<String> {
    let estimate = summary.estimated.as_ref()?;
    let spent = &summary.spent;
    let tokens = |of: &Amount| count(of.tokens);
    let usd = |of: &Amount| dollars(of.usd());
    let time = |of: &Amount| duration(of.hours * 3600.0);
    let mut rows = vec![
        row("tokens", estimate, tokens, spent.tokens.map_or("not told".into(), count)),
        row("price", estimate, usd, dollars(spent.usd())),
        row("time", estimate, time, duration(spent.hours * 3600.0)),
    ];
    if estimate.fargate.is_some() {
        let of_tasks = |of: &Amount| duration(of.task_hours * 3600.0);
        rows.insert(2, row("tasks' time", estimate, of_tasks, duration(spent.task_hours * 3600.0)));
    }
    let shown = table(&["", "estimated", "range", "came out"], &[1, 2, 3], rows);
    let silent = summary.counts.proven.saturating_sub(spent.told);
    Some(match (spent.told, silent) {
        (0, _) | (_, 0) => shown,
        (_, silent) => format!("{shown}\ntokens of {} are not told", bots(silent)),
    })
}

/// What to do about bots that were not embedded.
pub(super) fn how_to_finish(summary: &Summary) -> String {
    let mut hint =
        "mend what the reasons say and run the same command again: proven bots are not repeated"
            .to_owned();
    if summary.failed.iter().any(|bot| bot.reason.contains(NONE_LEFT)) {
        hint.push_str(
            "; --lost-documents does not apply to a bot that lost every document: it keeps the rows it has on the target \
             until one can be read, or until the bot or its documents are changed or removed in the registry",
        );
    }
    hint
}

fn row(
    what: &str,
    estimate: &Estimate,
    show: impl Fn(&Amount) -> String,
    came_out: String,
) -> Vec<String> {
    let range = format!("{} – {}", show(&estimate.low), show(&estimate.high));
    vec![what.to_owned(), show(&estimate.expected), range, came_out]
}

fn dollars(usd: Option<f64>) -> String {
    match usd {
        None => "not known".into(),
        Some(usd) if usd > 0.0 && usd < 0.01 => "<$0.01".into(),
        Some(usd) => format!("${usd:.2}"),
    }
}

fn bots(number: u64) -> String {
    crate::units::counted(number, "bot")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecferry_core::reembed::Spent;
    use vecferry_core::reembed::store::Counts;

    fn summary(estimated: Option<Estimate>, spent: Spent) -> Summary {
        Summary {
            migration: "m".into(),
            counts: Counts { proven: 5, ..Counts::default() },
            failed: vec![],
            rows: 0,
            tokens: 0,
            reused: 0,
            aliases: 0,
            odd: vec![],
            seconds: 0.0,
            estimated,
            spent,
        }
    }

    #[test]
    fn the_outcome_stands_beside_what_was_expected() {
        let amount = |tokens: u64, usd: f64| Amount {
            tokens,
            embedding_usd: Some(usd),
            hours: 0.5,
            ..Amount::default()
        };
        let estimate = Estimate {
            expected: amount(1_000_000, 0.1),
            low: amount(0, 0.0),
            high: amount(2_000_000, 0.2),
            ..Estimate::default()
        };
        let spent = Spent {
            tokens: Some(900_000),
            told: 4,
            embedding_usd: Some(0.09),
            hours: 0.25,
            ..Spent::default()
        };
        let shown = beside_estimate(&summary(Some(estimate.clone()), spent)).unwrap();
        for part in
            ["1,000,000", "0 – 2,000,000", "900,000", "$0.10", "$0.09", "15", "tokens of 1 bot are"]
        {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        assert!(!shown.contains("tasks"), "{shown}");
        let silent = beside_estimate(&summary(Some(estimate), Spent::default())).unwrap();
        assert!(silent.contains("not told") && silent.contains("not known"), "{silent}");
        assert_eq!(beside_estimate(&summary(None, spent)), None);
    }
}
