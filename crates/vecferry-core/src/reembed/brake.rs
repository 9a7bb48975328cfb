//! Stops a run whose containers cannot work at all: a wrong image, a secret or network that is missing, too little
//! memory. Pure.
//!
//! The first bots of a run are its trial. When the first attempts of so many bots have all died in the same way, and
//! nothing has worked yet, the next thousand would die too, each paid for several times. One proof, or one worker that
//! got far enough to say what it lost, shows that containers work: then the brake is off for the rest of the run,
//! however many bots fail later. So does a death of another kind: odd bots are odd each in their own way.

use std::collections::HashSet;

use super::decide::{Decision, Ending, Facts, spoke};
use super::task::StopCause;
use super::verdict::Verdict;
use crate::bot::BotKey;

/// Bots whose first attempts are the trial.
const TRIALS: usize = 5;

/// A run of fewer bots is never stopped: there is little left to save, and the attempts that each bot has may do.
const FEWEST: usize = 3;

/// How a container died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It never ran.
    NeverStarted,
    /// It was killed for memory.
    OutOfMemory,
    /// Its worker ended with this exit code and said nothing.
    Exited(i32),
}

/// What the end of an attempt tells about containers in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// They work, whatever became of this bot.
    Works,
    /// This one died.
    Died(Death),
    /// Nothing: the task was taken away, or is gone.
    Nothing,
}

/// What an attempt tells.
pub fn told(facts: &Facts<'_>, decision: &Decision) -> Told {
    let wrote = !matches!(facts.verdict, Verdict::Unseen | Verdict::Untouched);
    match (decision, facts.ending) {
        (Decision::Proven(_), _) => Told::Works,
        (Decision::Skip(_), _) => Told::Nothing,
        _ if wrote || spoke(facts) => Told::Works,
        (_, Ending::Vanished) => Told::Nothing,
        (_, Ending::Stopped(stop)) => match (stop.cause, stop.exit_code) {
            (StopCause::NeverStarted, _) => Told::Died(Death::NeverStarted),
            (StopCause::OutOfMemory, _) => Told::Died(Death::OutOfMemory),
            (StopCause::Exited, Some(code)) if code != 0 => Told::Died(Death::Exited(code)),
            (StopCause::Exited | StopCause::Interrupted | StopCause::Stopped, _) => Told::Nothing,
        },
    }
}

/// Watches over the first bots of a run.
#[derive(Debug)]
pub struct Brake {
    trials: usize,
    death: Option<Death>,
    bots: HashSet<BotKey>,
    off: bool,
}

impl Brake {
    /// For a run that has this many bots to embed.
    pub fn new(bots: usize) -> Brake {
        let (trials, off) = (bots.min(TRIALS), bots < FEWEST);
        Brake { trials, death: None, bots: HashSet::new(), off }
    }

    /// Takes note of an attempt's end. The number of bots whose containers have died alike, when the run is to be
    /// stopped; it says so once.
    pub fn tell(&mut self, bot: &BotKey, told: Told) -> Option<usize> {
        let death = match told {
            _ if self.off => return None,
            Told::Nothing => return None,
            Told::Works => {
                self.off = true;
                return None;
            }
            Told::Died(death) => death,
        };
        // Of each bot the first attempt counts. The second of an odd one says nothing new.
        if self.bots.contains(bot) {
            return None;
        }
        if *self.death.get_or_insert(death) != death {
            self.off = true;
            return None;
        }
        self.bots.insert(bot.clone());
        self.off = self.bots.len() >= self.trials;
        self.off.then_some(self.bots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::{SyncRecord, SyncStatus};
    use crate::reembed::decide::{Registered, decide};
    use crate::reembed::store::{Skip, Yield};
    use crate::reembed::task::Stop;
    use crate::reembed::verdict::{BotResult, LostDocument};

    const DEAD: Told = Told::Died(Death::NeverStarted);

    fn bot(id: usize) -> BotKey {
        BotKey { owner: "ann".into(), id: id.to_string() }
    }

    /// What the brake says at the end of each attempt, given as bot and what it tells.
    fn after(bots: usize, ends: &[(usize, Told)]) -> Vec<Option<usize>> {
        let mut brake = Brake::new(bots);
        ends.iter().map(|(id, told)| brake.tell(&bot(*id), *told)).collect()
    }

    #[test]
    fn five_bots_that_die_alike_stop_a_run_once() {
        let ends: Vec<_> = (0..7).map(|id| (id, DEAD)).collect();
        let stopped = [None, None, None, None, Some(5), None, None];
        assert_eq!(after(1_000, &ends), stopped);
    }

    #[test]
    fn a_run_of_few_bots_is_stopped_by_all_of_them_and_one_of_two_never() {
        let ends: Vec<_> = (0..4).map(|id| (id, DEAD)).collect();
        assert_eq!(after(4, &ends), [None, None, None, Some(4)]);
        assert_eq!(after(3, &ends[..3]), [None, None, Some(3)]);
        assert_eq!(after(2, &ends[..2]), [None, None]);
        assert_eq!(after(1, &ends[..1]), [None]);
        assert_eq!(after(0, &ends), [None; 4]);
    }

    #[test]
    fn one_success_or_one_death_of_another_kind_takes_the_brake_off_for_good() {
        let others = [Told::Works, Told::Died(Death::OutOfMemory), Told::Died(Death::Exited(1))];
        for other in others {
            for place in 0..5 {
                let mut ends: Vec<_> = (0..40).map(|id| (id, DEAD)).collect();
                if place == 0 && other != Told::Works {
                    continue;
                }
                ends.insert(place, (99, other));
                assert_eq!(after(1_000, &ends), [None; 41], "{other:?} at {place}");
            }
        }
        let codes = [1, 2].map(|code| (code as usize, Told::Died(Death::Exited(code))));
        let more: Vec<_> = (10..20).map(|id| (id, Told::Died(Death::Exited(1)))).collect();
        assert_eq!(after(1_000, &[&codes[..], &more].concat()), [None; 12], "other exit codes");
    }

    #[test]
    fn the_same_bot_again_and_ends_that_tell_nothing_do_not_count() {
        let mut ends: Vec<_> = (0..30).map(|turn| (turn % 4, DEAD)).collect();
        ends.extend((50..60).map(|id| (id, Told::Nothing)));
        assert_eq!(after(1_000, &ends), [None; 40]);
        ends.push((70, DEAD));
        assert_eq!(after(1_000, &ends).last(), Some(&Some(5)));
    }

    fn stopped(cause: StopCause, exit_code: Option<i32>) -> Ending {
        Ending::Stopped(Stop { cause, exit_code, reason: String::new() })
    }

    fn record(status: SyncStatus, reason: &str, exec_id: &str) -> Registered {
        let (reason, exec_id) = (reason.to_owned(), exec_id.to_owned());
        Registered::Record(Some(SyncRecord { status, reason, exec_id }))
    }

    /// What an attempt tells whose token is `t`.
    fn telling(
        ending: &Ending,
        verdict: &Verdict,
        registered: &Registered,
        result: Option<&BotResult>,
    ) -> Told {
        let facts = Facts {
            ending,
            verdict,
            registered,
            result,
            ours: ["t", "task"],
            attempts: 1,
            allowed: 3,
            accept_missing: false,
        };
        told(&facts, &decide(&facts))
    }

    #[test]
    fn what_an_end_tells_follows_from_what_the_worker_did_before() {
        use StopCause::*;
        let running = record(SyncStatus::Running, "", "task");
        let silent = |ending: &Ending| telling(ending, &Verdict::Untouched, &running, None);
        assert_eq!(silent(&stopped(NeverStarted, None)), Told::Died(Death::NeverStarted));
        assert_eq!(silent(&stopped(OutOfMemory, Some(137))), Told::Died(Death::OutOfMemory));
        assert_eq!(silent(&stopped(Exited, Some(3))), Told::Died(Death::Exited(3)));
        let nothing = [
            stopped(Exited, Some(0)),
            stopped(Exited, None),
            stopped(Interrupted, Some(143)),
            stopped(Stopped, Some(143)),
            Ending::Vanished,
        ];
        for ending in nothing {
            assert_eq!(silent(&ending), Told::Nothing, "{ending:?}");
        }
    }

    #[test]
    fn a_worker_that_wrote_or_said_something_shows_that_containers_work() {
        let died = stopped(StopCause::Exited, Some(1));
        let running = record(SyncStatus::Running, "", "task");
        for verdict in [
            Verdict::Proven(Yield::default()),
            Verdict::Doubled { transactions: 2 },
            Verdict::Faulty { rows: 1 },
        ] {
            assert_eq!(telling(&died, &verdict, &running, None), Told::Works, "{verdict:?}");
        }
        let quiet = Verdict::Untouched;
        let failed = record(SyncStatus::Failed, "https://x answers 404", "task");
        assert_eq!(telling(&died, &quiet, &failed, None), Told::Works);
        let strangers = record(SyncStatus::Failed, "https://x answers 404", "other");
        assert_eq!(telling(&died, &quiet, &strangers, None), Told::Died(Death::Exited(1)));
        let lost = LostDocument {
            source: "https://x".into(),
            reason: "missing".into(),
            detail: String::new(),
        };
        let token = "t".to_owned();
        let result = BotResult {
            token,
            swapped: false,
            rows: 0,
            documents: 1,
            reused: 0,
            tokens: 0,
            lost: vec![lost],
        };
        assert_eq!(telling(&died, &quiet, &running, Some(&result)), Told::Works);
        let gone = telling(&died, &quiet, &Registered::Gone, None);
        assert_eq!(gone, Told::Nothing, "the bot was deleted: {:?}", Skip::Gone);
    }
}
