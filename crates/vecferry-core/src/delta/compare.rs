//! The source's rows beside the registry and the document store: what is done with every bot. Pure.
//!
//! A bot keeps its copied rows when every one of its documents has rows, every row has a document, no object was written
//! at or after the time of the source, and the application's last embedding succeeded. What speaks against it is a
//! [`Reason`], and one is enough. The rest of the rules, and why:
//!
//! - **An object whose time equals the source's counts as changed**, and both are taken in whole seconds: S3 tells
//!   seconds only, so that a write in the snapshot's own second may be on either side of it.
//! - **An object that is gone (404) is no reason by itself.** Its bot would be embedded anew only to fail under the
//!   policy `fail`, or to lose text under `accept`; the rows that the copy brings are all that is left of it. Such a bot
//!   keeps them, and is listed. Where there is another reason the bot is embedded anew all the same, and the list says
//!   beforehand which documents `--lost-documents` will decide about.
//! - **An object that cannot be read (403, no answer) is a reason.** Stale knowledge is seen by nobody; an embedding that
//!   fails is reported, and costs nothing.
//! - **The web cannot be compared.** Whether a page, sitemap or video has rows is compared, what it says is not: the
//!   [`super::WebPolicy`] decides, and bots that keep such rows are counted.
//! - **How a bot's texts are split cannot be compared**: rows do not say it. Whoever changed that since must embed the bot
//!   anew.
//! - **Rows of a bot that the registry does not have are removed**, and those of a bot that has no documents any more.
//!   Rows that may belong to an item nobody understands stay, as [`Undecided`]; rows without a bot stay.
//! - **Bots of Bedrock Knowledge Bases keep what the copy brings**: the application never asks for it again.
//! - **Rows that were on the target before the copy were written by the application after the snapshot**: no object's
//!   time speaks against them.

mod bot;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use super::Terms;
use super::held::{HeldBot, HeldRows};
use super::reason::{Reason, Why};
use crate::bot::{Bot, BotKey, DocumentAddress};
use crate::error::{Error, Result};
use crate::reembed::estimate::Fresh;
use crate::reembed::registry::Listing;
use bot::{Comparison, Outcome};

/// What the document store says of the addresses of bots; only of those that have an object or a file behind them.
pub type Objects = HashMap<BotKey, HashMap<DocumentAddress, Looked>>;

/// What is behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// These objects: one, or all under a prefix or folder.
    Found(Vec<Object>),
    /// Nothing.
    Missing,
    /// Nobody can tell, for this reason.
    Unread(String),
}

/// An object or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What the source column holds for it.
    pub source: String,
    /// When it was last written, where the store says so.
    pub modified: Option<Timestamp>,
    /// Its size in bytes, where the store says so.
    pub bytes: Option<u64>,
}

/// What is done with every bot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// Bots whose copied rows stay, in the registry's order.
    pub keep: Vec<Kept>,
    /// Bots that are embedded anew, in the registry's order.
    pub reembed: Vec<Chosen>,
    /// Bots whose rows are removed from the target, by id.
    pub remove: Vec<Removal>,
    /// Rows that stay because nobody knows whose they are, by bot id.
    pub undecided: Vec<Undecided>,
    /// Rows that name no bot; they stay.
    pub rows_without_bot: u64,
    /// Bots of Bedrock Knowledge Bases that have rows; they stay.
    pub knowledge_base: u64,
}

/// A bot whose copied rows stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Owner and id.
    pub bot: BotKey,
    /// Title.
    pub title: String,
    /// Its rows.
    pub rows: u64,
    /// Documents on the web that have rows and cannot be compared.
    pub web: u64,
    /// Documents that the registry names and the store does not have.
    pub missing: Vec<String>,
}

/// A bot that is embedded anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The bot.
    pub bot: Bot,
    /// Its rows.
    pub rows: u64,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
    /// Documents that the registry names and the store does not have: the embedding will not find them.
    pub missing: Vec<String>,
    /// How much text its rows do not tell of; `None` where nobody compared.
    pub fresh: Option<Fresh>,
}

/// A bot whose rows are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Its id; the registry knows no owner any more.
    pub bot: String,
    /// Its rows.
    pub rows: u64,
    /// Why.
    pub why: Why,
}

/// Rows of a bot that may or may not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undecided {
    /// The bot's id.
    pub bot: String,
    /// Its rows.
    pub rows: u64,
    /// The registry's item that may be it.
    pub item: String,
}

/// Compares.
pub fn compare(listing: &Listing, held: &HeldRows, objects: &Objects, terms: &Terms) -> Delta {
    let mut delta = Delta { rows_without_bot: held.without_bot, ..Delta::default() };
    let (none, nothing) = (HeldBot::default(), HashMap::new());
    for bot in &listing.bots {
        let held = held.bots.get(&bot.key.id).unwrap_or(&none);
        let objects = objects.get(&bot.key).unwrap_or(&nothing);
        let found = Comparison::of(bot, held, objects, terms).run();
        let rows = held.rows();
        if found.reasons.is_empty() {
            let (bot, title) = (bot.key.clone(), bot.title.clone());
            delta.keep.push(Kept { bot, title, rows, web: found.web, missing: found.missing });
        } else {
            let Outcome { reasons, missing, fresh, .. } = found;
            let (bot, fresh) = (bot.clone(), Some(fresh));
            delta.reembed.push(Chosen { bot, rows, reasons, missing, fresh });
        }
    }
    sort_out_others(listing, held, &mut delta);
    delta
}

/// Rows of bots that are not there to be embedded.
fn sort_out_others(listing: &Listing, held: &HeldRows, delta: &mut Delta) {
    fn ids(keys: &[BotKey]) -> HashSet<&str> {
        keys.iter().map(|key| key.id.as_str()).collect()
    }
    let bots: HashSet<&str> = listing.bots.iter().map(|bot| bot.key.id.as_str()).collect();
    let (bedrock, bare) = (ids(&listing.knowledge_base), ids(&listing.without_documents));
    for (id, held) in &held.bots {
        let (id, rows) = (id.as_str(), held.rows());
        // The registry prints an odd item's key: the id is in it, or the item is another one.
        let odd = || listing.odd.iter().find(|item| item.key.contains(id));
        // Rows that were there before are left alone, as the operator has asked.
        if bots.contains(id) || held.newer {
            continue;
        }
        if bedrock.contains(id) {
            delta.knowledge_base += 1;
        } else if bare.contains(id) {
            delta.remove.push(Removal { bot: id.to_owned(), rows, why: Why::NoDocuments });
        } else if let Some(item) = odd() {
            let (bot, item) = (id.to_owned(), item.key.clone());
            delta.undecided.push(Undecided { bot, rows, item });
        } else {
            delta.remove.push(Removal { bot: id.to_owned(), rows, why: Why::Deleted });
        }
    }
}

impl Delta {
    /// Refuses a comparison with a registry that has nothing to do with these rows: it would remove them all.
    ///
    /// # Errors
    /// [`Error::Configuration`] when there are rows of bots, and the registry has none of these bots.
    pub fn refuse_stranger(&self, held: &HeldRows, registry: &str) -> Result<()> {
        let bots = held.bots.values().filter(|held| !held.newer).count();
        let deleted = self.remove.iter().filter(|removal| removal.why == Why::Deleted).count();
        if bots == 0 || deleted < bots {
            return Ok(());
        }
        Err(Error::Configuration {
            what: format!("none of the {bots} bots that have rows on the source is in {registry}"),
            hint: Some(
                "name the registry of this application with --bot-table or --bot-file".into(),
            ),
        })
    }

    /// The bots that are embedded anew.
    pub fn chosen(&self) -> impl Iterator<Item = &Bot> {
        self.reembed.iter().map(|chosen| &chosen.bot)
    }

    /// How much text the rows of the bots that are embedded anew do not tell of.
    pub fn fresh(&self) -> HashMap<BotKey, Fresh> {
        let fresh = |chosen: &Chosen| Some((chosen.bot.key.clone(), chosen.fresh?));
        self.reembed.iter().filter_map(fresh).collect()
    }

    /// The comparison in numbers, for events.
    pub fn compared(&self) -> Compared {
        let mut reasons: BTreeMap<&'static str, u64> = BTreeMap::new();
        for name in self.reembed.iter().flat_map(|chosen| &chosen.reasons).map(Reason::name) {
            *reasons.entry(name).or_default() += 1;
        }
        let bots = self.reembed.iter().map(|chosen| ComparedBot {
            bot: chosen.bot.key.clone(),
            reasons: chosen.reasons.iter().map(|reason| (reason.name(), reason.count())).collect(),
            missing: chosen.missing.len() as u64,
        });
        let web = self.keep.iter().filter(|kept| kept.web > 0);
        let missing = self.keep.iter().filter(|kept| !kept.missing.is_empty());
        Compared {
            keep: self.keep.len() as u64,
            keep_web: web.count() as u64,
            keep_missing: missing.count() as u64,
            reembed: self.reembed.len() as u64,
            remove: self.remove.len() as u64,
            rows_to_remove: self.remove.iter().map(|removal| removal.rows).sum(),
            undecided: self.undecided.len() as u64,
            knowledge_base: self.knowledge_base,
            rows_without_bot: self.rows_without_bot,
            reasons,
            bots: bots.collect(),
            removed: self.remove.iter().map(|it| (it.bot.clone(), it.why.name())).collect(),
        }
    }
}

/// A comparison in numbers. Bots by key, reasons by name and number of documents: documents' names are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Bots whose copied rows stay.
    pub keep: u64,
    /// Those of them that have documents on the web, which cannot be compared.
    pub keep_web: u64,
    /// Those of them that have documents which the store does not have.
    pub keep_missing: u64,
    /// Bots that are embedded anew.
    pub reembed: u64,
    /// Bots whose rows are removed.
    pub remove: u64,
    /// How many rows those are.
    pub rows_to_remove: u64,
    /// Bots whose rows stay because nobody knows whether they exist.
    pub undecided: u64,
    /// Bots of Bedrock Knowledge Bases that have rows.
    pub knowledge_base: u64,
    /// Rows that name no bot.
    pub rows_without_bot: u64,
    /// Bots by reason; a bot may have several.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Every bot that is embedded anew.
    pub bots: Vec<ComparedBot>,
    /// Every bot whose rows are removed, by id, with the reason.
    pub removed: BTreeMap<String, &'static str>,
}

/// A bot that is embedded anew, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedBot {
    /// Owner and id.
    pub bot: BotKey,
    /// Documents by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Documents that the store does not have.
    pub missing: u64,
}

#[cfg(test)]
mod tests;
