//! Looks at all running tasks together, a hundred per call, and tells each bot when its task has ended.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::decide::Ending;
use super::patience::{Stop, patiently};
use super::task::{TaskRunner, TaskState};
use crate::error::Result;
use crate::report::Reporter;

/// Tasks per call: what ECS's `DescribeTasks` takes
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html>).
const PER_CALL: usize = 100;

/// How many looks in a row must miss a task before it counts as gone: a service that has just started one may not know
/// it everywhere at once.
const MISSES: u32 = 3;

/// Bots that have asked and are not yet looked after; each has one task.
const WAITING: usize = 1024;

struct Watched {
    task: String,
    ended: oneshot::Sender<Ending>,
}

/// Where bots ask.
#[derive(Clone)]
pub(super) struct Watch {
    inbox: mpsc::Sender<Watched>,
}

/// The other end, for [`Watchman::keep`].
pub(super) struct Watchman {
    inbox: mpsc::Receiver<Watched>,
    watched: HashMap<String, (oneshot::Sender<Ending>, Missed)>,
    /// How long a task must be unknown before it is gone.
    vanished_after: Duration,
}

/// Looks in a row that missed a task, and when the first of them was.
#[derive(Default)]
struct Missed {
    looks: u32,
    since: Option<Instant>,
}

/// A watch and its watchman.
pub(super) fn watch(vanished_after: Duration) -> (Watch, Watchman) {
    let (sender, inbox) = mpsc::channel(WAITING);
    (Watch { inbox: sender }, Watchman { inbox, watched: HashMap::new(), vanished_after })
}

impl Watch {
    /// Waits until a task has ended.
    ///
    /// # Errors
    /// [`Stop::Over`] when the watchman has ended.
    pub(super) async fn ended(&self, task: &str) -> Result<Ending, Stop> {
        let (ended, seen) = oneshot::channel();
        let watched = Watched { task: task.to_owned(), ended };
        self.inbox.send(watched).await.map_err(|_| Stop::Over)?;
        seen.await.map_err(|_| Stop::Over)
    }
}

impl Watchman {
    /// Looks every `poll` until nobody can ask any more.
    ///
    /// # Errors
    /// When the runner stays away or refuses to answer.
    pub(super) async fn keep(
        mut self,
        runner: &dyn TaskRunner,
        poll: Duration,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        let mut tick = interval(poll);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                asked = self.inbox.recv() => match asked {
                    Some(Watched { task, ended }) => {
                        self.watched.insert(task, (ended, Missed::default()));
                    }
                    None => return Ok(()),
                },
                _ = tick.tick() => self.look(runner, reporter).await?,
            }
        }
    }

    async fn look(&mut self, runner: &dyn TaskRunner, reporter: &dyn Reporter) -> Result<()> {
        self.watched.retain(|_, (ended, _)| !ended.is_closed());
        let ids: Vec<String> = self.watched.keys().cloned().collect();
        for ids in ids.chunks(PER_CALL) {
            for task in patiently(reporter, || runner.look(ids)).await? {
                self.take(&task.id, task.state);
            }
        }
        Ok(())
    }

    fn take(&mut self, id: &str, state: TaskState) {
        let Some((_, missed)) = self.watched.get_mut(id) else { return };
        let ending = match state {
            TaskState::Pending | TaskState::Running => {
                *missed = Missed::default();
                return;
            }
            TaskState::Vanished => {
                missed.looks += 1;
                let since = *missed.since.get_or_insert_with(Instant::now);
                if missed.looks < MISSES || since.elapsed() < self.vanished_after {
                    return;
                }
                Ending::Vanished
            }
            TaskState::Stopped(stop) => Ending::Stopped(stop),
        };
        if let Some((ended, _)) = self.watched.remove(id) {
            // A bot whose future was dropped does not wait.
            let _ = ended.send(ending);
        }
    }
}
