//! What can go wrong, as facts: which side, what was being done, what the server said, and what the operator can
//! do about it. Rendering and exit codes live in the program; nothing here prints.

use std::fmt;

use crate::pg::Failure;

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The party an error belongs to; the program maps it to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The cluster the data comes from.
    Source,
    /// The cluster the data goes to.
    Target,
}

impl Side {
    /// The cluster at the other end.
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

/// What repeating the failed step can achieve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same step may succeed when tried again (a lost connection, a deadlock).
    Transient,
    /// Somebody has to change something first (a password, disk space, a lock held by a person).
    Operator,
    /// It will fail the same way every time.
    Permanent,
}

/// An error of the migration, with the facts needed to act on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL, or the connection to it, failed.
    #[error("{side}: cannot {doing}")]
    Postgres {
        /// The cluster that failed.
        side: Side,
        /// What was being done, as the continuation of "cannot ".
        doing: String,
        /// What the server or the socket said.
        #[source]
        failure: Box<Failure>,
        /// What to do, when the place that failed knows better than [`Failure::hint`].
        hint: Option<String>,
    },
    /// A setting contradicts itself or names something that does not exist.
    #[error("{what}")]
    Configuration {
        /// One line in lower case.
        what: String,
        /// What to change.
        hint: Option<String>,
    },
    /// The state of a cluster forbids the step; nothing was changed.
    #[error("{what}")]
    Refused {
        /// The cluster whose state forbids it.
        side: Side,
        /// One line in lower case, with the facts.
        what: String,
        /// A command or setting that leads on.
        hint: Option<String>,
    },
    /// A table got another file on the source while it was copied without a lock.
    #[error("{table} was truncated or rewritten on the source while it was copied")]
    Rewritten {
        /// Table, `schema.name`.
        table: String,
    },
    /// A program of PostgreSQL's own (`pg_dump`, `pg_restore`) failed.
    #[error("{program} failed: {said}")]
    Program {
        /// The cluster it worked on.
        side: Side,
        /// Name of the program.
        program: &'static str,
        /// Its last lines on stderr.
        said: String,
        /// Whether it lost its connection, so that it may succeed when started again.
        lost_connection: bool,
        /// What to do.
        hint: Option<String>,
    },
    /// A service other than the two clusters failed: the registry, the task runner, the document store, the model.
    #[error("{service}: cannot {doing}")]
    Service {
        /// Name of the service, as its maker writes it: `DynamoDB`.
        service: &'static str,
        /// What was being done, as the continuation of "cannot ".
        doing: String,
        /// What repeating can achieve.
        class: Class,
        /// What the service or the socket said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        hint: Option<String>,
    },
    /// Bots were not embedded, or not proven.
    #[error("{what}")]
    Tasks {
        /// One line in lower case, with the numbers.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Files or processes on the operator's machine failed.
    #[error("cannot {doing}")]
    Local {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The operator interrupted; everything finished so far is recorded.
    #[error("interrupted")]
    Interrupted,
    /// An invariant of ours does not hold.
    #[error("{what}")]
    Bug {
        /// What was found, with the facts.
        what: String,
    },
}

impl Error {
    /// The cluster an exit code should name, if one is to blame.
    pub fn side(&self) -> Option<Side> {
        match self {
            Error::Postgres { side, .. }
            | Error::Refused { side, .. }
            | Error::Program { side, .. } => Some(*side),
            Error::Rewritten { .. } => Some(Side::Source),
            _ => None,
        }
    }

    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Error::Postgres { failure, .. } => failure.class(),
            Error::Service { class, .. } => *class,
            Error::Tasks { .. } => Class::Operator,
            Error::Configuration { .. } | Error::Refused { .. } | Error::Local { .. } => {
                Class::Operator
            }
            Error::Program { lost_connection: true, .. } | Error::Rewritten { .. } => {
                Class::Transient
            }
            Error::Program { .. } | Error::Interrupted | Error::Bug { .. } => Class::Permanent,
        }
    }

    /// What the operator can do, if anything is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Postgres { hint: Some(hint), .. } => Some(hint.clone()),
            Error::Postgres { side, failure, .. } => failure.hint(*side),
            Error::Configuration { hint, .. }
            | Error::Refused { hint, .. }
            | Error::Service { hint, .. }
            | Error::Tasks { hint, .. }
            | Error::Program { hint, .. } => hint.clone(),
            Error::Rewritten { .. } => Some(
                "run the same command again; if it happens every time, leave the table out".into(),
            ),
            Error::Bug { .. } => {
                Some("this is a defect in vecferry; please report it with the lines above".into())
            }
            Error::Local { .. } | Error::Interrupted => None,
        }
    }

    /// The same error with `hint` in place of the general one.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Error::Postgres { hint, .. }
            | Error::Configuration { hint, .. }
            | Error::Refused { hint, .. }
            | Error::Service { hint, .. }
            | Error::Tasks { hint, .. }
            | Error::Program { hint, .. } => *hint = Some(text.into()),
            _ => {}
        }
        self
    }

    /// The SQLSTATE, when a server gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Error::Postgres { failure, .. } => failure.sqlstate(),
            _ => None,
        }
    }
}

/// Says which side failed at what; used as `.map_err(on(Side::Target, "read the catalog"))`.
pub fn on<F: Into<Failure>>(side: Side, doing: impl Into<String>) -> impl FnOnce(F) -> Error {
    let doing = doing.into();
    move |failure| Error::Postgres { side, doing, failure: Box::new(failure.into()), hint: None }
}

/// An error with its causes on one line.
pub fn on_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let said = cause.to_string();
        // Some libraries say their cause themselves.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        below = cause.source();
    }
    text
}
