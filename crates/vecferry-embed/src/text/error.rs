//! Why there is no text: the document's fault, or the machine's. They are kept apart because a worker may accept
//! lost documents, but must never take a full disk for one.

use std::io;

use crate::document::{Lost, Reason};

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document gives none.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// This machine could not read, write or start something; the document may be fine.
    #[error("{action}")]
    Machine {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The document is lost.
    pub(super) fn lost(reason: Reason, detail: impl Into<String>) -> Error {
        Error::Lost(Lost::new(reason, detail))
    }

    /// The document is not what its format says.
    pub(super) fn broken(detail: impl Into<String>) -> Error {
        Error::lost(Reason::Broken, detail)
    }
}

/// For `map_err`: the machine failed while doing something.
pub(super) fn machine(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Machine { action, source }
}
