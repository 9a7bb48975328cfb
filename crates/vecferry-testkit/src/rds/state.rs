//! What the service knows, behind one lock that is never held across an await.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::Client;
use tokio::sync::watch;

use super::faults::{Fault, Stall};
use super::things::{RdsCluster, RdsInstance, RdsSnapshot};

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `CreateDBInstance`, `CreateSecret`.
    pub operation: String,
    /// Its parameters by name; of Secrets Manager's calls none.
    pub parameters: BTreeMap<String, String>,
}

/// The service: what never changes, what does, and whether a call is held.
#[derive(Debug)]
pub(super) struct Shared {
    /// Where Secrets Manager really is.
    pub(super) secrets: String,
    pub(super) http: Client,
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) clusters: BTreeMap<String, RdsCluster>,
    pub(super) instances: BTreeMap<String, RdsInstance>,
    pub(super) snapshots: BTreeMap<String, RdsSnapshot>,
    /// VPC of each subnet group.
    pub(super) subnet_groups: BTreeMap<String, String>,
    pub(super) page: usize,
    pub(super) script: HashMap<String, VecDeque<Fault>>,
    pub(super) calls: Vec<Call>,
    /// Calls until one is held.
    stall: Option<(usize, Stall)>,
    /// Things made so far: their times and ids count up.
    made: u32,
}

impl Shared {
    pub(super) fn new(secrets: &str) -> Shared {
        let state = State {
            clusters: BTreeMap::new(),
            instances: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            subnet_groups: BTreeMap::from([("private".to_owned(), "vpc-1".to_owned())]),
            page: 100,
            script: HashMap::new(),
            calls: Vec::new(),
            stall: None,
            made: 0,
        };
        Shared {
            secrets: secrets.to_owned(),
            http: Client::new(),
            state: Mutex::new(state),
            held: watch::Sender::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stalls(&self) -> watch::Receiver<bool> {
        self.held.subscribe()
    }

    pub(super) fn go_on(&self) {
        self.state().stall = None;
        self.held.send_replace(false);
    }

    /// Never returns: the caller is held until its connection ends.
    pub(super) async fn hold(&self) {
        self.held.send_replace(true);
        std::future::pending().await
    }
}

impl State {
    pub(super) fn stall_at(&mut self, number: usize, stall: Stall) {
        self.stall = Some((number, stall));
    }

    /// Notes a call, and tells whether it is held and what goes wrong with it.
    pub(super) fn note(&mut self, call: Call) -> (Option<Stall>, Fault) {
        let fault = self.script.get_mut(&call.operation).and_then(VecDeque::pop_front);
        self.calls.push(call);
        let held = match &mut self.stall {
            Some((left, stall)) => {
                *left = left.saturating_sub(1);
                // Later ones are calls that a killed process would not have made.
                (*left == 0).then_some(*stall)
            }
            None => None,
        };
        (held, fault.unwrap_or(Fault::None))
    }

    /// A time for something that is made now, RFC 3339; it only counts up.
    pub(super) fn time(&mut self) -> String {
        self.made += 1;
        format!(
            "2026-11-20T{:02}:{:02}:{:02}Z",
            self.made / 3600,
            self.made / 60 % 60,
            self.made % 60
        )
    }

    pub(super) fn made(&self) -> u32 {
        self.made
    }
}
