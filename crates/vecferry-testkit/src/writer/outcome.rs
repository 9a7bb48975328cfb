//! How a write can end, and what one was.

use std::fmt;
use std::time::Duration;

/// What became of one write (a statement of its own, or a transaction).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server said that it is committed.
    Acknowledged,
    /// The writer took it back itself.
    RolledBack,
    /// The server said no, with this SQLSTATE; nothing of it may be there.
    Refused([u8; 5]),
    /// The server did not find the rows that the ledger says are there; rolled back.
    Missed,
    /// The connection was lost before the commit was asked for; nothing of it may be there.
    Lost,
    /// The connection was lost while it was being committed: all of it may be there, or nothing.
    Unknown,
}

impl Outcome {
    /// The SQLSTATE of a refusal.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Outcome::Refused(code) => std::str::from_utf8(code).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Acknowledged => f.write_str("acknowledged"),
            Outcome::RolledBack => f.write_str("rolled back"),
            Outcome::Refused(code) => write!(f, "refused ({})", String::from_utf8_lossy(code)),
            Outcome::Missed => f.write_str("taken back because a row was not found"),
            Outcome::Lost => f.write_str("lost with its connection before the commit"),
            Outcome::Unknown => f.write_str("of unknown outcome"),
        }
    }
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One new row.
    Insert,
    /// Several new rows in one statement.
    InsertMany,
    /// A text changed, its vector not.
    Content,
    /// A vector changed, its text not.
    Vector,
    /// One row deleted.
    Delete,
    /// All rows of a bot deleted and others inserted, in one transaction.
    ReplaceBot,
    /// A transaction of many rows.
    Transaction,
    /// A transaction that is left open for a while.
    HoldOpen,
    /// A transaction that is rolled back.
    RollBack,
    /// Rows into the side table.
    SideInsert,
    /// The side table emptied.
    Truncate,
}

/// One write and how it ended. Times are since the writer's start.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// What it did.
    pub kind: Kind,
    /// Rows that it inserted, changed or deleted.
    pub rows: u32,
    /// When the answer came, or the connection was lost.
    pub ended: Duration,
    /// From its first statement to the answer, without the time it was left open on purpose.
    pub latency: Duration,
    /// Which of the ledger's visits it belongs to.
    pub visit: usize,
    /// What became of it.
    pub outcome: Outcome,
}
