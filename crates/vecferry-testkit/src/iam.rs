//! IAM's simulation of policies on a loopback port, as far as vecferry uses it: `SimulatePrincipalPolicy` (which moto
//! lacks) over lists of what is allowed and denied, `GetRole`, and the caller's identity, which is STS's.
//!
//! It speaks the Query protocol, so that the real SDK with its pages, repetitions and errors is what is tested. An AWS
//! client reaches it by `AWS_ENDPOINT_URL_IAM` and `AWS_ENDPOINT_URL_STS`; it checks no signature, runs on a thread of
//! its own, and ends when it is dropped.

mod answer;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use tokio::sync::oneshot;

use crate::error::{Result, file};

/// Patterns of actions and of resources, with `*` for any run of characters: `("ecs:*", "*")`.
pub type Rule = (String, String);

/// What the service knows and how it behaves.
#[derive(Debug, Clone)]
pub struct Rules {
    /// ARN that `GetCallerIdentity` gives.
    pub caller: String,
    /// ARNs of the roles and users that are there.
    pub principals: Vec<String>,
    /// What every principal may do.
    pub allow: Vec<Rule>,
    /// What it may not, whatever is allowed.
    pub deny: Vec<Rule>,
    /// What one principal may not besides, by its ARN.
    pub deny_of: BTreeMap<String, Vec<Rule>>,
    /// Whether the caller may simulate.
    pub simulation: bool,
    /// Whether the caller may read roles.
    pub reading: bool,
    /// Requests that are throttled from now on.
    pub throttles: usize,
    /// Most results in one answer.
    pub page: usize,
}

impl Rules {
    /// A role that may do everything, called through a session as AWS shows it.
    pub fn of_role(arn: &str) -> Rules {
        let account = arn.split(':').nth(4).unwrap_or_default();
        let name = arn.rsplit('/').next().unwrap_or_default();
        Rules {
            caller: format!("arn:aws:sts::{account}:assumed-role/{name}/session"),
            principals: vec![arn.to_owned()],
            allow: vec![("*".to_owned(), "*".to_owned())],
            deny: Vec::new(),
            deny_of: BTreeMap::new(),
            simulation: true,
            reading: true,
            throttles: 0,
            page: 100,
        }
    }

    /// The same without this action.
    #[must_use]
    pub fn denying(mut self, action: &str) -> Rules {
        self.deny.push((action.to_owned(), "*".to_owned()));
        self
    }
}

/// A simulation that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// Whose policies.
    pub principal: String,
    /// Actions.
    pub actions: Vec<String>,
    /// Resources.
    pub resources: Vec<String>,
    /// Values of context keys.
    pub context: BTreeMap<String, String>,
}

/// A running service.
#[derive(Debug)]
pub struct Iam {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    simulated: Mutex<Vec<Simulated>>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn simulated(&self) -> MutexGuard<'_, Vec<Simulated>> {
        self.simulated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Iam {
    /// Starts the service on a free port.
    ///
    /// # Errors
    /// No port or thread.
    pub fn start(rules: Rules) -> Result<Iam> {
        let here = Path::new("127.0.0.1:0");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(file("bind", here))?;
        listener.set_nonblocking(true).map_err(file("bind", here))?;
        let address = listener.local_addr().map_err(file("bind", here))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(file("run a service at", here))?;
        let shared = Arc::new(Shared { rules: Mutex::new(rules), simulated: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().route("/", post(serve)).with_state(Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = axum::serve(listener, router).into_future() => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Iam { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// What `AWS_ENDPOINT_URL_IAM` and `AWS_ENDPOINT_URL_STS` should say.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Behaves like this from now on.
    pub fn set(&self, rules: Rules) {
        *self.shared.rules() = rules;
    }

    /// Every simulation that was answered, first pages only.
    pub fn simulated(&self) -> Vec<Simulated> {
        self.shared.simulated().clone()
    }
}

impl Drop for Iam {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only when the service has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let form = answer::Form::parse(&body);
    let mut rules = shared.rules();
    if rules.throttles > 0 {
        rules.throttles -= 1;
        return answer::refused(400, "Throttling", "Rate exceeded");
    }
    match form.get("Action") {
        "GetCallerIdentity" => answer::caller(&rules),
        "GetRole" => answer::role(&rules, form.get("RoleName")),
        "SimulatePrincipalPolicy" => {
            let asked = form.simulated();
            if rules.simulation && form.get("Marker").is_empty() {
                shared.simulated().push(asked.clone());
            }
            answer::simulation(&rules, &asked, form.get("Marker"))
        }
        other => answer::refused(400, "InvalidAction", &format!("no such action: {other}")),
    }
}
