//! What the service knows, behind one lock that is never held across an await.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::EcsOptions;
use super::definition::Definition;
use super::faults::{Fault, Faults, Level};
use super::life::Cause;
use super::program::Program;
use super::task::{Launched, Status, Task};

/// Region and account of everything here; the account is Amazon's own example.
const PLACE: &str = "us-east-1:111122223333";

/// The service: what never changes, what does, and the tasks that run.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: &'static str,
    pub(super) cluster: String,
    pub(super) program: Program,
    pub(super) environment: Vec<(String, String)>,
    pub(super) address: SocketAddr,
    logs: PathBuf,
    state: Mutex<State>,
    /// Lives of the tasks; `None` once the double ends.
    lives: Mutex<Option<JoinSet<()>>>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(super) fn new(options: EcsOptions, address: SocketAddr, logs: &Path) -> Shared {
        let mut state = State {
            cluster_active: true,
            definitions: options.definitions,
            vcpus: options.vcpus,
            faults: Faults::default(),
            call_level: None,
            launch_level: None,
            script: VecDeque::new(),
            tasks: BTreeMap::new(),
            ended: VecDeque::new(),
            orders: HashMap::new(),
            tokens: HashMap::new(),
            attempts: HashMap::new(),
            calls: BTreeMap::new(),
            launched: Vec::new(),
            created: 0,
        };
        state.set_faults(options.faults);
        Shared {
            place: PLACE,
            cluster: options.cluster,
            program: options.program,
            environment: options.environment,
            address,
            logs: logs.to_owned(),
            state: Mutex::new(state),
            lives: Mutex::new(Some(JoinSet::new())),
            changed: watch::Sender::new(()),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a task that is still known, and says so to whoever waits.
    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Task)) {
        {
            let mut state = self.state();
            if let Some(task) = state.tasks.get_mut(id) {
                let before = task.status;
                change(task);
                if before != Status::Stopped && task.status == Status::Stopped {
                    state.bury(id);
                }
            }
        }
        self.changed.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Lets a task live until it ends or the double does.
    pub(super) fn own(&self, life: impl Future<Output = ()> + Send + 'static) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lives) = lives.as_mut() {
            while lives.try_join_next().is_some() {}
            lives.spawn(life);
        }
    }

    /// Ends all tasks; their processes are killed with them.
    pub(super) async fn end(&self) {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut lives) = lives {
            lives.shutdown().await;
        }
    }

    /// Tells a task to stop; `false` when it has ended or was told before.
    pub(super) fn order_stop(&self, id: &str, cause: Cause) -> bool {
        let order = self.state().orders.remove(id);
        order.is_some_and(|order| order.send(cause).is_ok())
    }

    pub(super) fn log(&self, id: &str) -> PathBuf {
        self.logs.join(format!("{id}.log"))
    }
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) cluster_active: bool,
    pub(super) definitions: Vec<Definition>,
    pub(super) vcpus: Option<f64>,
    pub(super) faults: Faults,
    call_level: Option<Level>,
    launch_level: Option<Level>,
    pub(super) script: VecDeque<Fault>,
    /// By id; ids grow, so this is the order in which they were created.
    pub(super) tasks: BTreeMap<String, Task>,
    /// Ids of tasks that have ended, in that order.
    ended: VecDeque<String>,
    /// How to stop those that have not.
    pub(super) orders: HashMap<String, oneshot::Sender<Cause>>,
    /// What was asked for with a client token, and the task it gave.
    pub(super) tokens: HashMap<String, (Value, String)>,
    /// How often each client token was tried.
    pub(super) attempts: HashMap<String, usize>,
    pub(super) calls: BTreeMap<String, usize>,
    pub(super) launched: Vec<Launched>,
    pub(super) created: u32,
}

impl State {
    pub(super) fn set_faults(&mut self, faults: Faults) {
        let now = Instant::now();
        self.call_level = faults.calls.map(|bucket| Level::full(bucket, now));
        self.launch_level = faults.launches.map(|bucket| Level::full(bucket, now));
        self.faults = faults;
    }

    /// Counts a call and tells which one of its operation it is.
    pub(super) fn count(&mut self, operation: &str) -> usize {
        let calls = self.calls.entry(operation.to_owned()).or_default();
        *calls += 1;
        *calls
    }

    pub(super) fn may_call(&mut self) -> bool {
        self.call_level.as_mut().is_none_or(|level| level.take(Instant::now()))
    }

    pub(super) fn may_launch(&mut self) -> bool {
        self.launch_level.as_mut().is_none_or(|level| level.take(Instant::now()))
    }

    pub(super) fn register(&mut self, definition: Definition) {
        self.definitions.retain(|known| known.name() != definition.name());
        self.definitions.push(definition);
    }

    /// The task definition of this ARN, `family:revision`, or family (its newest active one).
    pub(super) fn definition(&self, name: &str) -> Option<&Definition> {
        let name = name.rsplit('/').next().unwrap_or(name);
        match name.contains(':') {
            true => self.definitions.iter().find(|known| known.name() == name),
            false => self
                .definitions
                .iter()
                .filter(|known| known.family == name && known.active)
                .max_by_key(|known| known.revision),
        }
    }

    /// vCPUs of tasks that have not ended.
    pub(super) fn vcpus_in_use(&self) -> f64 {
        let alive = self.tasks.values().filter(|task| task.status != Status::Stopped);
        alive.filter(|task| !task.vanished).map(|task| task.request.definition.vcpus()).sum()
    }

    /// Whether a task of this id can be seen; a look counts for those that are late.
    pub(super) fn look(&mut self, id: &str) -> Option<&Task> {
        let task = self.tasks.get_mut(id).filter(|task| !task.vanished)?;
        if task.hidden_looks > 0 {
            task.hidden_looks -= 1;
            return None;
        }
        Some(task)
    }

    /// Notes that a task has ended and forgets the oldest that have, where a limit says so.
    fn bury(&mut self, id: &str) {
        self.orders.remove(id);
        self.ended.push_back(id.to_owned());
        if let Some(remembered) = self.faults.remembered {
            while self.ended.len() > remembered {
                if let Some(oldest) = self.ended.front().cloned() {
                    self.forget(&oldest);
                }
            }
        }
    }

    /// Forgets a task that has ended, and its token with it: the real service keeps tokens for 24 hours at most, and
    /// no longer than the task is known.
    pub(super) fn forget(&mut self, id: &str) -> bool {
        let ended = self.ended.len();
        self.ended.retain(|known| known != id);
        let forgotten = ended != self.ended.len();
        if forgotten {
            self.tasks.remove(id);
            self.tokens.retain(|_, (_, task)| task != id);
        }
        forgotten
    }
}
