//! The record of a delta, on the target: its terms, and the bots whose copied rows do not stay. Choices of an earlier
//! run stand: see [`carry`].

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio_postgres::types::Json;

use super::compare::{Chosen, Delta, Kept};
use super::reason::Reason;
use super::{Terms, WebPolicy};
use crate::error::{Error, Result, Side};
use crate::knowledge::Knowledge;
use crate::pg::{Dsn, Session, quote_ident};
use crate::phase::{Phase, Route};
use crate::reembed::registry::Listing;
use crate::reembed::rows::bot_type;
use crate::reembed::store::{MigrationStore, PostgresStore, Settings, begin_run};
use crate::store::{self, MigrationRecord, RelationRecord};

/// What is done with a bot whose copied rows do not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// It is embedded anew.
    Reembed,
    /// Its rows are removed.
    Remove,
}

impl Choice {
    fn as_str(self) -> &'static str {
        match self {
            Choice::Reembed => "reembed",
            Choice::Remove => "remove",
        }
    }
}

/// A delta as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Migration id.
    pub id: String,
    /// Phase in progress.
    pub phase: Phase,
    /// What its bots are measured by.
    pub terms: Terms,
    /// Bots whose copied rows do not stay, as chosen by earlier runs.
    pub choices: Vec<(String, Choice)>,
    /// Bots whose rows were on the target before and stay, with their rows as they are.
    pub preserved: Vec<String>,
}

/// The newest migration on the target if it is a delta, finished or not.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub async fn recorded(target: &Dsn) -> Result<Option<Recorded>> {
    let session = Session::open(target, Side::Target, "look").await?;
    if !store::exists(&session).await? {
        return Ok(None);
    }
    let record = MigrationRecord::newest(&session).await?;
    let Some(record) = record.filter(|record| record.route == Route::Delta) else {
        return Ok(None);
    };
    let relations = RelationRecord::all(&session, &record.id).await?;
    let preserved = relations.into_iter().flat_map(|it| it.relation.preserved.bots).collect();
    Ok(Some(Recorded {
        terms: terms(&session, &record.id).await?,
        choices: choices(&session, &record.id).await?,
        id: record.id,
        phase: record.phase,
        preserved,
    }))
}

async fn terms(session: &Session, id: &str) -> Result<Terms> {
    let sql = "SELECT (extract(epoch FROM taken_at) * 1000000)::bigint, web FROM vecferry.delta WHERE migration = $1";
    let row = session.query_opt("read the delta's terms", sql, &[&id]).await?;
    let parsed = row.and_then(|row| {
        let taken_at = Timestamp::from_microsecond(row.get(0)).ok()?;
        Some(Terms { taken_at, web: WebPolicy::parse(row.get(1))? })
    });
    parsed.ok_or_else(|| Error::Bug { what: format!("delta {id} has no terms in its record") })
}

/// Bots of a delta whose copied rows do not stay, by id.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub(crate) async fn choices(session: &Session, id: &str) -> Result<Vec<(String, Choice)>> {
    let sql =
        "SELECT bot, choice = 'remove' FROM vecferry.delta_bot WHERE migration = $1 ORDER BY bot";
    let rows = session.query("read the delta's bots", sql, &[&id]).await?;
    let choice = |remove| if remove { Choice::Remove } else { Choice::Reembed };
    Ok(rows.iter().map(|row| (row.get(0), choice(row.get(1)))).collect())
}

/// Records the terms, in the transaction that creates the schema.
///
/// # Errors
/// [`Error::Postgres`] when the target fails.
pub(crate) async fn insert_terms(session: &Session, id: &str, terms: &Terms) -> Result<()> {
    // Microseconds since 1970, as PostgreSQL keeps times.
    let sql = "INSERT INTO vecferry.delta (migration, taken_at, web) \
               VALUES ($1, to_timestamp(0) + $2::bigint * interval '1 microsecond', $3)";
    let (taken_at, web) = (terms.taken_at.as_microsecond(), terms.web.as_str());
    session.execute("record the delta's terms", sql, &[&id, &taken_at, &web]).await?;
    Ok(())
}

/// Adds what earlier runs have chosen to a comparison: the rows of such a bot are not the copy's any more, or will not
/// be in a moment, so that it cannot keep them.
pub fn carry(delta: &mut Delta, listing: &Listing, choices: &[(String, Choice)]) {
    for (id, choice) in choices {
        let Some(at) = delta.keep.iter().position(|kept| kept.bot.id == *id) else { continue };
        let Some(bot) = listing.bots.iter().find(|bot| bot.key == delta.keep[at].bot) else {
            continue;
        };
        let kept = delta.keep.remove(at);
        let reason = match choice {
            Choice::Reembed => Reason::Chosen,
            // It is back in the registry, and its rows are gone.
            Choice::Remove => Reason::New,
        };
        let Kept { rows, missing, .. } = kept;
        let (bot, reasons) = (bot.clone(), vec![reason]);
        delta.reembed.push(Chosen { bot, rows, reasons, missing, fresh: None });
    }
}

/// Records what is done with every bot, removes the rows of bots that are gone, and opens the embedding's record: all in
/// one transaction, under the target's lock. Returns how many rows were removed.
///
/// # Errors
/// [`Error::Refused`] when another run is at work, [`Error::Configuration`] when an earlier run settled with another
/// registry, model or table, [`Error::Postgres`] when the target fails; nothing is changed then.
pub async fn settle(target: &Dsn, id: &str, settings: &Settings, delta: &Delta) -> Result<u64> {
    let session = Session::open(target, Side::Target, "settle").await?;
    store::lock(&session).await?;
    let opened = PostgresStore::of_delta(target.clone());
    if let Some(earlier) = opened.newest().await?.filter(|earlier| earlier.id == id) {
        // Another registry would make bots of this one look deleted.
        settings.refuse_others(&earlier.settings, &opened.describe())?;
    }
    let record = MigrationRecord::newest(&session).await?;
    let ours = record.filter(|record| record.id == id);
    if let Some(record) = ours.as_ref().filter(|record| record.phase == Phase::Done) {
        return Err(Error::Refused {
            side: Side::Target,
            what: format!("another run has just completed {}", record.id),
            hint: Some("run the same command again: there is nothing left to do".into()),
        });
    }
    if !ours.is_some_and(|record| record.phase == Phase::Embedding) {
        return Err(Error::Bug { what: format!("delta {id} is not in phase embedding") });
    }
    session.batch("begin", "BEGIN").await?;
    // The session ends with an error, and the transaction with it.
    begin_run(&session, id, settings).await?;
    write(&session, id, delta).await?;
    let gone: Vec<&str> = delta.remove.iter().map(|removal| removal.bot.as_str()).collect();
    let removed = match gone.is_empty() {
        true => 0,
        false => remove_rows(&session, &settings.knowledge, &gone).await?,
    };
    session.batch("commit what was chosen", "COMMIT").await?;
    store::unlock(&session).await?;
    Ok(removed)
}

async fn write(session: &Session, id: &str, delta: &Delta) -> Result<()> {
    let chosen = delta.reembed.iter().map(|chosen| {
        let reasons: serde_json::Map<_, _> = chosen
            .reasons
            .iter()
            .map(|reason| (reason.name().to_owned(), reason.count().into()))
            .collect();
        (&chosen.bot.key.id, Choice::Reembed, reasons)
    });
    let removed = delta.remove.iter().map(|removal| {
        let reason = (removal.why.name().to_owned(), 1.into());
        (&removal.bot, Choice::Remove, serde_json::Map::from_iter([reason]))
    });
    let row = |(bot, choice, reasons): (&String, Choice, serde_json::Map<_, _>)| json!({ "bot": bot, "choice": choice.as_str(), "reasons": reasons });
    let rows: Vec<serde_json::Value> = chosen.chain(removed).map(row).collect();
    let sql = "INSERT INTO vecferry.delta_bot (migration, bot, choice, reasons) \
               SELECT $1, bot, choice, reasons FROM jsonb_to_recordset($2) AS b(bot text, choice text, reasons jsonb) \
               ON CONFLICT (migration, bot) DO UPDATE SET choice = excluded.choice, reasons = excluded.reasons, \
               decided_at = excluded.decided_at";
    session.execute("record the delta's bots", sql, &[&id, &Json(rows)]).await?;
    Ok(())
}

/// The source keeps them.
async fn remove_rows(session: &Session, knowledge: &Knowledge, bots: &[&str]) -> Result<u64> {
    let Some(column) = &knowledge.bot else {
        return Err(Error::Bug { what: "bots to remove from a table without a bot column".into() });
    };
    let (name, of_type) = (quote_ident(column), bot_type(session, knowledge, column).await?);
    // In the column's own type, so that its index serves.
    let sql =
        format!("DELETE FROM {} WHERE {name} = ANY ($1::text[]::{of_type}[])", knowledge.table);
    session.execute("remove the rows of bots that are gone", &sql, &[&bots]).await
}

#[cfg(test)]
mod tests {
    use super::super::compare::{Kept, Removal};
    use super::super::reason::Why;
    use super::*;
    use crate::bot::{Bot, BotKey, Splitting};

    fn bot(id: &str) -> Bot {
        Bot {
            key: BotKey { owner: "ann".into(), id: id.into() },
            title: String::new(),
            documents: Vec::new(),
            splitting: Splitting::default(),
            sync: None,
        }
    }

    #[test]
    fn what_an_earlier_run_has_chosen_is_not_taken_back() {
        let ids = ["kept", "chosen", "chosen twice", "back", "gone"];
        let listing =
            Listing { bots: ids[..4].iter().map(|id| bot(id)).collect(), ..Listing::default() };
        let kept = |id: &str| Kept {
            bot: bot(id).key,
            title: String::new(),
            rows: 3,
            web: 0,
            missing: Vec::new(),
        };
        let again = Chosen {
            bot: bot("chosen twice"),
            rows: 1,
            reasons: vec![Reason::Web { documents: 1 }],
            missing: Vec::new(),
            fresh: None,
        };
        let mut delta = Delta {
            keep: ["kept", "chosen", "back"].map(kept).to_vec(),
            reembed: vec![again.clone()],
            remove: vec![Removal { bot: "gone".into(), rows: 1, why: Why::Deleted }],
            ..Delta::default()
        };
        let choices = [
            ("chosen", Choice::Reembed),
            ("chosen twice", Choice::Reembed),
            ("back", Choice::Remove),
            ("gone", Choice::Reembed),
        ];
        carry(&mut delta, &listing, &choices.map(|(id, choice)| (id.to_owned(), choice)));
        let reasons: Vec<(&str, &[Reason])> = delta
            .reembed
            .iter()
            .map(|chosen| (chosen.bot.key.id.as_str(), &chosen.reasons[..]))
            .collect();
        let expected: [(&str, &[Reason]); 3] = [
            ("chosen twice", &again.reasons),
            ("chosen", &[Reason::Chosen]),
            ("back", &[Reason::New]),
        ];
        assert_eq!(reasons, expected);
        assert_eq!((delta.keep.len(), delta.remove.len()), (1, 1));
    }
}
