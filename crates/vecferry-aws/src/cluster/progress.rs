//! What is told while a cluster is made or removed.

use serde::Serialize;

/// Something that happened. Serialised as `{"event": "waiting", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// A step begins.
    Doing {
        /// What is done, as a sentence without a subject: "restore the cluster x".
        what: String,
    },
    /// Something is waited for; told when its state is another one, and again every few minutes.
    Waiting {
        /// What: `cluster`, `instance`, `snapshot`.
        what: String,
        /// Its identifier.
        id: String,
        /// Its state.
        status: String,
        /// Seconds since the run began.
        seconds: u64,
        /// Seconds after which the run gives up.
        limit: u64,
    },
    /// A call failed in a way that may pass, and is made again.
    Again {
        /// What the service said.
        error: String,
    },
}

/// Receives what is told.
pub(super) type Report<'a> = &'a (dyn Fn(&Progress) + Send + Sync);
