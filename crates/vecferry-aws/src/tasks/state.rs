//! A described task in the core's words: where it is, how it ended, whose it is. Pure.

use std::collections::HashMap;

use aws_sdk_ecs::types::{self, Failure, TaskStopCode};
use vecferry_core::reembed::task::{Stop, StopCause, Task, TaskState};

use super::order;

/// The id that a worker writes as `LastExecId`: the last part of the task's ARN.
pub(super) fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Whether the service may have given this id: it asks for 32 or 36 characters.
pub(super) fn is_id(id: &str) -> bool {
    matches!(id.len(), 32 | 36)
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A task that the service does not know.
pub(super) fn vanished(id: &str) -> Task {
    Task { id: id.to_owned(), bot: None, token: None, state: TaskState::Vanished }
}

/// The task, when the description has an ARN (it always has).
pub(super) fn task(described: &types::Task, container: &str) -> Option<Task> {
    let overrides = described.overrides().and_then(|overrides| {
        let all = overrides.container_overrides();
        all.iter().find(|one| one.name() == Some(container))
    });
    let variable = |name: &str| {
        let pairs = overrides.map(types::ContainerOverride::environment).unwrap_or_default();
        pairs.iter().find(|pair| pair.name() == Some(name)).and_then(types::KeyValuePair::value)
    };
    let argument = overrides.and_then(|overrides| overrides.command().last());
    let bot = variable(order::EVENT)
        .and_then(order::bot)
        .or_else(|| argument.and_then(|argument| order::bot(argument)));
    Some(Task {
        id: id(described.task_arn()?).to_owned(),
        bot,
        token: variable(order::TOKEN).map(str::to_owned),
        state: state(described, container),
    })
}

/// Where it is (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html>).
///
/// A task on its way down counts as running until it is down: only then is its exit code final and its place free.
fn state(described: &types::Task, container: &str) -> TaskState {
    match described.last_status().unwrap_or_default() {
        "PROVISIONING" | "PENDING" | "ACTIVATING" => TaskState::Pending,
        "STOPPED" | "DELETED" => TaskState::Stopped(stop(described, container)),
        _ => TaskState::Running,
    }
}

/// How it ended.
fn stop(described: &types::Task, name: &str) -> Stop {
    let containers = described.containers();
    let container = containers.iter().find(|one| one.name() == Some(name)).or(containers.first());
    let exit_code = container.and_then(types::Container::exit_code);
    let mut reasons: Vec<&str> = Vec::new();
    let told = containers.iter().filter_map(types::Container::reason);
    for reason in described.stopped_reason().into_iter().chain(told) {
        if !reason.is_empty() && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let reason = reasons.join("; ");
    let started = described.started_at().is_some();
    let cause = cause(described.stop_code(), &reason, exit_code, started);
    Stop { cause, exit_code, reason }
}

/// What kind of end it was. Memory comes first: the service calls such an end `EssentialContainerExited`, and only the
/// reason tells it (exit code 137 is any SIGKILL).
fn cause(
    code: Option<&TaskStopCode>,
    reason: &str,
    exit_code: Option<i32>,
    started: bool,
) -> StopCause {
    if reason.contains("OutOfMemory") {
        return StopCause::OutOfMemory;
    }
    match code {
        Some(TaskStopCode::TaskFailedToStart) => StopCause::NeverStarted,
        Some(
            TaskStopCode::SpotInterruption
            | TaskStopCode::TerminationNotice
            | TaskStopCode::ServiceSchedulerInitiated
            | TaskStopCode::InfrastructureHealth,
        ) => StopCause::Interrupted,
        Some(TaskStopCode::UserInitiated) => StopCause::Stopped,
        Some(TaskStopCode::EssentialContainerExited) => StopCause::Exited,
        // None, or newer than this program.
        _ if exit_code.is_some() => StopCause::Exited,
        _ if started => StopCause::Interrupted,
        _ => StopCause::NeverStarted,
    }
}

/// One answer for each id, in their order. Only `MISSING` means that the service does not know a task: any other
/// failure, or none at all, says nothing about it, and a task taken for lost would be started twice.
///
/// # Errors
/// The id and what was said about it.
pub(super) fn answers(
    ids: &[String],
    described: &[types::Task],
    failures: &[Failure],
    container: &str,
) -> Result<Vec<Task>, (String, String)> {
    let mut tasks: HashMap<String, Task> = described
        .iter()
        .filter_map(|described| task(described, container))
        .map(|task| (task.id.clone(), task))
        .collect();
    let answer = |id: &String| {
        if let Some(task) = tasks.remove(id) {
            return Ok(task);
        }
        let said =
            failures.iter().find(|failure| failure.arn().is_some_and(|arn| self::id(arn) == id));
        match said.map(|failure| failure.reason().unwrap_or_default()) {
            Some("MISSING") => Ok(vanished(id)),
            Some(reason) => Err((id.clone(), reason.to_owned())),
            None => Err((id.clone(), "neither described nor missing".to_owned())),
        }
    };
    ids.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::primitives::DateTime;
    use aws_sdk_ecs::types::{Container, ContainerOverride, KeyValuePair, TaskOverride};

    use super::*;

    const OOM: &str = "OutOfMemoryError: Container killed due to memory usage";

    fn arn(id: &str) -> String {
        format!("arn:aws:ecs:us-east-1:111122223333:task/chat/{id}")
    }

    fn described(status: &str) -> types::builders::TaskBuilder {
        types::Task::builder().task_arn(arn("t1")).last_status(status)
    }

    fn container(exit_code: Option<i32>, reason: Option<&str>) -> Container {
        let builder = Container::builder().name("Container");
        builder.set_exit_code(exit_code).set_reason(reason.map(str::to_owned)).build()
    }

    fn ended(code: &str, reason: &str, of_container: Container) -> Stop {
        let described = described("STOPPED")
            .stop_code(code.into())
            .stopped_reason(reason)
            .started_at(DateTime::from_secs(1))
            .containers(of_container)
            .build();
        match task(&described, "Container").unwrap().state {
            TaskState::Stopped(stop) => stop,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn states_are_pending_running_or_stopped() {
        let states = [
            ("PROVISIONING", "pending"),
            ("PENDING", "pending"),
            ("ACTIVATING", "pending"),
            ("RUNNING", "running"),
            ("DEACTIVATING", "running"),
            ("STOPPING", "running"),
            ("DEPROVISIONING", "running"),
            ("STOPPED", "stopped"),
            ("DELETED", "stopped"),
        ];
        for (word, expected) in states {
            let found = match task(&described(word).build(), "Container").unwrap().state {
                TaskState::Pending => "pending",
                TaskState::Running => "running",
                TaskState::Stopped(_) => "stopped",
                TaskState::Vanished => "vanished",
            };
            assert_eq!(found, expected, "{word}");
        }
    }

    #[test]
    fn stop_codes_become_causes() {
        let codes = [
            ("TaskFailedToStart", StopCause::NeverStarted),
            ("EssentialContainerExited", StopCause::Exited),
            ("UserInitiated", StopCause::Stopped),
            ("ServiceSchedulerInitiated", StopCause::Interrupted),
            ("SpotInterruption", StopCause::Interrupted),
            ("TerminationNotice", StopCause::Interrupted),
            ("InfrastructureHealth", StopCause::Interrupted),
        ];
        for (code, expected) in codes {
            assert_eq!(ended(code, "why", container(Some(0), None)).cause, expected, "{code}");
        }
    }

    #[test]
    fn memory_is_told_by_the_reason_and_not_by_the_exit_code() {
        let exited = "Essential container in task exited";
        let stop = ended("EssentialContainerExited", exited, container(Some(137), Some(OOM)));
        assert_eq!(stop.cause, StopCause::OutOfMemory);
        assert_eq!(stop.exit_code, Some(137));
        assert_eq!(stop.reason, format!("{exited}; {OOM}"));
        assert_eq!(
            ended("EssentialContainerExited", OOM, container(Some(137), None)).cause,
            StopCause::OutOfMemory
        );
        assert_eq!(
            ended("EssentialContainerExited", exited, container(Some(137), None)).cause,
            StopCause::Exited
        );
        assert_eq!(
            ended("UserInitiated", "by me", container(Some(137), None)).cause,
            StopCause::Stopped
        );
    }

    #[test]
    fn an_end_without_a_known_code_is_told_by_what_is_known() {
        let unknown = TaskStopCode::from("SomethingNew");
        assert_eq!(cause(Some(&unknown), "", Some(1), true), StopCause::Exited);
        assert_eq!(cause(None, "", Some(0), true), StopCause::Exited);
        assert_eq!(cause(None, "", None, true), StopCause::Interrupted);
        assert_eq!(cause(None, "", None, false), StopCause::NeverStarted);
    }

    #[test]
    fn the_workers_container_is_asked_even_beside_others() {
        let other = Container::builder().name("log").exit_code(3).build();
        let described = described("STOPPED").containers(other).containers(container(Some(0), None));
        let Some(Task { state: TaskState::Stopped(stop), .. }) =
            task(&described.build(), "Container")
        else {
            panic!("not stopped");
        };
        assert_eq!(stop.exit_code, Some(0));
    }

    fn with_override(one: ContainerOverride) -> types::Task {
        let overrides = TaskOverride::builder().container_overrides(one).build();
        described("RUNNING").overrides(overrides).build()
    }

    #[test]
    fn bot_and_token_come_back_from_the_overrides() {
        let bot = vecferry_core::bot::BotKey { owner: "Zoë".into(), id: "b".into() };
        let pair =
            |name: &str, value: String| KeyValuePair::builder().name(name).value(value).build();
        let newer = ContainerOverride::builder()
            .name("Container")
            .environment(pair("EVENT", order::keys(&bot)))
            .environment(pair("VECFERRY_TOKEN", "t".into()))
            .build();
        let found = task(&with_override(newer), "Container").unwrap();
        assert_eq!((found.bot.as_ref(), found.token.as_deref()), (Some(&bot), Some("t")));
        let older = ContainerOverride::builder()
            .name("Container")
            .set_command(Some(order::command(&bot)))
            .build();
        let found = task(&with_override(older), "Container").unwrap();
        assert_eq!((found.bot, found.token), (Some(bot), None));
        let foreign = task(&described("RUNNING").build(), "Container").unwrap();
        assert_eq!((foreign.bot, foreign.token), (None, None));
    }

    #[test]
    fn only_missing_means_that_a_task_is_not_known() {
        let ids = ["t2".to_owned(), "t1".to_owned()];
        let failure = |reason: &str| Failure::builder().arn(arn("t2")).reason(reason).build();
        let known = [described("RUNNING").build()];
        let tasks = answers(&ids, &known, &[failure("MISSING")], "Container").unwrap();
        let states: Vec<_> = tasks.iter().map(|task| (task.id.as_str(), &task.state)).collect();
        assert_eq!(states, [("t2", &TaskState::Vanished), ("t1", &TaskState::Running)]);
        for failures in [vec![failure("SOMETHING")], Vec::new()] {
            let (id, _) = answers(&ids, &known, &failures, "Container").unwrap_err();
            assert_eq!(id, "t2");
        }
    }
}
