//! What goes between a worker and its child processes: one line of JSON each way per document, after a first line
//! with the limits. Documents and texts stay in files; no line holds any of their content.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::format::{Format, Hints};
use crate::document::Lost;

/// Longest line, in bytes: a few paths and a sentence.
pub(super) const LINE: u64 = 64 * 1024;

/// A document to read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Its file.
    pub(super) file: PathBuf,
    /// Existing empty file for its text.
    pub(super) into: PathBuf,
    /// What is said about its format.
    pub(super) hints: Hints,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// Text, or why there is none.
    pub(super) outcome: Outcome,
    /// Whether the child ends now, and another is to be started for the next document.
    pub(super) last: bool,
}

/// Text, or why there is none.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The text is in the file.
    Text {
        /// What the document is.
        format: Format,
        /// Who read it.
        reader: String,
        /// Length of the text.
        bytes: u64,
    },
    /// The document is lost.
    Lost(Lost),
    /// The machine failed.
    Failed {
        /// What was being done, and why it failed.
        cause: String,
    },
}
