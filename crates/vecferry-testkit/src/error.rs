//! What can go wrong in the rig, with the facts a developer needs to mend it.

use std::path::{Path, PathBuf};

/// A failure of the rig, never of the code under test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the rig could not be used.
    #[error("{action} {}", path.display())]
    File {
        /// What was being done, in the infinitive: "create", "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("start {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program ran and reported failure.
    #[error("{program} failed: {stderr}")]
    Program {
        /// The program.
        program: String,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The server ended before it accepted connections.
    #[error("PostgreSQL {version} did not start; its log ends with:\n{log}")]
    DidNotStart {
        /// Which server.
        version: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// The server neither ended nor became ready.
    #[error("PostgreSQL {version} was not ready after {seconds} s; its log ends with:\n{log}")]
    NotReady {
        /// Which server.
        version: &'static str,
        /// How long we waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// A double of a service ended, or stayed silent, before it listened.
    #[error("{name} did not start; its log ends with:\n{log}")]
    Double {
        /// Which one.
        name: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// A double could not be reached.
    #[error("{action}")]
    Http {
        /// What was asked of it.
        action: String,
        /// Why it failed.
        #[source]
        source: reqwest::Error,
    },
    /// A double refused, or answered what cannot be read.
    #[error("{action}: status {status}: {body}")]
    Answer {
        /// What was asked of it.
        action: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// The cluster belongs to another process, so its life is not ours to change.
    #[error("this cluster is shared by all test binaries: start one of your own to {action} it")]
    Shared {
        /// What was asked for.
        action: &'static str,
    },
    /// We are root, PostgreSQL must not be, and its account cannot enter the folder.
    #[error("{} cannot be entered by uid {uid}: choose a folder readable by all", path.display())]
    Unreachable {
        /// The folder.
        path: PathBuf,
        /// The account PostgreSQL runs as.
        uid: u32,
    },
    /// No wheel with PostgreSQL in it exists for this machine.
    #[error("no PostgreSQL wheel for {arch} {os} is known")]
    Unsupported {
        /// Processor.
        arch: &'static str,
        /// Operating system.
        os: &'static str,
    },
    /// A handed-over pair could not be understood.
    #[error("{name}={value} is not a pair of running clusters")]
    BadPair {
        /// The environment variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// No certificate could be made for a TLS terminator.
    #[error("prepare TLS")]
    Tls {
        /// Why.
        #[source]
        source: crate::tls::TlsError,
    },
    /// A writer could not be started or brought to rest.
    #[error("{what}")]
    Writer {
        /// What it is about.
        what: String,
    },
    /// The database refused something.
    #[error("{action}")]
    Database {
        /// What was being done.
        action: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// The rig's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Attaches the path and the intent to an I/O error.
pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}
