//! What points the application at the other cluster: a seam, for how an application learns where its database is lies
//! outside of this crate. A command of the operator's is one way ([`CommandSwitch`]); a secret store is another.

mod command;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub use command::CommandSwitch;

use super::step::Direction;
use crate::error::Result;
use crate::pg::Dsn;
use crate::report::Reporter;

/// Where the application is to go.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Which way.
    pub direction: Direction,
    /// The receiver.
    pub to: &'a Dsn,
    /// Migration id.
    pub migration: &'a str,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a switch answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The application is on the other cluster.
    Switched,
    /// It is not, and why.
    NotSwitched(String),
    /// It may be, and why nobody knows.
    Unknown(String),
}

/// Points the application at a cluster. May be called again for the same order, when a process was cut off.
#[async_trait]
pub trait Switch: Debug + Send + Sync {
    /// What it is called in messages: `the switch command`.
    fn name(&self) -> String;

    /// Why it could not be done now, if that can be told without doing anything.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn obstacle(&self, order: Order<'_>) -> Result<Option<String>>;

    /// Does it. What it says on the way goes to the reporter, and holds no password.
    ///
    /// # Errors
    /// When nobody can say how it ended, and why is not to be told as [`Answer::Unknown`]: a defect.
    async fn switch(&self, order: Order<'_>, reporter: &dyn Reporter) -> Result<Answer>;
}
