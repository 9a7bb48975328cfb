//! IAM's simulation of policies on a loopback port, as far as vecferry uses it: `SimulatePrincipalPolicy` (which moto
//! lacks) over lists of what is allowed and denied, `GetRole`, and the caller's identity, which is STS's.
//!
//! It speaks the Query protocol, so that the real SDK with its pages, repetitions and errors is what is tested. An AWS
//! client reaches it by `AWS_ENDPOINT_URL_IAM` and `AWS_ENDPOINT_URL_STS`; it checks no signature, runs on a thread of
//! its own, and ends when it is dropped.

mod answer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use crate::error::Result;
use crate::loopback::Loopback;

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
    served: Loopback,
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared { rules: Mutex::new(rules), simulated: Mutex::default() });
        let router = Router::new().route("/", post(serve)).with_state(Arc::clone(&shared));
        Ok(Iam { served: Loopback::serve(router)?, shared })
    }

    /// What `AWS_ENDPOINT_URL_IAM` and `AWS_ENDPOINT_URL_STS` should say.
    pub fn url(&self) -> String {
        format!("http://{}", self.served.address())
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
