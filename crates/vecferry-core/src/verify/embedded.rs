//! Bots that were embedded anew, by a delta or a re-embedding. The source does not have their rows, so that they are held
//! against what was recorded when each was proven: as many rows, each with a vector by the rule of the proof
//! ([`crate::reembed::proof`]). What their texts say is compared with nothing: nobody else holds them.
//!
//! What it comes to:
//!
//! - **A proven bot with more or fewer rows differs**, whoever has written since; so does one whose rows were removed and
//!   that has some. An application that goes on with the target makes such differences by itself, as it does among the
//!   rows that were copied.
//! - **A bot that failed differs**: the target does not hold what it was to hold, but older rows or none.
//! - **A bot that is still to be embedded is not proven**, which is no difference: nothing is known to be wrong.
//! - **Flawed vectors of a bot that lost documents are not judged**: the policy may have kept rows as they were before,
//!   and they are no worse than there.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde::Serialize;

use super::lineage::{Embedding, Fate};
use super::recorded::selects_name;
use super::snapshot::View;
use crate::error::Result;
use crate::pg::{QualifiedName, quote_ident};
use crate::policy::Policy;
use crate::preflight::counted;
use crate::reembed::proof::faulty_sql;
use crate::reembed::rows::bot_type;
use crate::reembed::store::Settings;

/// The answer about bots that were embedded anew.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Embedded {
    /// Whether every bot is embedded and holds what was recorded.
    pub matches: bool,
    /// How long it took.
    pub seconds: f64,
    /// Whether vectors were looked at; otherwise rows were counted only.
    pub vectors: bool,
    /// Bots that the record calls proven.
    pub bots: u64,
    /// Their rows on the target.
    pub rows: u64,
    /// Bots whose rows a delta has removed.
    pub removed: u64,
    /// Bots for which nothing runs yet, or again.
    pub waiting: u64,
    /// Bots that are being embedded.
    pub running: u64,
    /// Bots that were not embedded, by id.
    pub failed: Vec<FailedBot>,
    /// Bots that are not what was recorded, by id.
    pub differing: Vec<EmbeddedBot>,
}

/// A bot that was not embedded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedBot {
    /// Its id.
    pub bot: String,
    /// Why, in one line.
    pub reason: String,
}

/// A bot that is not what was recorded when it was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmbeddedBot {
    /// Its id.
    pub bot: String,
    /// Rows when it was proven; `None` when nobody could look, and 0 for one whose rows were removed.
    pub recorded_rows: Option<u64>,
    /// Rows on the target.
    pub rows: u64,
    /// What is wrong, in words.
    pub differences: Vec<String>,
}

/// What the target holds of a bot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    rows: u64,
    /// Rows without a vector that could be found.
    faulty: u64,
}

impl Embedded {
    /// Whether something is not as recorded, whatever is still to be done.
    pub fn differs(&self) -> bool {
        !self.failed.is_empty() || !self.differing.is_empty()
    }

    /// Bots that are still to be embedded.
    pub fn pending(&self) -> u64 {
        self.waiting + self.running
    }

    /// What is not proven yet, in words.
    pub(super) fn not_proven(&self) -> Option<String> {
        let bots = match self.pending() {
            0 => return None,
            1 => "1 bot is".to_owned(),
            more => format!("{more} bots are"),
        };
        let running = match self.running {
            0 => String::new(),
            running => format!(" ({running} being embedded)"),
        };
        Some(format!(
            "{bots} not embedded yet{running}: `vecferry migrate` goes on, `vecferry bots` names them"
        ))
    }

    /// Holds what is there of a migration's bots against what was recorded.
    fn judge(
        &mut self,
        expected: &[(&str, &Fate)],
        held: &HashMap<String, Held>,
        dimensions: usize,
    ) {
        for (bot, fate) in expected {
            let held = held.get(bot.trim_end_matches(' ')).copied().unwrap_or_default();
            match fate {
                Fate::Proven { rows, lost } => {
                    self.bots += 1;
                    self.rows += held.rows;
                    self.differing.extend(proven(bot, (*rows, *lost), held, dimensions));
                }
                Fate::Removed => {
                    self.removed += 1;
                    self.differing.extend(removed(bot, held));
                }
                Fate::Pending { running: true } => self.running += 1,
                Fate::Pending { running: false } => self.waiting += 1,
                Fate::Failed { reason } => {
                    let (bot, reason) = ((*bot).to_owned(), reason.clone());
                    self.failed.push(FailedBot { bot, reason });
                }
                Fate::Gone => {}
            }
        }
    }
}

fn proven(
    bot: &str,
    (recorded_rows, lost): (Option<u64>, bool),
    held: Held,
    dimensions: usize,
) -> Option<EmbeddedBot> {
    let mut differences = Vec::new();
    if let Some(recorded) = recorded_rows.filter(|recorded| *recorded != held.rows) {
        differences.push(format!("{}, {recorded} when it was proven", counted(held.rows, "row")));
    }
    if held.faulty > 0 && !lost {
        differences.push(format!(
            "{} without a vector of {dimensions} dimensions that are not all zeros",
            counted(held.faulty, "row")
        ));
    }
    let bot = bot.to_owned();
    let differs = !differences.is_empty();
    differs.then_some(EmbeddedBot { bot, recorded_rows, rows: held.rows, differences })
}

fn removed(bot: &str, held: Held) -> Option<EmbeddedBot> {
    (held.rows > 0).then(|| EmbeddedBot {
        bot: bot.to_owned(),
        recorded_rows: Some(0),
        rows: held.rows,
        differences: vec![format!("{}, though its rows were removed", counted(held.rows, "row"))],
    })
}

/// Compares; `None` where no migration has embedded a bot or is to, and where its table is not selected. Unless `vectors`
/// are to be looked at, rows are counted only.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub(super) async fn compare(
    target: &View,
    policy: &Policy,
    vectors: bool,
) -> Result<Option<Embedded>> {
    let begun = Instant::now();
    let mut embedded = Embedded { vectors, ..Embedded::default() };
    // The newest migration that knows of a bot speaks for it.
    let mut spoken: HashSet<(&QualifiedName, &str)> = HashSet::new();
    for embedding in &target.lineage.embeddings {
        let Embedding { settings: Some(settings), bots, .. } = embedding else { continue };
        let name = &settings.knowledge.table;
        let table = target.catalog.inventory.table(name);
        if !table.map_or_else(|| selects_name(policy, name), |table| policy.selects(table)) {
            continue;
        }
        let bots = bots.iter().map(|(bot, fate)| (bot.as_str(), fate));
        let expected: Vec<_> = bots.filter(|(bot, _)| spoken.insert((name, *bot))).collect();
        let held = held(target, settings, &expected, vectors).await?;
        embedded.judge(&expected, &held, settings.dimensions);
    }
    if spoken.is_empty() {
        return Ok(None);
    }
    embedded.failed.sort_by(|one, other| one.bot.cmp(&other.bot));
    embedded.differing.sort_by(|one, other| one.bot.cmp(&other.bot));
    embedded.matches = !embedded.differs() && embedded.pending() == 0;
    embedded.seconds = begun.elapsed().as_secs_f64();
    Ok(Some(embedded))
}

/// Rows of the bots that must have some, or none: by id, without the blanks of a `char(n)` column. Nothing of a table
/// that is not there, or has no such column.
async fn held(
    target: &View,
    settings: &Settings,
    expected: &[(&str, &Fate)],
    vectors: bool,
) -> Result<HashMap<String, Held>> {
    let (session, knowledge) = (&target.session, &settings.knowledge);
    let settled =
        expected.iter().filter(|(_, it)| matches!(it, Fate::Proven { .. } | Fate::Removed));
    let bots: Vec<&str> = settled.map(|(bot, _)| *bot).collect();
    let Some(table) = target.catalog.inventory.table(&knowledge.table) else {
        return Ok(HashMap::new());
    };
    if bots.is_empty() || knowledge.bot.as_ref().is_some_and(|bot| table.column(bot).is_none()) {
        return Ok(HashMap::new());
    }
    let faulty = match (vectors, table.column(&knowledge.embedding)) {
        (false, _) => "false".to_owned(),
        (true, None) => "true".to_owned(),
        (true, Some(_)) => faulty_sql(session, knowledge, settings.dimensions).await?,
    };
    let counts = format!("count(*), count(*) FILTER (WHERE {faulty})");
    let name = &knowledge.table;
    let held = |row: &tokio_postgres::Row| {
        let number = |place: usize| row.get::<_, i64>(place).cast_unsigned();
        Held { rows: number(0), faulty: number(1) }
    };
    let doing = "count the rows of embedded bots";
    let Some(bot) = &knowledge.bot else {
        // All rows are the one bot's.
        let row = session.query_one(doing, &format!("SELECT {counts} FROM {name}"), &[]).await?;
        let bots = bots.into_iter().map(|bot| bot.trim_end_matches(' ').to_owned());
        return Ok(bots.map(|bot| (bot, held(&row))).collect());
    };
    let (column, of_type) = (quote_ident(bot), bot_type(session, knowledge, bot).await?);
    // In the column's own type, so that its index serves.
    let sql = format!(
        "SELECT {counts}, rtrim({column}::text) FROM {name} \
         WHERE {column} = ANY ($1::text[]::{of_type}[]) GROUP BY 3"
    );
    let rows = session.query(doing, &sql, &[&bots]).await?;
    Ok(rows.iter().map(|row| (row.get(2), held(row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fate: &Fate, held: Option<Held>) -> Embedded {
        let held = held.map(|held| ("b".to_owned(), held)).into_iter().collect();
        let mut embedded = Embedded::default();
        embedded.judge(&[("b  ", fate)], &held, 8);
        embedded
    }

    fn found(rows: Option<u64>, lost: bool, held: Option<Held>) -> Vec<String> {
        let embedded = judged(&Fate::Proven { rows, lost }, held);
        assert_eq!((embedded.bots, embedded.pending()), (1, 0));
        assert_eq!(embedded.differs(), !embedded.differing.is_empty());
        embedded.differing.into_iter().flat_map(|bot| bot.differences).collect()
    }

    const SOUND: Held = Held { rows: 3, faulty: 0 };

    #[test]
    fn a_proven_bot_holds_the_rows_that_were_proven_each_with_a_sound_vector() {
        assert!(found(Some(3), false, Some(SOUND)).is_empty());
        assert!(found(None, false, Some(SOUND)).is_empty(), "the registry alone proved it");
        assert!(found(Some(0), false, None).is_empty(), "it had no text");
        assert_eq!(found(Some(4), false, Some(SOUND)), ["3 rows, 4 when it was proven"]);
        assert_eq!(found(Some(4), false, None), ["0 rows, 4 when it was proven"]);
        let flawed = Some(Held { faulty: 1, ..SOUND });
        let said = found(Some(3), false, flawed);
        assert_eq!(said, ["1 row without a vector of 8 dimensions that are not all zeros"]);
        assert!(found(Some(3), true, flawed).is_empty(), "kept as it was before");
        assert_eq!(found(Some(2), true, flawed).len(), 1, "but none of them may be lost");
    }

    #[test]
    fn a_bot_that_was_removed_has_no_rows() {
        let gone = judged(&Fate::Removed, None);
        assert_eq!((gone.removed, gone.differs()), (1, false));
        let back = judged(&Fate::Removed, Some(SOUND)).differing.remove(0);
        assert_eq!(back.differences, ["3 rows, though its rows were removed"]);
        assert_eq!((back.recorded_rows, back.rows), (Some(0), 3));
    }

    #[test]
    fn a_bot_that_failed_differs_and_one_whose_turn_has_not_come_is_not_proven() {
        let failed = judged(&Fate::Failed { reason: "no".into() }, Some(SOUND));
        assert!(failed.differs() && failed.not_proven().is_none());
        let running = judged(&Fate::Pending { running: true }, None);
        assert!(!running.differs());
        assert!(running.not_proven().unwrap().starts_with("1 bot is not embedded yet (1 being"));
        let waiting = judged(&Fate::Pending { running: false }, None).not_proven().unwrap();
        assert!(waiting.starts_with("1 bot is not embedded yet: `vecferry migrate`"), "{waiting}");
        let gone = judged(&Fate::Gone, Some(SOUND));
        assert!(!gone.differs() && gone.not_proven().is_none());
    }
}
