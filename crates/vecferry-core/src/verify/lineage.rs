//! Where the target's rows come from: the newest migration that copied them, and what was embedded anew since.
//!
//! Bots that were embedded anew, and those whose rows a delta removed, differ from the source by intention: they are left
//! out of the comparison with it on both sides, and every other bot is compared as after a copy. What the target must
//! hold of the ones left out is [`mod@super::embedded`]'s. Several migrations may have their part in it: whoever embeds
//! single bots after a delta (`--method reembed --bots`) has a newer migration on the target, and the delta's choices
//! hold on. A copy begins anew: of what was before it, nothing counts but the bots that it left alone.

use std::collections::{BTreeMap, HashSet};

use tokio_postgres::types::Json;

use super::content::{Scope, bot_text};
use crate::copy::digest::Digests;
use crate::copy::part::PreservedBots;
use crate::delta::Choice;
use crate::delta::record::choices;
use crate::error::{Error, Result, Side};
use crate::inventory::Inventory;
use crate::pg::{QualifiedName, Session};
use crate::phase::{Phase, Route};
use crate::preflight::counted;
use crate::reembed::store::Settings;
use crate::store::{self, MigrationRecord, RelationRecord};

/// The migrations that made the target's rows what they are.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// The newest that copied rows; `None` where nothing but embeddings is recorded.
    pub(super) base: Option<MigrationRecord>,
    /// Those that embedded bots, the newest first. A delta is the last of them and the base.
    pub(super) embeddings: Vec<Embedding>,
}

/// A migration that embeds bots anew.
#[derive(Debug)]
pub(super) struct Embedding {
    /// Its id.
    pub(super) id: String,
    /// [`Route::Delta`] or [`Route::Reembed`].
    pub(super) route: Route,
    /// Its phase.
    pub(super) phase: Phase,
    /// What it embeds with; `None` for a delta that has not settled yet what it does with its bots.
    pub(super) settings: Option<Settings>,
    /// What became of its bots, by id.
    pub(super) bots: BTreeMap<String, Fate>,
}

/// What became of a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was proven with so many rows; `None` when nobody could look at them. `lost` when documents of it gave no rows:
    /// then rows may have been kept as they were.
    Proven { rows: Option<u64>, lost: bool },
    /// It is still to be embedded.
    Pending { running: bool },
    /// It was not embedded.
    Failed { reason: String },
    /// Its rows were removed.
    Removed,
    /// It was chosen, and is no longer there to be embedded.
    Gone,
}

impl Lineage {
    /// Reads it; empty where the target has no record.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(super) async fn read(target: &Session) -> Result<Lineage> {
        let mut lineage = Lineage::default();
        if !store::exists(target).await? {
            return Ok(lineage);
        }
        for record in MigrationRecord::all(target).await?.into_iter().rev() {
            if matches!(record.route, Route::Delta | Route::Reembed) {
                lineage.embeddings.push(Embedding::read(target, &record).await?);
            }
            if record.route != Route::Reembed {
                lineage.base = Some(record);
                break;
            }
        }
        Ok(lineage)
    }

    /// Bots whose rows on the target are not the source's, by table: those that were there before the base and were left
    /// alone, and those that were embedded anew or removed.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(super) async fn left_out(
        &self,
        target: &Session,
        inventory: &Inventory,
    ) -> Result<BTreeMap<QualifiedName, PreservedBots>> {
        let mut left_out: BTreeMap<QualifiedName, PreservedBots> = BTreeMap::new();
        if let Some(base) = &self.base {
            let relations = RelationRecord::all(target, &base.id).await?.into_iter();
            left_out.extend(relations.map(|it| (it.relation.name, it.relation.preserved)));
        }
        for embedding in &self.embeddings {
            let Some(settings) = &embedding.settings else { continue };
            let knowledge = &settings.knowledge;
            for table in inventory.tables.iter().filter(|it| knowledge.bot_column(it).is_some()) {
                let bots = &mut left_out.entry(table.name.clone()).or_default().bots;
                bots.extend(embedding.bots.keys().cloned());
                bots.sort_unstable();
                bots.dedup();
            }
        }
        Ok(left_out)
    }

    /// What is said of the bots that are left out.
    pub(super) fn notes(&self) -> Vec<String> {
        self.embeddings.iter().filter_map(Embedding::note).collect()
    }
}

impl Embedding {
    async fn read(target: &Session, record: &MigrationRecord) -> Result<Embedding> {
        let (id, route, phase) = (record.id.clone(), record.route, record.phase);
        let mut embedding = Embedding { id, route, phase, settings: None, bots: BTreeMap::new() };
        let doing = "read the record of embedded bots";
        // A delta has none of it until its bots' turn comes, and the last is made by vecferry's own workers alone.
        let sql = "SELECT to_regclass('vecferry.bot_run') IS NOT NULL, \
                   to_regclass('vecferry.bot_result') IS NOT NULL";
        let there = target.query_one(doing, sql, &[]).await?;
        if !there.get::<_, bool>(0) {
            return Ok(embedding);
        }
        let sql = "SELECT settings FROM vecferry.bot_run WHERE migration = $1";
        let Some(row) = target.query_opt(doing, sql, &[&embedding.id]).await? else {
            return Ok(embedding);
        };
        let Json(settings) = row.get(0);
        embedding.settings =
            Some(serde_json::from_value(settings).map_err(|error| Error::Bug {
                what: format!("the record on the target is not as this version writes it: {error}"),
            })?);
        let lost = match there.get(1) {
            true => {
                "EXISTS (SELECT FROM vecferry.bot_result r WHERE r.migration = s.migration AND r.bot = s.bot \
                 AND r.swapped AND r.lost <> '[]')"
            }
            false => "false",
        };
        let sql = format!(
            "SELECT bot, state, rows, reason, {lost} FROM vecferry.bot_state s WHERE migration = $1"
        );
        for row in target.query(doing, &sql, &[&embedding.id]).await? {
            let rows = row.get::<_, Option<i64>>(2).map(i64::cast_unsigned);
            let fate = match row.get(1) {
                "proven" => Fate::Proven { rows, lost: row.get(4) },
                "failed" => Fate::Failed { reason: row.get::<_, Option<_>>(3).unwrap_or_default() },
                // What was never chosen is the copy's.
                "skipped" if record.route == Route::Reembed => continue,
                "skipped" => Fate::Gone,
                state => Fate::Pending { running: state != "waiting" },
            };
            embedding.bots.insert(row.get(0), fate);
        }
        let choices = match record.route {
            Route::Delta => choices(target, &embedding.id).await?,
            _ => Vec::new(),
        };
        embedding.choose(choices);
        Ok(embedding)
    }

    /// Adds what a delta has chosen: it holds before the first bot is recorded, and a bot that was embedded may have been
    /// deleted since. When a migration is done, nobody waits: who was not embedded is no longer in the registry.
    fn choose(&mut self, choices: Vec<(String, Choice)>) {
        for (bot, choice) in choices {
            match choice {
                Choice::Remove => {
                    self.bots.insert(bot, Fate::Removed);
                }
                Choice::Reembed => {
                    self.bots.entry(bot).or_insert(Fate::Pending { running: false });
                }
            }
        }
        if self.phase == Phase::Done {
            let waiting = self.bots.values_mut().filter(|it| matches!(it, Fate::Pending { .. }));
            waiting.for_each(|fate| *fate = Fate::Gone);
        }
    }

    fn note(&self) -> Option<String> {
        let what = if self.route == Route::Delta { "delta" } else { "re-embedding" };
        let id = &self.id;
        if self.settings.is_none() {
            return (self.phase == Phase::Embedding).then(|| {
                format!("{what} {id} has not settled yet which bots it embeds anew: all are compared as they were copied")
            });
        }
        let removed = self.bots.values().filter(|fate| **fate == Fate::Removed).count();
        let bots = |number: usize| counted(number as u64, "bot");
        let named = match (self.bots.len() - removed, removed) {
            (0, 0) => return None,
            (anew, 0) => format!("{} chosen to be embedded anew", bots(anew)),
            (0, removed) => format!("{} whose rows were removed", bots(removed)),
            (anew, removed) => {
                format!(
                    "{} chosen to be embedded anew and {} whose rows were removed",
                    bots(anew),
                    bots(removed)
                )
            }
        };
        Some(format!(
            "{what} {id}: left out of the rows are {named}; `embedded` tells what the target holds of them"
        ))
    }
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
    use crate::pg::CopyFormat;
    use crate::sample::{column, settings};

    fn embedding(route: Route, bots: &[(&str, Fate)]) -> Embedding {
        let bots = bots.iter().map(|(bot, fate)| ((*bot).to_owned(), fate.clone()));
        let (id, phase) = ("1".to_owned(), Phase::Embedding);
        Embedding { id, route, phase, settings: Some(settings()), bots: bots.collect() }
    }

    #[test]
    fn what_a_delta_has_chosen_holds_before_it_is_done_and_after_a_bot_is_deleted() {
        let proven = Fate::Proven { rows: Some(3), lost: false };
        let before = [("done", proven.clone()), ("deleted", proven.clone()), ("gone", Fate::Gone)];
        let mut delta = embedding(Route::Delta, &before);
        let choices = [
            ("done", Choice::Reembed),
            ("deleted", Choice::Remove),
            ("gone", Choice::Reembed),
            ("next", Choice::Reembed),
        ];
        delta.choose(choices.map(|(bot, choice)| (bot.to_owned(), choice)).to_vec());
        let expected = [
            ("done", proven),
            ("deleted", Fate::Removed),
            ("gone", Fate::Gone),
            ("next", Fate::Pending { running: false }),
        ];
        assert_eq!(delta.bots, expected.map(|(bot, fate)| (bot.to_owned(), fate)).into());
        let mut done = Embedding { phase: Phase::Done, ..embedding(Route::Delta, &[]) };
        done.choose(vec![("new and deleted".into(), Choice::Reembed)]);
        assert_eq!(done.bots["new and deleted"], Fate::Gone);
        let note = delta.note().unwrap();
        let said = "delta 1: left out of the rows are 3 bots chosen to be embedded anew and 1 bot whose rows were removed;";
        assert!(note.starts_with(said), "{note}");
    }

    #[test]
    fn who_has_chosen_nothing_leaves_nothing_out() {
        assert_eq!(embedding(Route::Reembed, &[]).note(), None);
        let one = embedding(Route::Reembed, &[("a", Fate::Gone)]).note().unwrap();
        assert!(
            one.contains(
                "re-embedding 1: left out of the rows are 1 bot chosen to be embedded anew;"
            ),
            "{one}"
        );
        let unsettled = Embedding { settings: None, ..embedding(Route::Delta, &[]) };
        assert!(unsettled.note().unwrap().contains("has not settled yet"));
        assert_eq!(Embedding { phase: Phase::Rows, ..unsettled }.note(), None);
    }

    fn scope(base_type: &str) -> Scope {
        let bot = column("botid", base_type);
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
