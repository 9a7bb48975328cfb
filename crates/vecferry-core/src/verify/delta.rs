//! What a delta leaves to be compared: bots that were embedded anew, or whose rows were removed, differ from the source by
//! intention. The record names them ([`crate::store::preserved_bots`] gives them to every section), and exactly those
//! are left out, on both sides; every other bot is compared as after a copy.

use std::collections::HashSet;

use super::content::{Scope, bot_text};
use super::moment;
use crate::copy::digest::Digests;
use crate::copy::part::PreservedBots;
use crate::delta::Choice;
use crate::delta::record::choices;
use crate::error::{Error, Result, Side};
use crate::pg::Session;
use crate::phase::Route;
use crate::reembed::store::bot_counts;

/// What is said of the bots that are left out; `None` where the newest migration is no delta, or has chosen none.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub(super) async fn left_out(target: &Session) -> Result<Option<String>> {
    let record = moment::record(target).await?.filter(|record| record.route == Route::Delta);
    let Some(record) = record else { return Ok(None) };
    let choices = choices(target, &record.id).await?;
    let number = |wanted| choices.iter().filter(|(_, choice)| *choice == wanted).count();
    let (embedded, removed) = (number(Choice::Reembed), number(Choice::Remove));
    if embedded + removed == 0 {
        return Ok(None);
    }
    let proven = bot_counts(target, &record.id).await?.unwrap_or_default().proven;
    let bots = |number: usize| format!("{number} {}", if number == 1 { "bot" } else { "bots" });
    Ok(Some(format!(
        "delta {}: left out are {} to be embedded anew ({proven} of them proven) and {} whose rows were removed; their rows are not the source's",
        record.id,
        bots(embedded),
        bots(removed)
    )))
}

/// Takes the bots that are left out from what was recorded while their rows were copied.
///
/// # Errors
/// [`Error::Refused`] when the record's bots cannot be told by their ids, for want of a known type.
pub(super) fn leave_out(
    recorded: &mut Digests,
    scope: &Scope,
    left_out: Option<&PreservedBots>,
) -> Result<()> {
    let (Some(column), Some(left_out)) = (&scope.bot, left_out.filter(|it| !it.bots.is_empty()))
    else {
        return Ok(());
    };
    let left_out: HashSet<&str> = left_out.bots.iter().map(String::as_str).collect();
    let mut total = recorded.total;
    let mut unknown = false;
    recorded.bots.retain(|key, digest| {
        let Some(bytes) = &key.0 else { return true };
        match bot_text(column, scope.format, bytes) {
            Some(bot) if left_out.contains(bot.as_str()) => {
                total -= *digest;
                false
            }
            text => {
                unknown |= text.is_none();
                true
            }
        }
    });
    recorded.total = total;
    if unknown {
        let (table, kind) = (scope.table.plain(), &column.type_name);
        return Err(Error::Refused {
            side: Side::Target,
            what: format!(
                "bots of {table} are of type {kind}, whose recorded values have no known text"
            ),
            hint: Some("compare with the source: `vecferry verify` without --recorded".into()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::digest::{BotKey, Digest};
    use crate::inventory::Column;
    use crate::pg::{CopyFormat, QualifiedName};

    fn scope(base_type: &str) -> Scope {
        let bot = Column {
            name: "botid".into(),
            type_name: base_type.into(),
            base_type: base_type.into(),
            dimensions: None,
            not_null: false,
            generated: None,
            identity: None,
            default: None,
            collation: None,
            text_only: None,
        };
        Scope {
            table: QualifiedName::new("public", "items"),
            columns: Vec::new(),
            format: CopyFormat::Binary,
            bot: Some(bot),
            ours: None,
            obstacle: None,
        }
    }

    fn recorded() -> Digests {
        let mut digests = Digests::default();
        for (bot, rows, sum) in [(Some("a   "), 3, u128::MAX), (Some("b   "), 2, 7), (None, 1, 9)] {
            let digest = Digest { rows, sum };
            let key = BotKey(bot.map(|bot: &str| bot.as_bytes().to_vec()));
            digests.bots.insert(key, digest);
            digests.total += digest;
        }
        digests
    }

    #[test]
    fn exactly_the_bots_that_were_chosen_are_taken_out() {
        let chosen = PreservedBots { bots: vec!["a".into(), "new".into()], null: false };
        let mut digests = recorded();
        leave_out(&mut digests, &scope("bpchar"), Some(&chosen)).unwrap();
        assert_eq!((digests.total, digests.bots.len()), (Digest { rows: 3, sum: 16 }, 2));
        let mut whole = recorded();
        leave_out(&mut whole, &scope("bpchar"), Some(&PreservedBots::default())).unwrap();
        leave_out(&mut whole, &scope("bpchar"), None).unwrap();
        assert_eq!(whole, recorded());
        let unknown = leave_out(&mut recorded(), &scope("inet"), Some(&chosen));
        assert!(unknown.is_err_and(|error| error.hint().is_some()));
    }
}
