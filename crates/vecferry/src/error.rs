//! The one place where failures become text and exit codes. One line in lower case says what failed, `caused by:`
//! lines say why, `hint:` says what to do; never a panic, never a password.

use std::io;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use vecferry_core::{Error as CoreError, Side};

/// Exit codes, fixed: scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for is done.
    Done = 0,
    /// The answer is no: a finding blocks, the sides differ, the operator declined.
    No = 1,
    /// The command line, the settings or this machine must change.
    Usage = 2,
    /// The source failed or forbids it.
    Source = 3,
    /// The target failed or forbids it.
    Target = 4,
    /// Tasks, workers or the services they need failed.
    Tasks = 5,
    /// A defect of vecferry.
    Bug = 70,
    /// Interrupted by the operator; what was finished is recorded.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The migration failed.
    #[error(transparent)]
    Core(Box<CoreError>),
    /// Everything that is wrong in the settings, so that one round of corrections is enough.
    #[error("the settings cannot be used")]
    Settings(Vec<Mistake>),
    /// The command cannot be run like this.
    #[error("{what}")]
    Usage {
        /// One line in lower case.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The operator did not type the name.
    #[error("not confirmed; nothing was changed")]
    Declined,
    /// The operator interrupted the run.
    #[error("interrupted")]
    Interrupted {
        /// What is finished and how to go on.
        how_to_go_on: String,
    },
    /// The result could not be written.
    #[error("cannot write the result to stdout")]
    Output(#[source] io::Error),
}

/// One thing wrong in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// One line in lower case, with file and line where there is one.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) hint: Option<String>,
}

impl Mistake {
    /// A mistake with a hint.
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Mistake {
        Mistake { what: what.into(), hint: Some(hint.into()) }
    }
}

impl From<Mistake> for Error {
    fn from(mistake: Mistake) -> Error {
        Error::Settings(vec![mistake])
    }
}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Error {
        Error::Core(Box::new(error))
    }
}

/// A line to print, and what it is, for its colour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// `error:`
    Error(String),
    /// `caused by:`
    Cause(String),
    /// `hint:`
    Hint(String),
}

impl Error {
    /// The code that says which kind of failure this is.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Error::Core(error) => exit_of(error),
            Error::Settings(_) | Error::Usage { .. } => Exit::Usage,
            Error::Declined => Exit::No,
            Error::Interrupted { .. } => Exit::Interrupted,
            Error::Output(_) => Exit::Usage,
        }
    }

    /// What to print on stderr.
    pub(crate) fn lines(&self) -> Vec<Line> {
        match self {
            Error::Settings(mistakes) => mistakes
                .iter()
                .flat_map(|mistake| {
                    let hint = mistake.hint.clone().map(Line::Hint);
                    [Some(Line::Error(mistake.what.clone())), hint].into_iter().flatten()
                })
                .collect(),
            other => chain(other, other.hint()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Core(error) if matches!(**error, CoreError::Interrupted) => Some(GO_ON.into()),
            Error::Core(error) => error.hint(),
            Error::Usage { hint, .. } => hint.clone(),
            Error::Declined => Some("type the name as shown, or pass --yes".into()),
            Error::Interrupted { how_to_go_on } => Some(how_to_go_on.clone()),
            Error::Settings(_) | Error::Output(_) => None,
        }
    }
}

/// How an interrupted command goes on, where nothing more is known.
pub(crate) const GO_ON: &str = "run the same command again";

fn exit_of(error: &CoreError) -> Exit {
    match (error, error.side()) {
        (_, Some(Side::Source)) => Exit::Source,
        (_, Some(Side::Target)) => Exit::Target,
        (CoreError::Interrupted, None) => Exit::Interrupted,
        (CoreError::Configuration { .. } | CoreError::Local { .. }, None) => Exit::Usage,
        (CoreError::Service { .. } | CoreError::Tasks { .. }, None) => Exit::Tasks,
        (_, None) => Exit::Bug,
    }
}

/// The error, everything below it, and the hint. A cause that only repeats what stands above it is left out.
fn chain(error: &dyn std::error::Error, hint: Option<String>) -> Vec<Line> {
    let first = one_line(&error.to_string());
    let mut said = first.clone();
    let mut lines = vec![Line::Error(first)];
    let mut below = error.source();
    while let Some(cause) = below {
        let text = one_line(&cause.to_string());
        if !said.contains(&text) {
            said.clone_from(&text);
            lines.push(Line::Cause(text));
        }
        below = cause.source();
    }
    lines.extend(hint.map(|hint| Line::Hint(one_line(&hint))));
    lines
}

/// A message of several lines (pg_restore's, say) would look like several messages.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The operating system gave no threads.
pub(crate) fn no_runtime(source: io::Error) -> Error {
    CoreError::Local { doing: "start threads".into(), source }.into()
}

/// Makes a panic, in whatever thread, end the program as a defect of ours. Its message is not shown: slicing a text
/// wrongly, for one, panics with the text.
pub(crate) fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
        eprintln!("error: internal error{}", place.unwrap_or_default());
        eprintln!("hint: this is a defect in vecferry; please report it with the line above");
        std::process::exit(Exit::Bug as i32);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecferry_core::pg::Failure;

    fn refused(side: Side) -> CoreError {
        CoreError::Refused {
            side,
            what: "rows are there".into(),
            hint: Some("vecferry check".into()),
        }
    }

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let local = CoreError::Local { doing: "x".into(), source: io::Error::other("y") };
        for (error, exit) in [
            (refused(Side::Source), Exit::Source),
            (refused(Side::Target), Exit::Target),
            (CoreError::Configuration { what: "x".into(), hint: None }, Exit::Usage),
            (local, Exit::Usage),
            (CoreError::Tasks { what: "x".into(), hint: None }, Exit::Tasks),
            (CoreError::Interrupted, Exit::Interrupted),
            (CoreError::Bug { what: "x".into() }, Exit::Bug),
        ] {
            assert_eq!(Error::from(error).exit(), exit);
        }
        assert_eq!(Error::Declined.exit(), Exit::No);
        assert_eq!(Exit::Interrupted as u8, 130);
    }

    #[test]
    fn causes_follow_and_repetitions_are_left_out() {
        let failure = Failure::server("28P01", "password authentication\nfailed", None, None);
        let error = CoreError::Postgres {
            side: Side::Source,
            doing: "connect to h:1".into(),
            failure: Box::new(failure),
            hint: Some("check it".into()),
        };
        assert_eq!(
            Error::from(error).lines(),
            [
                Line::Error("source: cannot connect to h:1".into()),
                Line::Cause("password authentication; failed (SQLSTATE 28P01)".into()),
                Line::Hint("check it".into()),
            ]
        );
        let socket = Failure::Socket(io::Error::other("lost"));
        let error = CoreError::Postgres {
            side: Side::Source,
            doing: "read".into(),
            failure: Box::new(socket),
            hint: None,
        };
        let lines = Error::from(error).lines();
        assert_eq!(
            lines.iter().filter(|line| matches!(line, Line::Cause(_))).count(),
            1,
            "{lines:?}"
        );
    }

    #[test]
    fn all_mistakes_in_the_settings_are_shown() {
        let mistakes = vec![Mistake::new("a", "b"), Mistake { what: "c".into(), hint: None }];
        let lines = Error::Settings(mistakes).lines();
        assert_eq!(
            lines,
            [Line::Error("a".into()), Line::Hint("b".into()), Line::Error("c".into())]
        );
    }
}
