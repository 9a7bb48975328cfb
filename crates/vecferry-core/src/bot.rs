//! Bots: who owns which knowledge base, what documents it is made of, and what the application knows of its last
//! embedding. Plain data; [`crate::reembed::registry`] reads it, a worker acts on it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Names a bot in its registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BotKey {
    /// User the bot belongs to; the registry's partition key.
    pub owner: String,
    /// The bot's id, which is also what the knowledge table's bot column holds.
    pub id: String,
}

impl fmt::Display for BotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In a file, bots need no owner.
        match self.owner.as_str() {
            "" => f.write_str(&self.id),
            owner => write!(f, "{owner}/{}", self.id),
        }
    }
}

/// A bot as the registry describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bot {
    /// Owner and id.
    pub key: BotKey,
    /// Title that the owner gave it.
    pub title: String,
    /// What its knowledge is made of, in the registry's order, without repetitions.
    pub documents: Vec<DocumentAddress>,
    /// How its texts are split.
    pub splitting: Splitting,
    /// The application's own record of the last embedding, where the registry keeps one.
    pub sync: Option<SyncRecord>,
}

/// Where documents of a bot are. One address may stand for many documents (a sitemap, a prefix, a folder).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "address", rename_all = "lowercase")]
pub enum DocumentAddress {
    /// A file uploaded to the application: its name under `<owner>/<bot>/documents/` of the document bucket.
    File(String),
    /// An object, or every object under a prefix that ends in `/`: `s3://bucket/key`.
    S3(String),
    /// A web page or a file on the web.
    Page(String),
    /// A sitemap, or an index of sitemaps.
    Sitemap(String),
    /// The transcript of a YouTube video: its id of 11 characters.
    Video(String),
    /// A file or folder that the worker can read, with everything below it.
    Folder(PathBuf),
}

impl DocumentAddress {
    /// The kind's name in tables and JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            DocumentAddress::File(_) => "file",
            DocumentAddress::S3(_) => "s3",
            DocumentAddress::Page(_) => "page",
            DocumentAddress::Sitemap(_) => "sitemap",
            DocumentAddress::Video(_) => "video",
            DocumentAddress::Folder(_) => "folder",
        }
    }
}

impl fmt::Display for DocumentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentAddress::File(text)
            | DocumentAddress::S3(text)
            | DocumentAddress::Page(text)
            | DocumentAddress::Sitemap(text)
            | DocumentAddress::Video(text) => f.write_str(text),
            DocumentAddress::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How a text becomes chunks. Lengths in characters (Unicode scalar values), as Bedrock Chat counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splitting {
    /// Longest chunk.
    pub chunk_chars: usize,
    /// How much of a chunk's end the next one may repeat.
    pub overlap_chars: usize,
}

impl Default for Splitting {
    /// Bedrock Chat's defaults (`EmbeddingParams` of its bot model: 1000 and 200).
    fn default() -> Self {
        Splitting { chunk_chars: 1000, overlap_chars: 200 }
    }
}

/// State of a bot's embedding, in the application's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SyncStatus {
    /// Asked for, nothing runs yet.
    Queued,
    /// A task works on it, or died while it did.
    Running,
    /// The last task said it was done.
    Succeeded,
    /// The last task said it failed.
    Failed,
}

impl SyncStatus {
    /// The registry's word.
    pub fn as_str(self) -> &'static str {
        match self {
            SyncStatus::Queued => "QUEUED",
            SyncStatus::Running => "RUNNING",
            SyncStatus::Succeeded => "SUCCEEDED",
            SyncStatus::Failed => "FAILED",
        }
    }

    /// Reads the registry's word.
    pub fn parse(text: &str) -> Option<SyncStatus> {
        [SyncStatus::Queued, SyncStatus::Running, SyncStatus::Succeeded, SyncStatus::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// Whether a task may be at work.
    pub fn is_busy(self) -> bool {
        matches!(self, SyncStatus::Queued | SyncStatus::Running)
    }
}

impl fmt::Display for SyncStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What vecferry's worker writes into the reason of a bot that it embedded without some documents, after their number.
pub const DOCUMENTS_LOST: &str = "documents lost";

/// The registry's record of a bot's embedding: `SyncStatus`, `SyncStatusReason`, `LastExecId`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// State.
    pub status: SyncStatus,
    /// Why, for the bot's owner; empty when there is nothing to say.
    pub reason: String,
    /// Task (or claim) that wrote it last; empty before the first.
    pub exec_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_back_from_its_own_word() {
        for status in
            [SyncStatus::Queued, SyncStatus::Running, SyncStatus::Succeeded, SyncStatus::Failed]
        {
            assert_eq!(SyncStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(SyncStatus::parse("succeeded"), None);
    }
}
