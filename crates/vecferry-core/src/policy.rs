//! What the operator wants: every choice that planning and copying depend on, resolved once by the program.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Side;
use crate::inventory::Table;
use crate::knowledge::Knowledge;
use crate::pg::{Dsn, QualifiedName};

/// The two clusters of a migration.
#[derive(Debug, Clone)]
pub struct Clusters {
    /// Where the data is.
    pub source: Dsn,
    /// Where it goes.
    pub target: Dsn,
}

impl Clusters {
    /// The cluster on that side.
    pub fn at(&self, side: Side) -> &Dsn {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// What to do with rows that are on the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// Refuse to start.
    Refuse,
    /// Bots that have rows on the target keep them; only the others are copied.
    Keep,
    /// Rows of the source's bots are replaced; bots known only to the target keep theirs. A table without a bot
    /// column is emptied first.
    Replace,
}

/// How many lists an IVFFlat index gets when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IvfflatLists {
    /// As many as its definition says.
    Keep,
    /// As many as suit the rows that are there now.
    Auto,
}

/// A way to move the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Parallel binary COPY, indexes after the rows, proof at the end.
    Copy,
    /// Copy under a replication slot's snapshot, then logical replication until cutover.
    Follow,
    /// Every document loaded, split and embedded anew.
    Reembed,
    /// Copy of a snapshot, then re-embedding of what changed since.
    Delta,
}

impl Method {
    /// The name in the record, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Copy => "copy",
            Method::Follow => "follow",
            Method::Reembed => "reembed",
            Method::Delta => "delta",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When `follow` builds the indexes that apply does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplyStart {
    /// As the write rate and the expected build time suggest.
    Auto,
    /// Apply starts when every index is built: the builds are fastest, and the source keeps the WAL written meanwhile.
    Last,
    /// Apply starts when the keys are built; the other indexes are built beside it without blocking it, which takes
    /// longer and keeps the retained WAL small.
    First,
}

/// What only `follow`, `cutover` and `rollback` ask.
#[derive(Debug, Clone)]
pub struct FollowPolicy {
    /// The source as the target's server reaches it; as we do when `None`.
    pub source_from_target: Option<Dsn>,
    /// The target as the source's server reaches it, for the way back; as we do when `None`.
    pub target_from_source: Option<Dsn>,
    /// Give tables without a replica identity `REPLICA IDENTITY FULL` on the source instead of refusing them.
    pub set_replica_identity: bool,
    /// When apply starts.
    pub apply_start: ApplyStart,
}

/// The operator's choices.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The way to move the data; that of the migration on the target when `None`, else [`Method::Copy`].
    pub method: Option<Method>,
    /// What only `follow` asks.
    pub follow: FollowPolicy,
    /// Shape of the knowledge base.
    pub knowledge: Knowledge,
    /// Tables to move; all user tables when empty.
    pub include: Vec<Pattern>,
    /// Tables to leave.
    pub exclude: Vec<Pattern>,
    /// Connections that copy at the same time, on each side.
    pub jobs: usize,
    /// Bytes of table and TOAST that one part aims at.
    pub part_bytes: u64,
    /// Rows that are on the target already.
    pub existing: Existing,
    /// How long a statement on the target may wait for somebody's lock.
    pub lock_timeout: Duration,
    /// Memory that index builds may use together, in bytes; detected when `None`.
    pub index_memory: Option<u64>,
    /// Indexes built at the same time; derived from memory when `None`.
    pub index_jobs: Option<usize>,
    /// `lists` of IVFFlat indexes.
    pub ivfflat_lists: IvfflatLists,
    /// Directory of `pg_dump` and `pg_restore`; `PATH` when `None`.
    pub pg_bin_dir: Option<PathBuf>,
    /// How often the run starts over by itself after a lost connection.
    pub retries: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            method: None,
            follow: FollowPolicy {
                source_from_target: None,
                target_from_source: None,
                set_replica_identity: false,
                apply_start: ApplyStart::Auto,
            },
            knowledge: Knowledge::default(),
            include: Vec::new(),
            exclude: Vec::new(),
            // One COPY keeps one core of each server busy; four suit small servers without hurting large ones.
            jobs: 4,
            part_bytes: 64 << 20,
            existing: Existing::Refuse,
            lock_timeout: Duration::from_secs(30),
            index_memory: None,
            index_jobs: None,
            ivfflat_lists: IvfflatLists::Keep,
            pg_bin_dir: None,
            retries: 3,
        }
    }
}

impl Policy {
    /// Whether the table is to be moved. A partition goes with its parent.
    pub fn selects(&self, table: &Table) -> bool {
        let matches = |patterns: &[Pattern]| {
            patterns.iter().any(|pattern| {
                pattern.matches(&table.name)
                    || table.partition_of.as_ref().is_some_and(|parent| pattern.matches(parent))
            })
        };
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }

    /// Whether every table is to be moved.
    pub fn selects_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

/// A table pattern as `pg_dump --table` users write it: `schema.table` with `*` and `?`; without a dot, any schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    schema: Option<String>,
    name: String,
}

impl Pattern {
    /// Parses a pattern; every text is one.
    pub fn new(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => Pattern { schema: Some(schema.into()), name: name.into() },
            None => Pattern { schema: None, name: text.into() },
        }
    }

    /// Whether the name fits.
    pub fn matches(&self, name: &QualifiedName) -> bool {
        self.schema.as_deref().is_none_or(|schema| fits(schema, &name.schema))
            && fits(&self.name, &name.name)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Glob match of `*` (any run) and `?` (any one character).
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = characters.as_str();
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| fits(rest, &text[at..]))
        }
        Some(wanted) => {
            let mut have = text.chars();
            have.next().is_some_and(|found| wanted == '?' || wanted == found)
                && fits(characters.as_str(), have.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_pg_dumps() {
        let name = QualifiedName::new("public", "items_2024");
        for (pattern, fits) in [
            ("items*", true),
            ("public.items_????", true),
            ("other.items*", false),
            ("*.*", true),
            ("item", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(&name), fits, "{pattern}");
        }
    }
}
