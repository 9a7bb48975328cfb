//! A registry, a runner and workers for tests of the orchestrator: the registry keeps records as an application would,
//! the runner's tasks outlive whoever started them and really write rows, and both do what they are told to do wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vecferry_core::Result;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress, Splitting, SyncRecord, SyncStatus};
use vecferry_core::reembed::estimate::Estimate;
use vecferry_core::reembed::registry::{BotRegistry, Expected, Listing, Written};
use vecferry_core::reembed::select::Selection;
use vecferry_core::reembed::store::{
    AttemptRecord, Batch, BotRecord, Counts, MigrationStore, PostgresStore, RunRecord, Settings,
    SqliteStore,
};
use vecferry_core::reembed::task::{
    Launch, LaunchFailure, RunnerLimits, Stop, StopCause, Task, TaskRunner, TaskState,
};
use vecferry_core::reembed::{ReembedOrder, Summary, TaskPolicy, run};
use vecferry_testkit::{Cluster, Database, Session};

use super::store::settings;
use crate::fixture::{APP_SETUP, Recorder};

pub(super) fn key(id: &str) -> BotKey {
    BotKey { owner: "ann".into(), id: id.into() }
}

/// A point at which a process may be killed: the fuse burns down by one at each, and stops everybody at the last.
#[derive(Default)]
pub(super) struct Fuse {
    left: Mutex<Option<u32>>,
    burnt: Notify,
}

impl Fuse {
    pub(super) fn of(points: u32) -> Arc<Fuse> {
        Arc::new(Fuse { left: Mutex::new(Some(points)), burnt: Notify::new() })
    }

    /// Returns, or never when the process is dead.
    async fn pass(&self) {
        let dead = match &mut *self.left.lock().unwrap() {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    self.burnt.notify_one();
                }
                *left == 0
            }
        };
        if dead {
            std::future::pending().await
        }
    }

    pub(super) async fn burnt(&self) {
        self.burnt.notified().await;
    }
}

/// A registry in memory.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) bots: Mutex<BTreeMap<BotKey, Bot>>,
    pub(super) no_sync: bool,
}

impl Registry {
    pub(super) fn of(ids: &[&str]) -> Arc<Registry> {
        let bots = ids.iter().map(|id| (key(id), bot(id)));
        Arc::new(Registry { bots: Mutex::new(bots.collect()), no_sync: false })
    }

    pub(super) fn sync(&self, id: &str) -> Option<SyncRecord> {
        self.bots.lock().unwrap().get(&key(id)).and_then(|bot| bot.sync.clone())
    }

    /// What the application itself writes, without asking.
    pub(super) fn set(&self, id: &str, status: SyncStatus, reason: &str, exec_id: &str) {
        let record = SyncRecord { status, reason: reason.into(), exec_id: exec_id.into() };
        if let Some(bot) = self.bots.lock().unwrap().get_mut(&key(id)) {
            bot.sync = Some(record);
        }
    }
}

fn bot(id: &str) -> Bot {
    let page = |n| DocumentAddress::Page(format!("https://{id}/{n}"));
    Bot {
        key: key(id),
        title: format!("title of {id}"),
        documents: (0..2).map(page).collect(),
        splitting: Splitting::default(),
        sync: None,
    }
}

#[async_trait]
impl BotRegistry for Registry {
    fn describe(&self) -> String {
        "a registry in memory".into()
    }

    fn keeps_sync(&self) -> bool {
        !self.no_sync
    }

    async fn list(&self) -> Result<Listing> {
        let bots = self.bots.lock().unwrap().values().cloned().collect();
        Ok(Listing { bots, ..Listing::default() })
    }

    async fn get(&self, key: &BotKey) -> Result<Option<Bot>> {
        Ok(self.bots.lock().unwrap().get(key).cloned())
    }

    async fn write_sync(
        &self,
        key: &BotKey,
        expected: Expected<'_>,
        record: &SyncRecord,
    ) -> Result<Written> {
        let mut bots = self.bots.lock().unwrap();
        let Some(bot) = bots.get_mut(key) else { return Ok(Written::Gone) };
        let fits = match expected {
            Expected::Exists => true,
            Expected::Idle => !bot.sync.as_ref().is_some_and(|sync| sync.status.is_busy()),
            Expected::Exec(id) => bot.sync.as_ref().is_some_and(|sync| sync.exec_id == id),
        };
        if !fits {
            return Ok(Written::Changed(bot.sync.clone()));
        }
        bot.sync = Some(record.clone());
        Ok(Written::Done)
    }
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Act {
    /// As Bedrock Chat's worker: status, rows in one transaction, status.
    Work,
    /// As vecferry's worker: the same, and its own record in that transaction.
    WorkOwn,
    /// The same until the rows are there; then it dies.
    DieAfterSwap,
    /// It dies before anything.
    Die,
    /// It says that its documents failed.
    FailDocuments,
    /// vecferry's worker says so in its record on the target.
    LoseDocuments,
    /// Bedrock Chat's worker met a throttle.
    FailThrottled,
    /// It leaves a document out and reports success.
    LeaveOut,
    /// It finds nothing and reports success.
    Nothing,
    /// Its vectors are missing.
    NoVectors,
    /// Its vectors are zeros only.
    ZeroVectors,
    /// Two of it work at the same time.
    Twice,
    /// The runner loses sight of it; it does nothing.
    Vanish,
    /// It is killed for memory.
    OutOfMemory,
    /// It never starts.
    NeverStart,
    /// Its place is taken back.
    Interrupt,
    /// A person stops it.
    StopByHand,
    /// It works when it is let go.
    WaitThenWork,
}

/// How launches go wrong, by the number of the call, 1-based.
type Refusal = Box<dyn Fn(u32, &Launch) -> Option<LaunchFailure> + Send + Sync>;

/// Tasks that live in this process and outlive orchestrators.
pub(super) struct Runner {
    database: String,
    registry: Arc<Registry>,
    /// By bot and attempt; [`Act::Work`] otherwise.
    script: HashMap<(String, u32), Act>,
    refusal: Refusal,
    state: Mutex<State>,
    running: Mutex<JoinSet<()>>,
    gate: watch::Sender<bool>,
    /// Whether every task works from now on.
    mended: AtomicBool,
}

#[derive(Default)]
struct State {
    calls: u32,
    by_token: HashMap<String, String>,
    tasks: BTreeMap<String, Task>,
    migrations: HashMap<String, String>,
    /// Bots' tasks that run now, and the most there ever were at once.
    busy: HashMap<BotKey, (u32, u32)>,
    stops: HashMap<String, CancellationToken>,
}

impl Runner {
    pub(super) fn new(
        database: &Database,
        registry: Arc<Registry>,
        script: &[(&str, &[Act])],
        refusal: impl Fn(u32, &Launch) -> Option<LaunchFailure> + Send + Sync + 'static,
    ) -> Arc<Runner> {
        let acts = script.iter().flat_map(|(bot, acts)| {
            acts.iter().zip(1..).map(|(act, attempt)| (((*bot).to_owned(), attempt), *act))
        });
        Arc::new(Runner {
            database: database.url().to_owned(),
            registry,
            script: acts.collect(),
            refusal: Box::new(refusal),
            state: Mutex::default(),
            running: Mutex::default(),
            gate: watch::Sender::new(false),
            mended: AtomicBool::new(false),
        })
    }

    /// From now on every task works.
    pub(super) fn mend(&self) {
        self.mended.store(true, Ordering::Release);
    }

    /// Lets go what waits.
    pub(super) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Tasks started for a bot.
    pub(super) fn started(&self, id: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.tasks.values().filter(|task| task.bot.as_ref() == Some(&key(id))).count()
    }

    /// Calls of `launch`.
    pub(super) fn calls(&self) -> u32 {
        self.state.lock().unwrap().calls
    }

    /// The most tasks that ever ran for one bot at once.
    pub(super) fn most_at_once(&self) -> u32 {
        self.state.lock().unwrap().busy.values().map(|(_, most)| *most).max().unwrap_or(0)
    }

    fn start(self: &Arc<Runner>, launch: &Launch) -> String {
        let mut state = self.state.lock().unwrap();
        if let Some(task) = state.by_token.get(&launch.token) {
            return task.clone();
        }
        let id = format!("task-{}", state.tasks.len() + 1);
        let stop = CancellationToken::new();
        state.by_token.insert(launch.token.clone(), id.clone());
        state.migrations.insert(id.clone(), launch.migration.clone());
        state.stops.insert(id.clone(), stop.clone());
        let (bot, token) = (Some(launch.bot.clone()), Some(launch.token.clone()));
        state
            .tasks
            .insert(id.clone(), Task { id: id.clone(), bot, token, state: TaskState::Running });
        let busy = state.busy.entry(launch.bot.clone()).or_default();
        busy.0 += 1;
        busy.1 = busy.1.max(busy.0);
        let (runner, launch, task) = (self.clone(), launch.clone(), id.clone());
        self.running.lock().unwrap().spawn(async move {
            let ended = tokio::select! {
                ended = runner.act(&launch, &task) => ended,
                () = stop.cancelled() => stopped(StopCause::Stopped),
            };
            let mut state = runner.state.lock().unwrap();
            state.tasks.get_mut(&task).unwrap().state = ended;
            state.busy.get_mut(&launch.bot).unwrap().0 -= 1;
        });
        id
    }

    async fn act(&self, launch: &Launch, task: &str) -> TaskState {
        let id = launch.bot.id.as_str();
        let scripted = self.script.get(&(id.to_owned(), launch.attempt)).copied();
        let act = scripted.filter(|_| !self.mended.load(Ordering::Acquire)).unwrap_or(Act::Work);
        match act {
            Act::NeverStart => return stopped(StopCause::NeverStarted),
            Act::Vanish => return TaskState::Vanished,
            _ => self.registry.set(id, SyncStatus::Running, "", task),
        }
        let done = |reason: &str, status| self.registry.set(id, status, reason, task);
        let mut gate = self.gate.subscribe();
        match act {
            Act::Die => return exited(1),
            Act::OutOfMemory => return stopped(StopCause::OutOfMemory),
            Act::Interrupt => return stopped(StopCause::Interrupted),
            Act::StopByHand => return stopped(StopCause::Stopped),
            Act::FailDocuments => done("https://x/1 answers 404", SyncStatus::Failed),
            Act::FailThrottled => done("ThrottlingException: slow down", SyncStatus::Failed),
            Act::Nothing => done("", SyncStatus::Succeeded),
            Act::LoseDocuments => self.record_loss(launch, task).await,
            Act::WaitThenWork => {
                gate.wait_for(|open| *open).await.unwrap();
                self.swap(launch, task, act).await;
                done("", SyncStatus::Succeeded);
            }
            Act::Twice => {
                tokio::join!(self.swap(launch, task, act), self.swap(launch, task, act));
                done("", SyncStatus::Succeeded);
            }
            Act::DieAfterSwap => {
                self.swap(launch, task, act).await;
                return exited(137);
            }
            _ => {
                self.swap(launch, task, act).await;
                done("", SyncStatus::Succeeded);
            }
        }
        exited(0)
    }

    /// Both workers replace a bot's rows in one transaction. Two at once see nothing of each other and double them.
    async fn swap(&self, launch: &Launch, task: &str, act: Act) {
        let id = &launch.bot.id;
        let pages = if act == Act::LeaveOut { 1 } else { 2 };
        let vector = match act {
            Act::NoVectors => "NULL",
            Act::ZeroVectors => "'[0,0,0,0,0,0,0,0]'",
            _ => "'[1,2,3,4,5,6,7,8]'",
        };
        let session = Session::open(&self.database).await.unwrap();
        let mut sql = format!(
            "BEGIN; DELETE FROM items WHERE botid = '{id}'; \
             INSERT INTO items SELECT left(md5(random()::text), 26), '{id}', 'text', 'https://{id}/' || n, {vector} \
             FROM generate_series(0, {pages} - 1) n;"
        );
        if act == Act::WorkOwn {
            sql += &format!(
                "{BOT_RESULT} INSERT INTO vecferry.bot_result VALUES ('{}', '{id}', '{}', '{task}', 'm', 8, true, 2, 2, 1, 99, '[]') \
                 ON CONFLICT (migration, bot) DO UPDATE SET token = excluded.token, swapped = true;",
                launch.migration, launch.token
            );
        }
        // A pause in which the other one of `Twice` does the same.
        if act == Act::Twice {
            sql += "SELECT pg_sleep(0.2);";
        }
        session.batch_execute(&format!("{sql} COMMIT")).await.unwrap();
    }

    async fn record_loss(&self, launch: &Launch, task: &str) {
        let id = &launch.bot.id;
        let lost = format!(
            r#"[{{"source": "https://{id}/1", "reason": "missing", "detail": "status 404"}}]"#
        );
        let session = Session::open(&self.database).await.unwrap();
        session
            .batch_execute(&format!(
                "BEGIN; {BOT_RESULT} INSERT INTO vecferry.bot_result VALUES ('{}', '{id}', '{}', '{task}', 'm', 8, false, 0, 2, 0, 0, '{lost}'); COMMIT",
                launch.migration, launch.token
            ))
            .await
            .unwrap();
    }
}

/// As vecferry's worker makes it; the lock, because several come at once.
const BOT_RESULT: &str = "SELECT pg_advisory_xact_lock(1); CREATE SCHEMA IF NOT EXISTS vecferry; \
    CREATE TABLE IF NOT EXISTS vecferry.bot_result (migration text NOT NULL, bot text NOT NULL, token text NOT NULL, \
    exec_id text NOT NULL, model text NOT NULL, dimensions int NOT NULL, swapped boolean NOT NULL, rows bigint NOT NULL, \
    documents int NOT NULL, reused bigint NOT NULL, tokens bigint NOT NULL, lost jsonb NOT NULL, \
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (migration, bot));";

fn stopped(cause: StopCause) -> TaskState {
    TaskState::Stopped(Stop { cause, exit_code: None, reason: String::new() })
}

fn exited(code: i32) -> TaskState {
    TaskState::Stopped(Stop {
        cause: StopCause::Exited,
        exit_code: Some(code),
        reason: "essential container exited".into(),
    })
}

/// The runner as one orchestrator has it: its process may die at any call.
pub(super) struct Connected {
    pub(super) runner: Arc<Runner>,
    pub(super) fuse: Arc<Fuse>,
}

#[async_trait]
impl TaskRunner for Connected {
    fn describe(&self) -> String {
        "tasks in this process".into()
    }

    async fn limits(&self) -> Result<RunnerLimits> {
        Ok(RunnerLimits::default())
    }

    async fn launch(&self, launch: &Launch) -> Result<String, LaunchFailure> {
        self.fuse.pass().await;
        let call = {
            let mut state = self.runner.state.lock().unwrap();
            state.calls += 1;
            state.calls
        };
        let failure = (self.runner.refusal)(call, launch);
        // An answer that is lost says nothing about the request.
        let started = matches!(failure, None | Some(LaunchFailure::Unclear(_)));
        let task = started.then(|| self.runner.start(launch));
        self.fuse.pass().await;
        match (failure, task) {
            (None, Some(task)) => Ok(task),
            (failure, _) => Err(failure.unwrap()),
        }
    }

    async fn list(&self, migration: &str) -> Result<Vec<Task>> {
        let state = self.runner.state.lock().unwrap();
        let ours = |task: &&Task| {
            state.migrations.get(&task.id).is_some_and(|it| it == migration)
                && task.state != TaskState::Vanished
        };
        Ok(state.tasks.values().filter(ours).cloned().collect())
    }

    async fn look(&self, ids: &[String]) -> Result<Vec<Task>> {
        let state = self.runner.state.lock().unwrap();
        let look = |id: &String| {
            let unknown =
                Task { id: id.clone(), bot: None, token: None, state: TaskState::Vanished };
            state.tasks.get(id).cloned().unwrap_or(unknown)
        };
        Ok(ids.iter().map(look).collect())
    }

    async fn stop(&self, id: &str, _reason: &str) -> Result<()> {
        if let Some(stop) = self.runner.state.lock().unwrap().stops.get(id) {
            stop.cancel();
        }
        Ok(())
    }
}

/// The store as one orchestrator has it.
struct Recording {
    store: Box<dyn MigrationStore>,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl MigrationStore for Recording {
    fn describe(&self) -> String {
        self.store.describe()
    }
    async fn lock(&self) -> Result<()> {
        self.store.lock().await
    }
    async fn unlock(&self) -> Result<()> {
        self.store.unlock().await
    }
    async fn holder(&self) -> Result<Option<String>> {
        self.store.holder().await
    }
    async fn newest(&self) -> Result<Option<RunRecord>> {
        self.store.newest().await
    }
    async fn begin(
        &self,
        id: &str,
        settings: &Settings,
        estimate: Option<&Estimate>,
    ) -> Result<()> {
        self.store.begin(id, settings, estimate).await
    }
    async fn bots(&self, run: &str) -> Result<Vec<BotRecord>> {
        self.store.bots(run).await
    }
    async fn attempts(&self, run: &str, bot: Option<&BotKey>) -> Result<Vec<AttemptRecord>> {
        self.store.attempts(run, bot).await
    }
    async fn counts(&self, run: &str) -> Result<Counts> {
        self.store.counts(run).await
    }
    async fn write(&self, run: &str, batch: &Batch) -> Result<()> {
        self.fuse.pass().await;
        self.store.write(run, batch).await?;
        self.fuse.pass().await;
        Ok(())
    }
    async fn end(&self, run: &str, seconds: f64, why: Option<&str>) -> Result<()> {
        self.fuse.pass().await;
        self.store.end(run, seconds, why).await
    }
    async fn forget(&self, run: &str) -> Result<()> {
        self.store.forget(run).await
    }
}

/// The registry as one orchestrator has it.
struct Claiming {
    registry: Arc<Registry>,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl BotRegistry for Claiming {
    fn describe(&self) -> String {
        self.registry.describe()
    }
    fn keeps_sync(&self) -> bool {
        self.registry.keeps_sync()
    }
    async fn list(&self) -> Result<Listing> {
        self.registry.list().await
    }
    async fn get(&self, key: &BotKey) -> Result<Option<Bot>> {
        self.registry.get(key).await
    }
    async fn write_sync(
        &self,
        key: &BotKey,
        expected: Expected<'_>,
        record: &SyncRecord,
    ) -> Result<Written> {
        self.fuse.pass().await;
        let written = self.registry.write_sync(key, expected, record).await;
        self.fuse.pass().await;
        written
    }
}

/// All of it.
pub(super) struct World {
    pub(super) target: Database,
    pub(super) registry: Arc<Registry>,
    pub(super) runner: Arc<Runner>,
    folder: tempfile::TempDir,
    /// Whether the record is in a file.
    pub(super) in_file: bool,
    pub(super) policy: TaskPolicy,
    /// Whether the orchestrator reaches the target.
    pub(super) route: bool,
}

impl World {
    pub(super) async fn of(cluster: &Cluster, hint: &str, script: &[(&str, &[Act])]) -> World {
        World::refusing(cluster, hint, script, |_, _| None).await
    }

    pub(super) async fn refusing(
        cluster: &Cluster,
        hint: &str,
        script: &[(&str, &[Act])],
        refusal: impl Fn(u32, &Launch) -> Option<LaunchFailure> + Send + Sync + 'static,
    ) -> World {
        let target = Database::with_vector(cluster, hint).await.unwrap();
        target.batch(APP_SETUP).await.unwrap();
        let ids: Vec<&str> = script.iter().map(|(id, _)| *id).collect();
        let registry = Registry::of(&ids);
        let runner = Runner::new(&target, registry.clone(), script, refusal);
        let policy = TaskPolicy {
            launches_per_second: 500.0,
            poll: Duration::from_millis(20),
            repeat_after: Duration::from_millis(5),
            patience: Duration::from_millis(400),
            ..TaskPolicy::default()
        };
        let folder = tempfile::tempdir().unwrap();
        World { target, registry, runner, folder, in_file: false, policy, route: true }
    }

    /// The same database as if nothing had happened, with a new registry and runner.
    pub(super) async fn again(&mut self, script: &[(&str, &[Act])]) {
        self.target.batch("TRUNCATE items; DROP SCHEMA IF EXISTS vecferry CASCADE").await.unwrap();
        let ids: Vec<&str> = script.iter().map(|(id, _)| *id).collect();
        self.registry = Registry::of(&ids);
        self.runner = Runner::new(&self.target, self.registry.clone(), script, |_, _| None);
        self.folder = tempfile::tempdir().unwrap();
    }

    /// The store as a new process opens it.
    pub(super) async fn store(&self) -> Box<dyn MigrationStore> {
        match self.in_file {
            true => Box::new(self.file("run.db").await),
            false => Box::new(PostgresStore::new(self.target.url().parse().unwrap())),
        }
    }

    pub(super) async fn file(&self, name: &str) -> SqliteStore {
        SqliteStore::open(&self.folder.path().join(name)).await.unwrap()
    }

    pub(super) async fn order(&self) -> ReembedOrder {
        self.order_with(self.store().await, &Arc::default())
    }

    /// What a new process is asked to do, which dies when the fuse has burnt down.
    pub(super) fn order_with(
        &self,
        store: Box<dyn MigrationStore>,
        fuse: &Arc<Fuse>,
    ) -> ReembedOrder {
        ReembedOrder {
            registry: Arc::new(Claiming { registry: self.registry.clone(), fuse: fuse.clone() }),
            runner: Arc::new(Connected { runner: self.runner.clone(), fuse: fuse.clone() }),
            store: Arc::new(Recording { store, fuse: fuse.clone() }),
            target: self.route.then(|| self.target.url().parse().unwrap()),
            settings: settings(),
            estimate: None,
            selection: Selection::default(),
            environment: Vec::new(),
            policy: self.policy,
            restart: false,
        }
    }

    /// A whole run.
    pub(super) async fn run(&self) -> Result<Summary> {
        run(self.order().await, Arc::new(Recorder::default()), CancellationToken::new()).await
    }

    /// Each bot's state and the reason, as recorded.
    pub(super) async fn states(&self) -> BTreeMap<String, (String, String)> {
        let store = self.store().await;
        let run = store.newest().await.unwrap().unwrap();
        let bots = store.bots(&run.id).await.unwrap();
        let state = |bot: BotRecord| {
            (bot.key.id, (bot.state.as_str().to_owned(), bot.last_reason.unwrap_or_default()))
        };
        bots.into_iter().map(state).collect()
    }

    /// Asserts that a bot's rows were written once, by one transaction.
    pub(super) async fn assert_embedded(&self, id: &str) {
        let sql = format!(
            "SELECT count(*) = 2 AND count(DISTINCT xmin::text) = 1 AND count(embedding) = 2 FROM items WHERE botid = '{id}'"
        );
        assert!(self.target.query_one(&sql).await.unwrap().get::<_, bool>(0), "{id}");
    }
}
