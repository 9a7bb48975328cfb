//! The phases of a copy and their order. Pure. [`crate::migration`] alone moves a migration from one to the next;
//! the move is one row update on the target.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a copy is. The recorded phase is the one in progress; everything before it is complete and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Extensions, schemas, types, functions and tables are created, indexes of prepared tables dropped after their
    /// definitions are recorded. Objects and record commit together: killed here, nothing exists on the target.
    Schema,
    /// Parts are copied. Each part's rows, digests and record commit in one transaction: killed here, finished parts
    /// stay and the part in flight leaves nothing.
    Rows,
    /// Sequences are set and large objects copied, each object with its record.
    Sequences,
    /// Indexes and index-backed constraints are built, each with its record in one transaction.
    Indexes,
    /// Foreign keys, triggers, rules, policies, attached indexes, views' rows: one transaction with the record.
    Constraints,
    /// `VACUUM (ANALYZE)`, table by table; repeated from the first table when killed.
    Analyze,
    /// All of it is done.
    Done,
}

impl Phase {
    /// Every phase in order.
    pub const ALL: [Phase; 7] = [
        Phase::Schema,
        Phase::Rows,
        Phase::Sequences,
        Phase::Indexes,
        Phase::Constraints,
        Phase::Analyze,
        Phase::Done,
    ];

    /// The phase that follows; `Done` follows itself.
    pub fn next(self) -> Phase {
        let at = Phase::ALL.iter().position(|phase| *phase == self).unwrap_or(Phase::ALL.len() - 1);
        Phase::ALL[(at + 1).min(Phase::ALL.len() - 1)]
    }

    /// The name in records, events and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Schema => "schema",
            Phase::Rows => "rows",
            Phase::Sequences => "sequences",
            Phase::Indexes => "indexes",
            Phase::Constraints => "constraints",
            Phase::Analyze => "analyze",
            Phase::Done => "done",
        }
    }

    /// The phase of that name.
    pub fn parse(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_end_in_done() {
        let mut phase = Phase::Schema;
        for expected in Phase::ALL {
            assert_eq!(phase, expected);
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
            phase = phase.next();
        }
        assert_eq!(phase, Phase::Done);
    }
}
