//! The life of a task: from `PROVISIONING` to `STOPPED`, with the program in between.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::faults::{Delays, Fault};
use super::program::{Running, TaskInput};
use super::state::Shared;
use super::task::{Ending, Launched, Status};

/// Why a task is stopped from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// `StopTask` with this reason.
    User(String),
    /// Fargate Spot wants the place back.
    SpotInterruption,
    /// The container used up its memory.
    OutOfMemory,
}

impl Cause {
    fn ending(self, exit_code: Option<i32>) -> Ending {
        let (code, reason, container_reason) = match self {
            Cause::User(reason) => ("UserInitiated", reason, None),
            Cause::SpotInterruption => {
                ("SpotInterruption", "Your Spot Task was interrupted.".to_owned(), None)
            }
            Cause::OutOfMemory => (
                "EssentialContainerExited",
                "Essential container in task exited".to_owned(),
                Some("OutOfMemoryError: Container killed due to memory usage".to_owned()),
            ),
        };
        Ending { code, reason, exit_code, container_reason }
    }
}

/// A task that is to live.
pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) input: TaskInput,
    pub(super) bot: Option<String>,
    pub(super) token: Option<String>,
    /// What goes wrong once it is accepted.
    pub(super) fate: Option<Fault>,
    pub(super) delays: Delays,
    pub(super) order: oneshot::Receiver<Cause>,
}

impl Life {
    /// Lives it to the end.
    pub(super) async fn live(mut self) {
        let ending = match self.prepare().await {
            Some(ending) => ending,
            None => self.run().await,
        };
        let id = self.input.id.clone();
        self.shared.change(&id, |task| {
            task.stop_wanted = true;
            task.ending = Some(ending);
            task.enter(Status::Deprovisioning);
        });
        pass(self.delays.deprovisioning).await;
        self.shared.change(&id, |task| task.enter(Status::Stopped));
    }

    /// Up to the moment before the program starts; an ending when it comes first.
    async fn prepare(&mut self) -> Option<Ending> {
        for (status, delay) in
            [(Status::Pending, self.delays.provisioning), (Status::Running, self.delays.pending)]
        {
            if let Some(cause) = self.ordered_within(delay).await {
                return Some(cause.ending(None));
            }
            if status == Status::Pending {
                self.shared.change(&self.input.id, |task| task.enter(status));
            }
        }
        match &self.fate {
            Some(Fault::NeverStarts(reason)) => Some(Ending {
                code: "TaskFailedToStart",
                reason: reason.clone(),
                exit_code: None,
                container_reason: None,
            }),
            _ => None,
        }
    }

    async fn ordered_within(&mut self, delay: Duration) -> Option<Cause> {
        tokio::select! {
            biased;
            // The sender is dropped only with the task itself.
            Ok(cause) = &mut self.order => Some(cause),
            () = pass(delay) => None,
        }
    }

    async fn run(&mut self) -> Ending {
        let shared = Arc::clone(&self.shared);
        let id = self.input.id.clone();
        let log = shared.log(&id);
        let mut running = match Running::start(&shared.program, self.input.clone(), &log) {
            Ok(running) => running,
            Err(error) => {
                return Ending {
                    code: "TaskFailedToStart",
                    reason: format!("CannotStartContainerError: {error}"),
                    exit_code: None,
                    container_reason: None,
                };
            }
        };
        shared.state().launched.push(Launched {
            id: id.clone(),
            bot: self.bot.clone(),
            token: self.token.clone(),
            at: SystemTime::now(),
        });
        shared.change(&id, |task| task.enter(Status::Running));
        let fated = match self.fate {
            Some(Fault::OutOfMemory) => Some(Cause::OutOfMemory),
            Some(Fault::Interrupt) => Some(Cause::SpotInterruption),
            _ => None,
        };
        let cause = tokio::select! {
            biased;
            Ok(cause) = &mut self.order => cause,
            () = pass(self.delays.fault), if fated.is_some() => {
                fated.unwrap_or(Cause::OutOfMemory)
            }
            code = running.wait() => return Ending {
                code: "EssentialContainerExited",
                reason: "Essential container in task exited".to_owned(),
                exit_code: Some(code),
                container_reason: None,
            },
        };
        shared.change(&id, |task| {
            task.stop_wanted = true;
            task.enter(Status::Stopping);
        });
        let grace = match cause {
            Cause::OutOfMemory => Duration::ZERO,
            Cause::User(_) | Cause::SpotInterruption => self.delays.grace,
        };
        let code = stop(&mut running, grace).await;
        cause.ending(Some(code))
    }
}

/// SIGTERM, the grace, SIGKILL; the exit code. Without grace it is SIGKILL at once.
async fn stop(running: &mut Running, grace: Duration) -> i32 {
    /// 128 + SIGKILL.
    const KILLED: i32 = 137;
    if !grace.is_zero() {
        running.terminate();
        if let Ok(code) = tokio::time::timeout(grace, running.wait()).await {
            return code;
        }
    }
    running.kill();
    if running.is_process() { running.wait().await } else { KILLED }
}

/// Lets this long pass: a state that takes its time.
async fn pass(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
