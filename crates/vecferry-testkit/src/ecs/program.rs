//! What a task runs: a process in the container's place, or a future of the test's own.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::watch;

type Work = Pin<Box<dyn Future<Output = i32> + Send>>;

/// What a task runs in place of its image.
#[derive(Clone)]
pub enum Program {
    /// A process: the image's entry point, to which the command is appended.
    Process {
        /// Program and first arguments, as an image's `ENTRYPOINT`.
        entry: Vec<String>,
        /// Where it runs; where this process runs by default.
        folder: Option<PathBuf>,
    },
    /// A future in this process; its result is the exit code.
    Future(Arc<dyn Fn(TaskInput) -> Work + Send + Sync>),
}

impl Program {
    /// A process with this entry point.
    pub fn process<S: Into<String>>(entry: impl IntoIterator<Item = S>) -> Program {
        Program::Process { entry: entry.into_iter().map(Into::into).collect(), folder: None }
    }

    /// A future in this process, on the double's runtime.
    pub fn future<F, W>(work: F) -> Program
    where
        F: Fn(TaskInput) -> W + Send + Sync + 'static,
        W: Future<Output = i32> + Send + 'static,
    {
        Program::Future(Arc::new(move |input| Box::pin(work(input))))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Program::Process { entry, .. } => f.debug_tuple("Process").field(entry).finish(),
            Program::Future(_) => f.write_str("Future"),
        }
    }
}

/// What a container is given.
#[derive(Debug, Clone)]
pub struct TaskInput {
    /// Task id.
    pub id: String,
    /// Arguments after the entry point.
    pub command: Vec<String>,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    pub(super) terminated: watch::Receiver<bool>,
}

impl TaskInput {
    /// Ends when a process would get SIGTERM; after the grace the future is dropped, as SIGKILL would end a process.
    pub async fn terminated(&mut self) {
        if self.terminated.wait_for(|terminated| *terminated).await.is_err() {
            // The sender goes with the task; whoever waits is about to be dropped.
            std::future::pending::<()>().await;
        }
    }
}

/// A program that runs.
pub(super) enum Running {
    Process(Child, Group),
    Future(Work, watch::Sender<bool>),
}

impl Running {
    /// Starts it; what a process prints goes to `log`.
    pub(super) fn start(
        program: &Program,
        mut input: TaskInput,
        log: &Path,
    ) -> std::io::Result<Self> {
        match program {
            Program::Future(work) => {
                let (sender, receiver) = watch::channel(false);
                input.terminated = receiver;
                Ok(Running::Future(work(input), sender))
            }
            Program::Process { entry, folder } => {
                let (program, first) = entry
                    .split_first()
                    .ok_or_else(|| std::io::Error::other("a process without an entry point"))?;
                let output = File::create(log)?;
                let mut command = Command::new(program);
                command.args(first).args(&input.command);
                command.env_clear().envs(&input.environment);
                command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
                // A group of its own: a container dies with everything in it.
                command.process_group(0).kill_on_drop(true);
                if let Some(folder) = folder {
                    command.current_dir(folder);
                }
                let child = command.spawn()?;
                let group = Group::of(&child);
                Ok(Running::Process(child, group))
            }
        }
    }

    /// The exit code as a container runtime tells it: 128 plus the signal for a killed process.
    pub(super) async fn wait(&mut self) -> i32 {
        match self {
            Running::Future(work, _) => work.as_mut().await,
            Running::Process(child, _) => match child.wait().await {
                Ok(status) => {
                    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
                }
                // Nobody else may wait for it, so this does not happen; 255 is what runtimes say then.
                Err(_) => 255,
            },
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        match self {
            Running::Process(_, group) => group.terminate(),
            // Nobody may be listening, like a process that ignores the signal.
            Running::Future(_, sender) => drop(sender.send_replace(true)),
        }
    }

    /// Ends it; [`Self::wait`] then tells how. A future ends by being dropped.
    pub(super) fn kill(&self) {
        if let Running::Process(_, group) = self {
            group.kill();
        }
    }

    pub(super) fn is_process(&self) -> bool {
        matches!(self, Running::Process(..))
    }
}

/// A process group that does not outlive its task.
pub(super) struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// A container's first process alone gets the signal.
    fn terminate(&self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself.
            let _ = kill_process(leader, Signal::TERM);
        }
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // An empty group is one that has ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
