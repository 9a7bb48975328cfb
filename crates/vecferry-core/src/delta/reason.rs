//! Why a bot is embedded anew, or its rows are removed. Pure.

use serde::{Deserialize, Serialize};

use crate::bot::SyncStatus;

/// Why a bot is embedded anew. Documents are named as they stand in the registry or in the rows' source column: for the
/// operator's eyes, not for records and events ([`Reason::name`] and [`Reason::count`] are).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It has documents and no rows at all.
    New,
    /// Documents without a row: added since, or never embedded.
    Added {
        /// Which.
        documents: Vec<String>,
    },
    /// Objects written at or after the time of the source.
    Changed {
        /// Which.
        documents: Vec<String>,
    },
    /// Rows that no document of the bot explains.
    Gone {
        /// What their source column holds.
        documents: Vec<String>,
        /// How many rows.
        rows: u64,
    },
    /// Documents whose state could not be read, so that nobody knows whether they changed.
    Unread {
        /// Which.
        documents: Vec<String>,
        /// Why the first of them could not.
        why: String,
    },
    /// Documents on the web, which the policy embeds anew.
    Web {
        /// How many.
        documents: u64,
    },
    /// An earlier run of the same migration has chosen it.
    Chosen,
    /// The application's last embedding failed, or is not finished.
    Sync {
        /// Its state.
        status: SyncStatus,
    },
}

impl Reason {
    /// The reason's name in records, events and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::Added { .. } => "added",
            Reason::Changed { .. } => "changed",
            Reason::Gone { .. } => "gone",
            Reason::Unread { .. } => "unread",
            Reason::Web { .. } => "web",
            Reason::Chosen => "chosen",
            Reason::Sync { status: SyncStatus::Failed } => "sync_failed",
            Reason::Sync { .. } => "sync_unfinished",
        }
    }

    /// How many documents it speaks of; 1 where it speaks of the bot.
    pub fn count(&self) -> u64 {
        match self {
            Reason::New | Reason::Chosen | Reason::Sync { .. } => 1,
            Reason::Added { documents }
            | Reason::Changed { documents }
            | Reason::Gone { documents, .. }
            | Reason::Unread { documents, .. } => documents.len() as u64,
            Reason::Web { documents } => *documents,
        }
    }
}

/// Why a bot's rows are removed from the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The registry has no such bot any more.
    Deleted,
    /// It has no documents any more.
    NoDocuments,
}

impl Why {
    /// The name in records, events and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Why::Deleted => "deleted",
            Why::NoDocuments => "no_documents",
        }
    }

    /// The same in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Deleted => "the bot was deleted",
            Why::NoDocuments => "the bot has no documents any more",
        }
    }
}
