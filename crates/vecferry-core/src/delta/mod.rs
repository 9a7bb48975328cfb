//! Method `delta`: a copy of the source as it was at a certain time, then only what changed since is embedded anew.
//!
//! The source is a restored snapshot, or any source that nobody writes to. The registry and the document store say how
//! things are now; [`compare()`] sets the source's rows beside them and says of every bot whether its copied rows
//! stay, whether it is embedded anew and why, or whether its rows go. Read [`compare()`] for what is decided and
//! [`mod@self::compare`] for why so.
//!
//! Rows are always read from the source, before the copy and after it: its answer stays the same for as long as the
//! migration lives, while the target's rows change with every bot that is embedded. Only bots that had rows on the
//! target before the copy (`--existing keep`) are read from there, because theirs are the rows that stay.
//!
//! # What is durable when
//!
//! One migration, one id, [`crate::phase::Route::Delta`]:
//!
//! 1. With the schema, in its transaction: the time of the source and the policy for the web ([`Terms`]). A later run
//!    goes on with them.
//! 2. The phases of a copy, as in a copy.
//! 3. At the beginning of [`crate::phase::Phase::Embedding`], in one transaction of its own ([`record::settle`]): what
//!    is done with every bot and why, and the removal of the rows of bots that are gone. Killed before it, the next run
//!    compares again; killed after it, the next run adds what has changed meanwhile and takes nothing back.
//! 4. Each bot's embedding, as [`crate::reembed`] records it. A proven bot is not run again.
//! 5. `done`, when every bot that was chosen is proven or no longer there.

mod address;
pub mod compare;
pub mod held;
pub mod reason;
pub mod record;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use compare::{
    Chosen, Compared, Delta, Kept, Looked, Object, Objects, Removal, Undecided, compare,
};
pub use held::{HeldBot, HeldRows};
pub use reason::{Reason, Why};
pub use record::{Choice, Recorded, carry, recorded, settle};

/// What becomes of bots whose knowledge is on the web, where nobody can tell what changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebPolicy {
    /// Their copied rows stay, unless something else about them changed.
    #[default]
    Keep,
    /// They are embedded anew.
    Reembed,
}

impl WebPolicy {
    /// The word on the command line, in the file and in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            WebPolicy::Keep => "keep",
            WebPolicy::Reembed => "reembed",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<WebPolicy> {
        [WebPolicy::Keep, WebPolicy::Reembed].into_iter().find(|policy| policy.as_str() == text)
    }
}

impl fmt::Display for WebPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a delta is measured by, fixed when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When the source was as it is: the snapshot's time, or an earlier one to be on the safe side.
    pub taken_at: Timestamp,
    /// What becomes of bots whose knowledge is on the web.
    pub web: WebPolicy,
}
