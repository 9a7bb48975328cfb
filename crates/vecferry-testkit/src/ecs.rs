//! Amazon ECS, as far as vecferry uses it, on a loopback port: tasks that really run (a process with the container's
//! arguments and environment, or a future of the test's own), with the real service's states, answers and moods.
//!
//! The double speaks the wire (AWS JSON 1.1), so that the real SDK with its retries, pages and errors is what is
//! tested. It has a thread and a runtime of its own, so that a test may block its own; dropping it kills what it runs.
//! Service Quotas answer on the same port, because the same code asks both.

mod connection;
mod definition;
mod faults;
mod launch;
mod life;
mod program;
mod quotas;
mod request;
mod state;
mod task;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::error::{Result, file};
pub use definition::Definition;
pub use faults::{Bucket, Delays, Fault, Faults};
pub use program::{Program, TaskInput};
use state::Shared;
pub use task::{Launched, TaskView};

/// What the double starts with.
#[derive(Debug, Clone)]
pub struct EcsOptions {
    /// Short name of the only cluster.
    pub cluster: String,
    /// Task definitions that are registered.
    pub definitions: Vec<Definition>,
    /// What a task runs.
    pub program: Program,
    /// Environment of every container, below the task definition's and the override's; `PATH` of this process by
    /// default. Nothing else is inherited.
    pub environment: Vec<(String, String)>,
    /// How it misbehaves; [`Ecs::set_faults`] changes it while it runs.
    pub faults: Faults,
    /// vCPUs that may run at the same time, and what Service Quotas say; unlimited, and unknown there, by default.
    pub vcpus: Option<f64>,
}

impl EcsOptions {
    /// A cluster `chat` with one Bedrock Chat task definition, without faults.
    pub fn new(program: Program) -> EcsOptions {
        let path = std::env::var("PATH").unwrap_or_default();
        EcsOptions {
            cluster: "chat".into(),
            definitions: vec![Definition::bedrock_chat("embedding", 1)],
            program,
            environment: vec![("PATH".into(), path)],
            faults: Faults::default(),
            vcpus: None,
        }
    }
}

/// The double; dropping it ends its tasks, closes its connections and frees the port.
#[derive(Debug)]
pub struct Ecs {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// What the processes print: one file per task. Dropped last.
    folder: TempDir,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ecs {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// No folder, port or thread.
    pub fn start(options: EcsOptions) -> Result<Ecs> {
        let folder = tempfile::tempdir().map_err(file("create", &std::env::temp_dir()))?;
        let any = Path::new("127.0.0.1:0");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(file("bind", any))?;
        let address = listener.local_addr().map_err(file("bind", any))?;
        listener.set_nonblocking(true).map_err(file("bind", any))?;
        // Two threads: tasks that are futures may be busy, and the service must answer all the same.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("ecs")
            .enable_all()
            .build()
            .map_err(file("start a runtime for", any))?;
        let shared = Arc::new(Shared::new(options, address, folder.path()));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = wire::serve(listener, Arc::clone(&served)) => {}
                }
                served.end().await;
            });
        });
        Ok(Ecs { shared, address, folder, stop: Some(stop), thread: Some(thread) })
    }

    /// What `AWS_ENDPOINT_URL_ECS` and `AWS_ENDPOINT_URL_SERVICE_QUOTAS` should say.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Misbehaves like this from now on; what was already decided stays.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().set_faults(faults);
    }

    /// Plays these faults first, one per `RunTask` in this order, before shares are drawn from.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().script.extend(faults);
    }

    /// Replaces a task definition, or registers another one.
    pub fn register(&self, definition: Definition) {
        self.shared.state().register(definition);
    }

    /// Deletes the cluster for whoever asks, or brings it back.
    pub fn set_cluster_active(&self, active: bool) {
        self.shared.state().cluster_active = active;
    }

    /// What Service Quotas say and what is enforced; `None` takes the permission to ask away and limits nothing.
    pub fn set_vcpus(&self, vcpus: Option<f64>) {
        self.shared.state().vcpus = vcpus;
    }

    /// Every program that was started, in order: tasks that never ran are not among them, second runs are.
    pub fn launched(&self) -> Vec<Launched> {
        self.shared.state().launched.clone()
    }

    /// How often a program was started for each bot, by the bot's sort key.
    pub fn launches_by_bot(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for launched in &self.shared.state().launched {
            *counts.entry(launched.bot.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// How often each operation was asked for, refused or not.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.shared.state().calls.clone()
    }

    /// Tasks as they are now, oldest first.
    pub fn tasks(&self) -> Vec<TaskView> {
        self.shared.state().tasks.values().map(TaskView::of).collect()
    }

    /// What a task's process printed, both streams.
    ///
    /// # Errors
    /// The task was not a process, or never ran.
    pub fn output(&self, id: &str) -> Result<String> {
        let path = self.folder.path().join(format!("{id}.log"));
        std::fs::read_to_string(&path).map_err(file("read", &path))
    }

    /// Takes the place of a task back, as Fargate Spot does; `false` when it has ended or is being stopped.
    pub fn interrupt(&self, id: &str) -> bool {
        self.shared.order_stop(id, life::Cause::SpotInterruption)
    }

    /// Kills a task as if it had used up its memory; `false` when it has ended or is being stopped.
    pub fn exhaust_memory(&self, id: &str) -> bool {
        self.shared.order_stop(id, life::Cause::OutOfMemory)
    }

    /// Makes the service forget a task that has ended, as it does after an hour; `false` when it has not.
    pub fn forget(&self, id: &str) -> bool {
        self.shared.state().forget(id)
    }

    /// Waits until something about tasks satisfies the test; whoever calls it brings the deadline.
    pub async fn until(&self, condition: impl Fn(&[TaskView]) -> bool) {
        let mut changes = self.shared.changes();
        loop {
            changes.mark_unchanged();
            if condition(&self.tasks()) {
                return;
            }
            // The sender lives in `shared`, so this ends only with a change.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Ecs {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
