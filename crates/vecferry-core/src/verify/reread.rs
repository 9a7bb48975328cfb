//! Whether two clusters differ while changes flow from one to the other. Pure: judges readings, reads nothing.
//!
//! One thing (a bot's rows, a table without bots, a table's vectors) is read in turn on the cluster that sends and on
//! the one that applies: `s0 r0 s1 r1 s2 …`. [`super::moment`] takes the snapshots behind them so that
//!
//! 1. `r(n)` shows every commit that `s(n)` shows: the sender's position is read after the snapshot `s(n)` was taken,
//!    and the receiver's snapshot after it has applied up to there. A commit is visible only once its record is
//!    written, so every commit that a snapshot shows ends at or below a position read later.
//! 2. `s(n+1)` shows every commit that `r(n)` shows: it was taken later, and what is applied was committed on the
//!    sender before. (Not to the last instant: a server sends a commit when it is flushed and shows it a moment
//!    later, or as late as its synchronous standby allows. A third reading of the sender leaves time for that.)
//!
//! A reading is what is there ([`Reading::content`], the same on both clusters) and which versions of rows it is
//! ([`Reading::versions`], a cluster's own). Same versions in two readings of a cluster mean that no row seen in
//! either was written between them.
//!
//! **Equal**: the receiver holds what the sender held at a moment at or next to its own.
//!
//! **Different**: `s0 s1 s2` are one version of it, `r0 r1` are, and the content is not the same. No lag looks like
//! that. Suppose that the receiver lacks nothing but time. A row of the sender is in `s0` and untouched until `s2`:
//! by 1 `r0` has it, by 2 nothing that `r0` or `r1` shows has removed it, so it is there. A row of the receiver that
//! the sender lacks is in `r0` and untouched until `r1`: by 2 `s1` shows its coming, and as it lacks the row, its
//! going, which by 1 `r1` shows as well; but it is there. Neither can be. Equal *content* of `s0` and `s1` would not
//! do: a value that changes and changes back looks the same.
//!
//! **Changing**: neither within the rounds allowed. That is no match.

/// What was found out about one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The same on both.
    Equal,
    /// Not the same, and not for lag.
    Different,
    /// Written so often that neither could be shown.
    Changing,
}

/// One cluster's state of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading<C, V> {
    /// What is there, to be compared with the other cluster.
    pub(super) content: C,
    /// Which versions of rows it is, to be compared with the same cluster's.
    pub(super) versions: V,
}

/// The last readings of one thing, the sender's and the receiver's in turn.
#[derive(Debug, Clone)]
pub(super) struct Readings<C, V> {
    /// Five at most, the first and the last of them the sender's.
    seen: Vec<Reading<C, V>>,
    rounds: usize,
}

/// Readings that a proof takes: two rounds and the sender's closing one.
const PROOF: usize = 5;

impl<C, V: PartialEq> Readings<C, V> {
    /// Begins with a reading of the sender.
    pub(super) fn begin(sender: Reading<C, V>) -> Self {
        Readings { seen: vec![sender], rounds: 0 }
    }

    /// Adds the receiver's reading and the sender's next one.
    pub(super) fn round(&mut self, receiver: Reading<C, V>, sender: Reading<C, V>) {
        if self.seen.len() == PROOF {
            self.seen.drain(..2);
        }
        self.seen.extend([receiver, sender]);
        self.rounds += 1;
    }

    /// How often the receiver was read.
    pub(super) fn rounds(&self) -> usize {
        self.rounds
    }

    /// The last readings of sender and receiver; `None` before the first round.
    pub(super) fn last(&self) -> Option<(&C, &C)> {
        match self.seen.as_slice() {
            [.., receiver, sender] => Some((&sender.content, &receiver.content)),
            _ => None,
        }
    }

    /// What the readings show; `None` to read again. `alike` compares sender and receiver.
    pub(super) fn judge(&self, limit: usize, alike: impl Fn(&C, &C) -> bool) -> Option<Finding> {
        let [.., before, receiver, after] = self.seen.as_slice() else { return None };
        if [before, after].into_iter().any(|sender| alike(&sender.content, &receiver.content)) {
            return Some(Finding::Equal);
        }
        if let [s0, r0, s1, r1, s2] = self.seen.as_slice()
            && s0.versions == s1.versions
            && s1.versions == s2.versions
            && r0.versions == r1.versions
        {
            return Some(Finding::Different);
        }
        (self.rounds >= limit).then_some(Finding::Changing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row's value and the commit that wrote it, in a world of one row that may not be there.
    type State = Option<(u8, usize)>;

    /// The states after each commit of `commits`: 0 removes the row, 1 and 2 write it.
    fn history(commits: &[u8]) -> Vec<State> {
        let mut states = vec![Some((1, 0))];
        for (at, value) in commits.iter().enumerate() {
            states.push((*value > 0).then_some((*value, at + 1)));
        }
        states
    }

    fn reading(state: State) -> Reading<Option<u8>, State> {
        Reading { content: state.map(|row| row.0), versions: state }
    }

    /// Every history of `commits` commits, read at every five moments that the order of snapshots allows.
    fn everything(commits: u32, mut check: impl FnMut(&[State], [usize; PROOF])) {
        for number in 0..3u32.pow(commits) {
            let digits = (0..commits).map(|at| u8::try_from(number / 3u32.pow(at) % 3).unwrap());
            let states = history(&digits.collect::<Vec<_>>());
            let end = states.len();
            for a in 0..end {
                for b in a..end {
                    for c in b..end {
                        for d in c..end {
                            for e in d..end {
                                check(&states, [a, b, c, d, e]);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The findings after the first and the second round.
    fn findings(
        states: &[State],
        at: [usize; PROOF],
        corrupt: impl Fn(State) -> State,
    ) -> [Option<Finding>; 2] {
        let sender = |at: usize| reading(states[at]);
        let receiver = |at: usize| reading(corrupt(states[at]));
        let mut readings = Readings::begin(sender(at[0]));
        readings.round(receiver(at[1]), sender(at[2]));
        let first = readings.judge(10, |one, other| one == other);
        readings.round(receiver(at[3]), sender(at[4]));
        [first, readings.judge(10, |one, other| one == other)]
    }

    #[test]
    fn a_receiver_that_only_lags_is_never_called_different() {
        everything(6, |states, at| {
            let found = findings(states, at, |state| state);
            assert!(!found.contains(&Some(Finding::Different)), "{states:?} {at:?}");
            if at.iter().all(|one| *one == at[0]) {
                assert_eq!(found, [Some(Finding::Equal); 2]);
            }
        });
    }

    #[test]
    fn a_row_altered_on_the_receiver_is_never_called_equal_and_proven_when_it_is_quiet() {
        // Another value than the application ever writes, in place of the row or of its absence.
        let altered = |_: State| Some((9, usize::MAX));
        everything(5, |states, at| {
            let found = findings(states, at, altered);
            assert!(!found.contains(&Some(Finding::Equal)), "{states:?} {at:?}");
            if at.iter().all(|one| states[*one] == states[at[0]]) {
                assert_eq!(found, [None, Some(Finding::Different)], "{states:?} {at:?}");
            }
        });
    }

    #[test]
    fn a_row_lost_or_added_on_the_receiver_is_proven_when_it_is_quiet() {
        for (states, lost) in [(history(&[2, 1]), true), (history(&[0, 0]), false)] {
            let corrupt = |_: State| if lost { None } else { Some((7, 77)) };
            assert_eq!(
                findings(&states, [2, 2, 2, 2, 2], corrupt),
                [None, Some(Finding::Different)]
            );
        }
    }

    #[test]
    fn content_that_comes_and_goes_between_the_readings_is_no_proof() {
        // Written, undone and written again: the sender always shows 1, the receiver always 2.
        let states = history(&[2, 1, 2, 1]);
        assert_eq!(findings(&states, [0, 1, 2, 3, 4], |state| state), [None, None]);
        // A row that exists only while nobody reads the sender.
        let states = history(&[0, 1, 0, 1, 0]);
        assert_eq!(findings(&states, [1, 2, 3, 4, 5], |state| state), [None, None]);
    }

    #[test]
    fn what_never_rests_is_changing_after_the_rounds_allowed_and_can_become_equal_until_then() {
        let reading = |content: u32, versions: u32| Reading { content, versions };
        let same = |one: &u32, other: &u32| one == other;
        let mut readings = Readings::begin(reading(0, 0));
        assert_eq!((readings.judge(3, same), readings.last()), (None, None));
        for round in 1..=3 {
            assert_eq!(readings.judge(3, same), None);
            readings.round(reading(100 + round, round), reading(round, round));
        }
        assert_eq!(readings.judge(3, same), Some(Finding::Changing));
        assert_eq!((readings.rounds(), readings.last()), (3, Some((&3, &103))));
        readings.round(reading(3, 4), reading(4, 4));
        assert_eq!(readings.judge(4, same), Some(Finding::Equal), "that of the sender before");
        assert!(readings.seen.len() <= PROOF);
    }
}
