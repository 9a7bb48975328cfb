//! What an earlier run left, put together from the record and from the tasks that the runner still knows. Pure.
//!
//! A token says which attempt a task belongs to. A task that lives keeps its bot from being launched again, whatever
//! the record says: it may have been started just before the record could be written.

use std::collections::HashMap;

use super::store::{AttemptRecord, BotRecord, BotState};
use super::task::{Task, TaskState};
use crate::bot::BotKey;

/// What is to be done first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Adoption {
    /// Bots whose task was found, with the attempt's number and the task's id.
    pub(super) running: HashMap<BotKey, (u32, String)>,
    /// Tasks that live beside the one adopted for their bot: to be stopped.
    pub(super) surplus: Vec<String>,
}

/// Puts it together.
pub(super) fn adopt(
    bots: &[BotRecord],
    attempts: &HashMap<BotKey, Vec<AttemptRecord>>,
    tasks: &[Task],
) -> Adoption {
    let mut by_token: HashMap<&str, Vec<&Task>> = HashMap::new();
    for task in tasks {
        if let Some(token) = &task.token {
            by_token.entry(token).or_default().push(task);
        }
    }
    let mut adoption = Adoption::default();
    for bot in bots.iter().filter(|bot| bot.state != BotState::Proven) {
        let mut newest: Option<(u32, &Task)> = None;
        for attempt in attempts.get(&bot.key).into_iter().flatten() {
            for task in by_token.get(attempt.token.as_str()).into_iter().flatten() {
                let current = bot.state.token() == Some(&attempt.token);
                if !lives(task) && !current {
                    continue;
                }
                // Attempts come in order. A living task counts before one that has ended.
                let replaced = match newest {
                    Some((_, other)) if lives(other) && !lives(task) => continue,
                    other => other,
                };
                if let Some((_, other)) = replaced.filter(|(_, other)| lives(other)) {
                    adoption.surplus.push(other.id.clone());
                }
                newest = Some((attempt.number, task));
            }
        }
        if let Some((number, task)) = newest {
            adoption.running.insert(bot.key.clone(), (number, task.id.clone()));
        }
    }
    adoption
}

fn lives(task: &Task) -> bool {
    matches!(task.state, TaskState::Pending | TaskState::Running)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::reembed::task::{Stop, StopCause};

    fn key() -> BotKey {
        BotKey { owner: "u".into(), id: "b".into() }
    }

    fn attempt(number: u32, token: &str) -> AttemptRecord {
        AttemptRecord {
            bot: key(),
            number,
            token: token.into(),
            task: None,
            launched_at: Timestamp::UNIX_EPOCH,
            seen: None,
            end: None,
        }
    }

    fn task(id: &str, token: &str, state: TaskState) -> Task {
        Task { id: id.into(), bot: None, token: Some(token.into()), state }
    }

    fn ended() -> TaskState {
        TaskState::Stopped(Stop { cause: StopCause::Exited, exit_code: Some(0), reason: "".into() })
    }

    fn adopted(state: BotState, tasks: &[Task]) -> (Option<(u32, String)>, Vec<String>) {
        let bot = BotRecord { state, ..BotRecord::waiting(key(), "t".into(), 1) };
        let attempts = HashMap::from([(key(), vec![attempt(1, "one"), attempt(2, "two")])]);
        let mut adoption = adopt(&[bot], &attempts, tasks);
        (adoption.running.remove(&key()), adoption.surplus)
    }

    fn launching() -> BotState {
        BotState::Launching { token: "two".into() }
    }

    #[test]
    fn a_launch_that_was_not_written_down_is_found_by_its_token() {
        for state in [TaskState::Pending, TaskState::Running, ended()] {
            let tasks = [task("x", "two", state), task("y", "stranger", TaskState::Running)];
            assert_eq!(adopted(launching(), &tasks), (Some((2, "x".into())), vec![]));
        }
        assert_eq!(adopted(launching(), &[]), (None, vec![]));
    }

    #[test]
    fn a_living_task_of_an_attempt_given_up_keeps_its_bot() {
        let failed = BotState::Failed { reason: "r".into(), retryable: true };
        for state in [BotState::Waiting, launching(), failed] {
            let tasks = [task("x", "one", TaskState::Running)];
            assert_eq!(adopted(state, &tasks), (Some((1, "x".into())), vec![]));
        }
        let dead = [task("x", "one", ended())];
        assert_eq!(adopted(BotState::Waiting, &dead), (None, vec![]));
        let tasks = [task("x", "one", TaskState::Running)];
        assert_eq!(adopted(BotState::Proven, &tasks), (None, vec![]), "nothing to wait for");
    }

    #[test]
    fn of_two_living_tasks_the_newer_is_kept() {
        let tasks = [task("x", "one", TaskState::Running), task("y", "two", TaskState::Pending)];
        assert_eq!(adopted(launching(), &tasks), (Some((2, "y".into())), vec!["x".into()]));
        let tasks = [task("x", "one", TaskState::Running), task("y", "two", ended())];
        assert_eq!(adopted(launching(), &tasks), (Some((1, "x".into())), vec![]));
        let doubled = [task("y", "two", TaskState::Running), task("z", "two", TaskState::Running)];
        assert_eq!(adopted(launching(), &doubled).1.len(), 1);
    }
}
