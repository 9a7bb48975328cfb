//! The phases of a migration and the routes through them. Pure. [`crate::migration`] alone moves a migration from one
//! to the next; the move is one row update on the target.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::Method;

/// How far a migration is. The recorded phase is the one in progress; everything before it on its [`Route`] is
/// complete and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Extensions, schemas, types, functions and tables are created, indexes of prepared tables dropped after their
    /// definitions are recorded. Objects and record commit together: killed here, nothing of them exists on the
    /// target. `follow` has recorded the names of its publication and slot before it creates them on the source.
    Schema,
    /// Parts are copied. Each part's rows, digests and record commit in one transaction: killed here, finished parts
    /// stay and the part in flight leaves nothing.
    Rows,
    /// Sequences are set and large objects copied, each object with its record.
    Sequences,
    /// Indexes that apply needs to find a row (`follow`, apply first): built like [`Phase::Indexes`], then their
    /// constraints added in one transaction with the next phase.
    Keys,
    /// Subscriptions are created on the slots, in one transaction with the next phase (`follow`).
    Subscribe,
    /// Indexes and index-backed constraints are built, each with its record in one transaction; beside a running
    /// apply concurrently, then recorded.
    Indexes,
    /// Foreign keys, triggers, rules, policies, attached indexes, views' rows: one transaction with the record.
    Constraints,
    /// `VACUUM (ANALYZE)`, table by table; repeated from the first table when killed.
    Analyze,
    /// Apply works off what was written since the slots' consistent points (`follow`). The servers do it; killed here,
    /// they go on.
    CatchUp,
    /// Apply keeps up with the source (`follow`). Ended by `cutover` alone, which has a record of its own.
    Following,
    /// Bots are embedded anew (`reembed`, `delta`), each with its own state in the record; [`crate::reembed::store`] and
    /// [`crate::delta`] say what is durable when.
    Embedding,
    /// All of it is done.
    Done,
}

impl Phase {
    /// Every phase, in the order of a `follow` that builds its indexes first.
    pub const ALL: [Phase; 12] = [
        Phase::Schema,
        Phase::Rows,
        Phase::Sequences,
        Phase::Keys,
        Phase::Indexes,
        Phase::Constraints,
        Phase::Analyze,
        Phase::Subscribe,
        Phase::CatchUp,
        Phase::Following,
        Phase::Embedding,
        Phase::Done,
    ];

    /// Whether the phase reads the source under a snapshot.
    pub fn needs_snapshot(self) -> bool {
        matches!(self, Phase::Schema | Phase::Rows | Phase::Sequences)
    }

    /// The name in records, events and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Schema => "schema",
            Phase::Rows => "rows",
            Phase::Sequences => "sequences",
            Phase::Keys => "keys",
            Phase::Subscribe => "subscribe",
            Phase::Indexes => "indexes",
            Phase::Constraints => "constraints",
            Phase::Analyze => "analyze",
            Phase::CatchUp => "catch_up",
            Phase::Following => "following",
            Phase::Embedding => "embedding",
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
        f.write_str(match self {
            Phase::CatchUp => "catch-up",
            phase => phase.as_str(),
        })
    }
}

/// The order in which a migration takes its phases, fixed when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `copy`.
    Copy,
    /// `follow`, apply started when every index is built.
    FollowApplyLast,
    /// `follow`, apply started when the keys are built.
    FollowApplyFirst,
    /// `reembed`. [`crate::reembed::run()`] alone takes it.
    Reembed,
    /// `delta`: a copy's phases, then those bots embedded anew that changed since ([`crate::delta`]).
    Delta,
}

impl Route {
    /// Its phases, in order.
    pub fn phases(self) -> &'static [Phase] {
        use Phase::*;
        match self {
            Route::Copy => &[Schema, Rows, Sequences, Indexes, Constraints, Analyze, Done],
            Route::FollowApplyLast => &[
                Schema,
                Rows,
                Sequences,
                Indexes,
                Constraints,
                Analyze,
                Subscribe,
                CatchUp,
                Following,
                Done,
            ],
            Route::FollowApplyFirst => &[
                Schema,
                Rows,
                Sequences,
                Keys,
                Subscribe,
                Indexes,
                Constraints,
                Analyze,
                CatchUp,
                Following,
                Done,
            ],
            Route::Reembed => &[Embedding, Done],
            Route::Delta => {
                &[Schema, Rows, Sequences, Indexes, Constraints, Analyze, Embedding, Done]
            }
        }
    }

    /// The phase that follows; `Done` follows itself.
    pub fn next(self, phase: Phase) -> Phase {
        let phases = self.phases();
        let at = phases.iter().position(|other| *other == phase).unwrap_or(phases.len() - 1);
        phases[(at + 1).min(phases.len() - 1)]
    }

    /// Whether `phase` is complete when `now` is in progress.
    pub fn is_past(self, phase: Phase, now: Phase) -> bool {
        let place = |wanted| self.phases().iter().position(|other| *other == wanted);
        matches!((place(phase), place(now)), (Some(phase), Some(now)) if phase < now)
    }

    /// The method whose route it is.
    pub fn method(self) -> Method {
        match self {
            Route::Copy => Method::Copy,
            Route::FollowApplyLast | Route::FollowApplyFirst => Method::Follow,
            Route::Reembed => Method::Reembed,
            Route::Delta => Method::Delta,
        }
    }

    /// Whether rows are read from a source that stands still, its tables locked against changes of their shape; a
    /// `follow` reads under its slot's snapshot instead.
    pub fn locks_source(self) -> bool {
        matches!(self, Route::Copy | Route::Delta)
    }

    /// The name in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Route::Copy => "copy",
            Route::FollowApplyLast => "follow_apply_last",
            Route::FollowApplyFirst => "follow_apply_first",
            Route::Reembed => "reembed",
            Route::Delta => "delta",
        }
    }

    /// The route of that name.
    pub fn parse(name: &str) -> Option<Route> {
        use Route::*;
        [Copy, FollowApplyLast, FollowApplyFirst, Reembed, Delta]
            .into_iter()
            .find(|route| route.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [Route; 4] =
        [Route::Copy, Route::FollowApplyLast, Route::FollowApplyFirst, Route::Delta];

    #[test]
    fn every_route_goes_from_schema_to_done_and_every_phase_has_a_name() {
        for route in ROUTES {
            assert_eq!(Route::parse(route.as_str()), Some(route));
            let mut phase = Phase::Schema;
            for expected in route.phases() {
                assert_eq!(phase, *expected);
                assert_eq!(Phase::parse(phase.as_str()), Some(phase));
                phase = route.next(phase);
            }
            assert_eq!(phase, Phase::Done);
        }
    }

    #[test]
    fn re_embedding_has_one_phase_and_no_snapshot() {
        assert_eq!(Route::parse(Route::Reembed.as_str()), Some(Route::Reembed));
        assert_eq!(Route::Reembed.next(Phase::Embedding), Phase::Done);
        assert_eq!(Phase::parse("embedding"), Some(Phase::Embedding));
        assert!(!Phase::Embedding.needs_snapshot());
    }

    #[test]
    fn a_delta_is_a_copy_with_embedding_before_its_end() {
        let (delta, copy) = (Route::Delta.phases(), Route::Copy.phases());
        assert_eq!(delta[..copy.len() - 1], copy[..copy.len() - 1]);
        assert_eq!(delta[copy.len() - 1..], [Phase::Embedding, Phase::Done]);
        assert!(Route::Delta.locks_source() && !Route::FollowApplyLast.locks_source());
    }

    #[test]
    fn what_is_past_depends_on_the_route() {
        assert!(Route::FollowApplyFirst.is_past(Phase::Subscribe, Phase::Indexes));
        assert!(!Route::FollowApplyLast.is_past(Phase::Subscribe, Phase::Indexes));
        assert!(!Route::Copy.is_past(Phase::Subscribe, Phase::Done), "never taken");
        assert!(!Route::Copy.is_past(Phase::Rows, Phase::Rows));
    }

    #[test]
    fn a_snapshot_is_needed_before_anything_else_on_every_route() {
        for route in ROUTES {
            let last = route.phases().iter().rposition(|phase| phase.needs_snapshot());
            let first_without = route.phases().iter().position(|phase| !phase.needs_snapshot());
            assert_eq!(last.map(|at| at + 1), first_without, "{route:?}");
        }
    }
}
