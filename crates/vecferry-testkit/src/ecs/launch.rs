//! `RunTask`: what a launch comes to, from the front door to a task that lives.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::connection::Cut;
use super::faults::{Delays, Fault, VCPU_LIMIT};
use super::life::{Cause, Life};
use super::program::TaskInput;
use super::request::Request;
use super::state::{Shared, State};
use super::task::Task;
use super::wire::Refusal;

/// A task that was accepted and shall live.
struct Accepted {
    id: String,
    request: Request,
    fate: Option<Fault>,
    order: oneshot::Receiver<Cause>,
}

/// Answers a `RunTask`; `cut` breaks the connection where the answer is to be lost.
pub(super) fn run_task(shared: &Arc<Shared>, body: &Value, cut: &Cut) -> Result<Value, Refusal> {
    let (answer, accepted, delays) = {
        let mut state = shared.state();
        let mut accepted = Vec::new();
        let answer = decide(&mut state, shared, body, cut, &mut accepted);
        (answer, accepted, state.faults.delays)
    };
    for task in accepted {
        start(shared, task, delays);
    }
    answer
}

/// The answer, and the tasks that follow from it.
fn decide(
    state: &mut State,
    shared: &Shared,
    body: &Value,
    cut: &Cut,
    accepted: &mut Vec<Accepted>,
) -> Result<Value, Refusal> {
    if !state.may_call() {
        return Err(Refusal::throttled());
    }
    shared.check_cluster(state, body)?;
    let name = body["taskDefinition"].as_str().unwrap_or_default();
    let Some(definition) = state.definition(name).cloned() else {
        return Err(Refusal::client("TaskDefinition not found."));
    };
    let request = Request::read(body, &definition)?;
    let faults = draw(state, request.token.as_deref());
    refuse(&faults, cut)?;
    if let Some(reason) = faults.iter().find_map(|fault| match fault {
        Fault::Failure(reason) => Some(reason),
        _ => None,
    }) {
        return Ok(json!({ "tasks": [], "failures": [{ "reason": reason }] }));
    }
    if faults.contains(&Fault::Unanswered) {
        cut.cut();
    }
    let id = match known(state, shared, body, request.token.as_deref())? {
        Some(id) => id,
        None => {
            admit(state, &definition)?;
            accept(state, request, body, faults, accepted)
        }
    };
    let task = state.tasks.get(&id).map(|task| task.to_json(shared.place, &shared.cluster, true));
    Ok(json!({ "tasks": [task], "failures": [] }))
}

/// Faults of this attempt: scripted ones first.
fn draw(state: &mut State, token: Option<&str>) -> Vec<Fault> {
    let token = token.unwrap_or_default();
    let attempts = state.attempts.entry(token.to_owned()).or_default();
    let attempt = *attempts;
    *attempts += 1;
    match state.script.pop_front() {
        Some(fault) => vec![fault],
        None => state.faults.draw(token, attempt),
    }
}

fn refuse(faults: &[Fault], cut: &Cut) -> Result<(), Refusal> {
    for fault in faults {
        match fault {
            Fault::Throttle => return Err(Refusal::throttled()),
            Fault::Refuse(code, message) => return Err(Refusal::new(400, code, message)),
            Fault::ServerError => {
                let message = "Service Unavailable. Please try again later.";
                return Err(Refusal::new(500, "ServerException", message));
            }
            Fault::Unheard => {
                cut.cut();
                return Err(Refusal::new(500, "ServerException", "nobody reads this"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The task that this client token has given before.
fn known(
    state: &State,
    shared: &Shared,
    body: &Value,
    token: Option<&str>,
) -> Result<Option<String>, Refusal> {
    let Some((asked, id)) = token.and_then(|token| state.tokens.get(token)) else {
        return Ok(None);
    };
    if asked == body {
        return Ok(Some(id.clone()));
    }
    let arn = state.tasks.get(id).map(|task| task.arn(shared.place, &shared.cluster));
    let message = "The client token was already used with other parameters.";
    Err(Refusal::new(400, "ConflictException", message).with("resourceIds", json!([arn])))
}

/// Whether the account has room.
fn admit(state: &mut State, definition: &super::Definition) -> Result<(), Refusal> {
    if state.vcpus.is_some_and(|limit| state.vcpus_in_use() + definition.vcpus() > limit) {
        return Err(Refusal::client(VCPU_LIMIT));
    }
    match state.may_launch() {
        true => Ok(()),
        false => Err(Refusal::throttled()),
    }
}

/// Creates the task, and its double where there is one; gives its id.
fn accept(
    state: &mut State,
    request: Request,
    body: &Value,
    faults: Vec<Fault>,
    accepted: &mut Vec<Accepted>,
) -> String {
    let token = request.token.clone();
    let twice = faults.contains(&Fault::Twice).then(|| {
        // What the application starts has neither our name nor our token.
        Request { started_by: Some("events-pipe".into()), token: None, ..request.clone() }
    });
    let mut hidden_looks = 0;
    let mut fate = None;
    for fault in faults {
        match fault {
            Fault::Late(looks) => hidden_looks = looks,
            Fault::Vanish | Fault::NeverStarts(_) | Fault::OutOfMemory | Fault::Interrupt => {
                fate = fate.or(Some(fault))
            }
            _ => {}
        }
    }
    let id = create(state, request, fate, accepted);
    if let Some(task) = state.tasks.get_mut(&id) {
        task.hidden_looks = hidden_looks;
    }
    if let Some(token) = token {
        state.tokens.insert(token, (body.clone(), id.clone()));
    }
    if let Some(request) = twice {
        create(state, request, None, accepted);
    }
    id
}

fn create(
    state: &mut State,
    request: Request,
    fate: Option<Fault>,
    accepted: &mut Vec<Accepted>,
) -> String {
    state.created += 1;
    // 32 hexadecimal digits as real ones are, and growing, so that tasks sort by age.
    let id = format!("{:08x}{:024x}", state.created, 0x00c0_ffee_u64);
    let mut task = Task::new(id.clone(), request.clone());
    if fate == Some(Fault::Vanish) {
        task.vanished = true;
    } else {
        let (sender, order) = oneshot::channel();
        state.orders.insert(id.clone(), sender);
        accepted.push(Accepted { id: id.clone(), request, fate, order });
    }
    state.tasks.insert(id.clone(), task);
    id
}

fn start(shared: &Arc<Shared>, accepted: Accepted, delays: Delays) {
    let Accepted { id, request, fate, order } = accepted;
    let (bot, token) = (request.bot(), request.token);
    let mut environment: std::collections::BTreeMap<_, _> =
        shared.environment.iter().cloned().collect();
    environment.extend(request.environment);
    let metadata = format!("http://{}/v4/{id}", shared.address);
    environment.insert("ECS_CONTAINER_METADATA_URI_V4".into(), metadata);
    environment.insert("AWS_EXECUTION_ENV".into(), "AWS_ECS_FARGATE".into());
    let terminated = watch::channel(false).1;
    let input = TaskInput { id, command: request.command, environment, terminated };
    let life = Life { shared: Arc::clone(shared), input, bot, token, fate, delays, order };
    shared.own(life.live());
}
