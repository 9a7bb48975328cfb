//! The comparison for the operator: which bots change and why, which rows go, what could not be told.

use vecferry_core::bot::BotKey;
use vecferry_core::delta::{Chosen, Delta, Reason, Terms};
use vecferry_core::phase::Phase;
use vecferry_core::report::{Event, Reporter};

use super::Run;
use super::look::Seen;
use crate::error::Error;
use crate::progress::Progress;
use crate::ui::{Ui, table};
use crate::units::{count, counted, printable};

/// Documents named for one reason; the others are counted.
const NAMED: usize = 3;

/// Bots named in a line of a few; the others are counted.
const BOTS: usize = 5;

impl Run<'_> {
    /// Shows a comparison; the second one of a run as what differs from the first.
    pub(super) fn tell(
        &self,
        seen: &Seen,
        phase: Phase,
        before: Option<&Seen>,
    ) -> Result<(), Error> {
        let ui: &Ui = self.ui;
        let compared = seen.delta.compared();
        if ui.json {
            let progress = Progress::of_events(ui);
            progress.event(&Event::DeltaCompared { phase, compared });
            return Ok(());
        }
        match before {
            None => ui.data(&render(&seen.delta, &self.terms)),
            Some(before) => {
                let differences = differences(&before.delta, &seen.delta);
                differences.iter().for_each(|line| ui.insist(line));
                Ok(())
            }
        }
    }
}

fn render(delta: &Delta, terms: &Terms) -> String {
    let mut blocks = Vec::new();
    if !delta.reembed.is_empty() {
        let rows = delta.reembed.iter().map(|chosen| {
            let key = &chosen.bot.key;
            let texts = [&key.id, &key.owner, &chosen.bot.title].map(|text| printable(text));
            let [id, owner, title] = texts;
            vec![id, owner, title, count(chosen.rows), why(chosen)]
        });
        blocks.push(table(
            &["embedded anew", "owner", "title", "rows", "because"],
            &[3],
            rows.collect(),
        ));
    }
    if !delta.remove.is_empty() {
        let rows = delta.remove.iter().map(|removal| {
            vec![printable(&removal.bot), count(removal.rows), removal.why.as_str().to_owned()]
        });
        blocks.push(table(&["rows removed of", "rows", "because"], &[1], rows.collect()));
    }
    let lost: Vec<Vec<String>> = delta
        .keep
        .iter()
        .filter(|kept| !kept.missing.is_empty())
        .map(|kept| vec![printable(&kept.bot.id), printable(&kept.bot.owner), named(&kept.missing)])
        .collect();
    if !lost.is_empty() {
        blocks.push(table(
            &["kept as copied", "owner", "though these documents are gone"],
            &[],
            lost,
        ));
    }
    let open: Vec<Vec<String>> = delta
        .undecided
        .iter()
        .map(|it| vec![printable(&it.bot), count(it.rows), printable(&it.item)])
        .collect();
    if !open.is_empty() {
        blocks.push(table(&["kept, undecided", "rows", "may be this item"], &[1], open));
    }
    blocks.push(totals(delta, terms).join("\n"));
    blocks.join("\n\n")
}

fn totals(delta: &Delta, terms: &Terms) -> Vec<String> {
    let compared = delta.compared();
    let mut lines = vec![
        format!("since       {}", terms.taken_at),
        format!("kept        {} as copied", counted(compared.keep, "bot")),
        format!("anew        {}", counted(compared.reembed, "bot")),
        format!(
            "removed     {} of {}, on the target only",
            counted(compared.rows_to_remove, "row"),
            counted(compared.remove, "bot")
        ),
    ];
    if compared.keep_web > 0 {
        let web: Vec<&BotKey> =
            delta.keep.iter().filter(|kept| kept.web > 0).map(|kept| &kept.bot).collect();
        lines.push(format!(
            "web         {} kept with documents on the web, which cannot be compared (--web reembed embeds them anew): {}",
            counted(compared.keep_web, "bot"),
            bots(&web)
        ));
    }
    let apart = [
        (compared.knowledge_base, "bots on Bedrock Knowledge Bases keep what is copied"),
        (compared.rows_without_bot, "rows without a bot are kept"),
    ];
    for (number, what) in apart.into_iter().filter(|(number, _)| *number > 0) {
        lines.push(format!("besides     {} {what}", count(number)));
    }
    lines.push(
        "not told    whether a bot's texts were split otherwise since: rows do not say how they were".to_owned(),
    );
    lines
}

fn why(chosen: &Chosen) -> String {
    let mut lines: Vec<String> = chosen.reasons.iter().map(in_words).collect();
    if !chosen.missing.is_empty() {
        let missing = named(&chosen.missing);
        lines.push(format!("(gone: {missing}; --lost-documents says what becomes of the bot)"));
    }
    lines.join("\n")
}

fn in_words(reason: &Reason) -> String {
    match reason {
        Reason::New => "it has no rows".to_owned(),
        Reason::Added { documents } => format!("added: {}", named(documents)),
        Reason::Changed { documents } => format!("changed: {}", named(documents)),
        Reason::Gone { documents, rows } => {
            format!("{} without a document: {}", counted(*rows, "row"), named(documents))
        }
        Reason::Unread { documents, why } => {
            format!("not readable: {} ({})", named(documents), printable(why))
        }
        Reason::Web { documents } => format!("{} on the web", counted(*documents, "document")),
        Reason::Chosen => "chosen by an earlier run".to_owned(),
        Reason::Sync { status } => format!("the application's last embedding is {status}"),
    }
}

/// The first few of these, and how many more.
fn named(documents: &[String]) -> String {
    let mut text =
        documents.iter().take(NAMED).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
    if documents.len() > NAMED {
        text.push_str(&format!(" and {} more", documents.len() - NAMED));
    }
    text
}

fn bots(keys: &[&BotKey]) -> String {
    let mut text = keys
        .iter()
        .take(BOTS)
        .map(|key| printable(&key.to_string()))
        .collect::<Vec<_>>()
        .join(", ");
    if keys.len() > BOTS {
        text.push_str(&format!(" and {} more", keys.len() - BOTS));
    }
    text
}

/// What is otherwise than when it was asked.
fn differences(before: &Delta, now: &Delta) -> Vec<String> {
    let chosen = |delta: &Delta| -> Vec<BotKey> {
        delta.reembed.iter().map(|chosen| chosen.bot.key.clone()).collect()
    };
    let removed = |delta: &Delta| -> Vec<BotKey> {
        let key = |id: &String| BotKey { owner: String::new(), id: id.clone() };
        delta.remove.iter().map(|removal| key(&removal.bot)).collect()
    };
    let fewer = |one: &[BotKey], other: &[BotKey]| -> Vec<BotKey> {
        one.iter().filter(|key| !other.contains(key)).cloned().collect()
    };
    let (before_chosen, now_chosen) = (chosen(before), chosen(now));
    let (before_removed, now_removed) = (removed(before), removed(now));
    let changes = [
        (fewer(&now_chosen, &before_chosen), "now embedded anew as well"),
        (fewer(&before_chosen, &now_chosen), "not embedded anew any more"),
        (fewer(&now_removed, &before_removed), "now removed as well"),
        (fewer(&before_removed, &now_removed), "not removed any more"),
    ];
    let said = changes.into_iter().filter(|(keys, _)| !keys.is_empty()).map(|(keys, what)| {
        let named: Vec<&BotKey> = keys.iter().collect();
        format!(
            "changed during the copy: {} {what}: {}",
            counted(keys.len() as u64, "bot"),
            bots(&named)
        )
    });
    said.collect()
}

#[cfg(test)]
mod tests {
    use vecferry_core::bot::{Bot, Splitting};
    use vecferry_core::delta::{Kept, Removal, WebPolicy, Why};

    use super::*;

    fn bot(id: &str) -> Bot {
        Bot {
            key: BotKey { owner: "ann".into(), id: id.into() },
            title: "Rules".into(),
            documents: Vec::new(),
            splitting: Splitting::default(),
            sync: None,
        }
    }

    fn delta() -> Delta {
        let documents = ["a", "b", "c", "d\n"].map(str::to_owned).to_vec();
        Delta {
            keep: vec![Kept {
                bot: bot("kept").key,
                title: "Rules".into(),
                rows: 4,
                web: 1,
                missing: vec!["lost.pdf".into()],
            }],
            reembed: vec![Chosen {
                bot: bot("chosen"),
                rows: 12,
                reasons: vec![Reason::Added { documents }],
                missing: vec!["gone.pdf".into()],
                fresh: None,
            }],
            remove: vec![Removal { bot: "deleted".into(), rows: 7, why: Why::Deleted }],
            ..Delta::default()
        }
    }

    #[test]
    fn every_bot_that_changes_stands_with_its_reasons() {
        let terms =
            Terms { taken_at: "2026-03-01T12:00:00Z".parse().unwrap(), web: WebPolicy::Keep };
        let text = render(&delta(), &terms);
        for part in [
            "added: a, b, c and 1 more",
            "(gone: gone.pdf; --lost-documents says",
            "the bot was deleted",
            "lost.pdf",
            "removed     7 rows of 1 bot, on the target only",
            "1 bot kept with documents on the web",
            "ann/kept",
            "since       2026-03-01T12:00:00Z",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn what_changed_during_the_copy_is_said_bot_by_bot() {
        let mut now = delta();
        assert_eq!(differences(&delta(), &now), Vec::<String>::new());
        now.reembed[0].bot = bot("other");
        now.remove.clear();
        assert_eq!(
            differences(&delta(), &now),
            [
                "changed during the copy: 1 bot now embedded anew as well: ann/other",
                "changed during the copy: 1 bot not embedded anew any more: ann/chosen",
                "changed during the copy: 1 bot not removed any more: deleted",
            ]
        );
    }
}
