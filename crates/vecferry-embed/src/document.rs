//! Documents: found behind a bot's addresses, fetched into files, or lost for a stated reason.

use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use vecferry_core::bot::{Bot, DocumentAddress};

/// Where documents come from: the web, a folder (this crate), S3 (`vecferry-aws`).
#[async_trait]
pub trait DocumentSource: Send + Sync {
    /// Whether this source reads such addresses.
    fn takes(&self, address: &DocumentAddress) -> bool;

    /// Finds the documents behind an address of the bot: one, or all of a sitemap, prefix or folder.
    ///
    /// # Errors
    /// [`Lost`] when the address itself cannot be read; it then counts as one lost document.
    async fn find(&self, bot: &Bot, address: &DocumentAddress) -> Result<Found, Lost>;

    /// Finds what is behind each of these addresses of the bot, as [`DocumentSource::find`] does one by one; in the order
    /// of the addresses. A source that learns of many by one request asks so.
    async fn look(
        &self,
        bot: &Bot,
        addresses: &[DocumentAddress],
    ) -> Vec<(DocumentAddress, Result<Found, Lost>)> {
        let mut looked = Vec::with_capacity(addresses.len());
        for address in addresses {
            looked.push((address.clone(), self.find(bot, address).await));
        }
        looked
    }

    /// Streams a document into a file in `folder`. Tries again by itself what may pass.
    ///
    /// # Errors
    /// [`Lost`] with the reason.
    async fn fetch(&self, document: &Document, folder: &Path) -> Result<Fetched, Lost>;
}

/// What is behind an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The documents that can be fetched, in a stable order.
    pub documents: Vec<Document>,
    /// What is lost already, though the address itself could be read: a part of a sitemap, a folder that may not
    /// be entered, a page of another site. Each with what names it in the source column, or would.
    pub lost: Vec<(String, Lost)>,
}

impl From<Vec<Document>> for Found {
    fn from(documents: Vec<Document>) -> Found {
        Found { documents, lost: Vec::new() }
    }
}

/// One document of a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Address it was found behind.
    pub address: DocumentAddress,
    /// What the knowledge table's source column holds for it, unique within the bot: `s3://bucket/key`, the page's
    /// URL, the video's id, the file's path.
    pub source: String,
    /// Size in bytes, where it is known before fetching.
    pub bytes: Option<u64>,
    /// What changes when the content does (an ETag, a modification time), where it is known before fetching. A
    /// document that is staged already with the same one is not fetched again.
    pub version: Option<String>,
    /// When it was last written, where that is known before fetching.
    pub modified: Option<Timestamp>,
}

/// A fetched document.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes. Removed when dropped.
    pub file: NamedTempFile,
    /// Its length in bytes.
    pub bytes: u64,
    /// File name that its address ends in, for its extension.
    pub name: Option<String>,
    /// `Content-Type` without parameters, in lower case.
    pub media_type: Option<String>,
    /// `charset` parameter of the `Content-Type`.
    pub charset: Option<String>,
}

/// A document that gives no text, and why. Shown to operators and owners, so it names no content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Lost {
    /// Kind.
    pub reason: Reason,
    /// The facts, in lower case: `status 404 after 3 tries`.
    pub detail: String,
}

impl Lost {
    /// A lost document.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Lost {
        Lost { reason, detail: detail.into() }
    }
}

/// Kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no such document.
    Missing,
    /// Its place refuses us: credentials, status 401 or 403, robots.txt, an address that is not allowed.
    Refused,
    /// Its place does not answer, or answers with errors.
    Unreachable,
    /// It is larger than allowed, fetched or unpacked.
    TooLarge,
    /// Fetching or reading it takes longer than allowed.
    TooSlow,
    /// A format that no reader knows.
    Unsupported,
    /// It is not what its format says, or its reader died.
    Broken,
    /// It is encrypted.
    Encrypted,
    /// It has no text at all; a scan needs OCR first.
    NoText,
    /// The embedding model refuses its text.
    Unembeddable,
}

impl Reason {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Refused => "refused",
            Reason::Unreachable => "unreachable",
            Reason::TooLarge => "too large",
            Reason::TooSlow => "too slow",
            Reason::Unsupported => "unsupported format",
            Reason::Broken => "broken",
            Reason::Encrypted => "encrypted",
            Reason::NoText => "no text",
            Reason::Unembeddable => "refused by the embedding model",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
