//! Builds the recorded indexes on the target.
//!
//! Each index is built and recorded in one transaction: killed in the middle, it is open again and nothing of it is
//! there. Several are built at once as far as memory goes; indexes of the same table may run beside each other.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::IndexPlan;
use super::memory::{build_bytes_of, memory_budget};
use super::plan::suitable_lists;
use super::schedule::{Limits, Want, next, order};
use crate::error::{Error, Result, Side};
use crate::migration::Run;
use crate::pg::{Dsn, QualifiedName, Session, quote_ident};
use crate::policy::IvfflatLists;
use crate::report::Event;
use crate::store::{self, IndexRecord};

/// Reports of builders waiting to be passed on; each builder sends three.
const REPORTS: usize = 64;

/// How often the server's progress view is read.
const TICK: Duration = Duration::from_secs(1);

/// Builds at the same time when the policy does not say.
const JOBS: usize = 4;

/// Which of the open indexes are built, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// All of them, while nobody writes.
    All,
    /// Those that apply needs, before it starts.
    Keys,
    /// The others beside apply, which a build inside a transaction would block: each is built concurrently, one at a
    /// time because such builds wait for each other, and recorded afterwards. Killed in between, an invalid index is
    /// left, which the next run drops, or a valid one without a record, which it recognises.
    BesideApply,
}

/// Builds the open indexes of the stage. `rows` counts the rows of each table by its OID on the source.
///
/// # Errors
/// The first failure of any build; [`Error::Interrupted`] when cancelled. Finished indexes are recorded.
pub(crate) async fn build_indexes(
    run: &Run<'_>,
    rows: &HashMap<u32, u64>,
    stage: Stage,
) -> Result<()> {
    let records = IndexRecord::all(&run.control, &run.id).await?;
    let wanted = |plan: &IndexPlan| stage != Stage::Keys || plan.serves_apply();
    let open: Vec<IndexRecord> =
        records.into_iter().filter(|record| !record.finished && wanted(&record.plan)).collect();
    let mut waiting: Vec<Want> = open.iter().map(|record| want(run, record, rows)).collect();
    order(&mut waiting);
    let server = crate::inspect::inspect_server(&run.control).await?;
    let limits = Limits {
        memory: memory_budget(&server, run.policy.index_memory).bytes,
        jobs: match stage {
            Stage::BesideApply => 1,
            Stage::All | Stage::Keys => run.policy.index_jobs.unwrap_or(JOBS),
        },
    };
    let cancel = run.cancel.child_token();
    let (reports, mut reported) = mpsc::channel(REPORTS);
    let mut crew = Crew {
        builders: JoinSet::new(),
        memory: HashMap::new(),
        names: HashMap::new(),
        failed: None,
    };
    let mut ticker = tokio::time::interval(TICK);
    loop {
        while crew.failed.is_none() {
            let running: Vec<u64> = crew.memory.values().copied().collect();
            let Some((at, memory)) = next(&waiting, &running, limits) else { break };
            let wanted = waiting.remove(at);
            let Some(record) = open.iter().find(|record| record.ordinal == wanted.ordinal) else {
                continue;
            };
            let mut build = Build::new(run, record, memory, rows);
            build.concurrently = stage == Stage::BesideApply;
            run.reporter.event(&build.started(wanted));
            crew.memory.insert(wanted.ordinal, memory);
            crew.builders.spawn(build.run(reports.clone(), cancel.clone()));
        }
        tokio::select! {
            Some(report) = reported.recv() => crew.note(report, run),
            ended = crew.builders.join_next() => if !crew.end(ended, &cancel) { break },
            _ = ticker.tick() => crew.tell_progress(run).await?,
        }
    }
    while let Ok(report) = reported.try_recv() {
        crew.note(report, run);
    }
    crew.failed.map_or(Ok(()), Err)
}

fn want(run: &Run<'_>, record: &IndexRecord, rows: &HashMap<u32, u64>) -> Want {
    let rows = rows.get(&record.plan.relation_oid).copied().unwrap_or(0);
    let mut index = record.plan.index.clone();
    if let Some(lists) = lists(run, record, rows) {
        index.options = vec![format!("lists={lists}")];
    }
    let bytes = record
        .plan
        .value
        .as_ref()
        .and_then(|(base, dims)| build_bytes_of(&index, base, *dims, rows));
    match bytes {
        Some(bytes) => Want::vector(record.ordinal, bytes),
        None => Want::sorting(record.ordinal, index.bytes),
    }
}

/// The number of lists to set, when it is not the definition's own.
fn lists(run: &Run<'_>, record: &IndexRecord, rows: u64) -> Option<u64> {
    let automatic =
        record.plan.index.method == "ivfflat" && run.policy.ivfflat_lists == IvfflatLists::Auto;
    automatic.then(|| suitable_lists(rows))
}

/// The builders at work.
struct Crew {
    builders: JoinSet<(i32, Result<()>)>,
    /// Memory of each running build by ordinal.
    memory: HashMap<i32, u64>,
    /// Index names by the process id of the session that builds them.
    names: HashMap<i32, String>,
    failed: Option<Error>,
}

/// What a builder tells.
enum Report {
    /// Its session works on the index from now on.
    Session(i32, String),
    /// Something for the operator.
    Event(Event),
}

impl Crew {
    fn note(&mut self, report: Report, run: &Run<'_>) {
        match report {
            Report::Session(pid, name) => drop(self.names.insert(pid, name)),
            Report::Event(event) => run.reporter.event(&event),
        }
    }

    /// Takes note of a builder's end; false when there was none left.
    fn end(
        &mut self,
        ended: Option<Result<(i32, Result<()>), tokio::task::JoinError>>,
        cancel: &CancellationToken,
    ) -> bool {
        let error = match ended {
            None => return false,
            Some(Ok((ordinal, result))) => {
                self.memory.remove(&ordinal);
                result.err()
            }
            Some(Err(panic)) => {
                Some(Error::Bug { what: format!("an index builder ended abnormally: {panic}") })
            }
        };
        if let Some(error) = error {
            cancel.cancel();
            if self.failed.as_ref().is_none_or(|first| matches!(first, Error::Interrupted)) {
                self.failed = Some(error);
            }
        }
        true
    }

    async fn tell_progress(&self, run: &Run<'_>) -> Result<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        for (pid, phase, percent) in read_progress(&run.control).await? {
            if let Some(index) = self.names.get(&pid) {
                run.reporter.event(&Event::IndexProgress { index: index.clone(), phase, percent });
            }
        }
        Ok(())
    }
}

/// Process id, phase and percent of every index build in the session's database.
///
/// # Errors
/// [`Error::Postgres`] when the view cannot be read.
pub(crate) async fn read_progress(session: &Session) -> Result<Vec<(i32, String, Option<f64>)>> {
    let sql = "SELECT pid, phase, CASE WHEN tuples_total > 0 THEN 100.0 * tuples_done / tuples_total \
               WHEN blocks_total > 0 THEN 100.0 * blocks_done / blocks_total END::float8 \
               FROM pg_stat_progress_create_index WHERE datname = current_database()";
    let rows = session.query("read the progress of index builds", sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

/// One index build, on a session of its own.
struct Build {
    target: Dsn,
    migration: String,
    record: IndexRecord,
    create: String,
    memory: u64,
    lock_timeout: Duration,
    /// Without a lock against writers, and outside of a transaction.
    concurrently: bool,
}

impl Build {
    fn new(run: &Run<'_>, record: &IndexRecord, memory: u64, rows: &HashMap<u32, u64>) -> Build {
        let rows = rows.get(&record.plan.relation_oid).copied().unwrap_or(0);
        Build {
            target: run.clusters.target.clone(),
            migration: run.id.clone(),
            record: record.clone(),
            create: record.plan.create_with_lists(lists(run, record, rows)),
            memory,
            lock_timeout: run.policy.lock_timeout,
            concurrently: false,
        }
    }

    fn started(&self, wanted: Want) -> Event {
        Event::IndexStarted {
            index: self.record.plan.name.clone(),
            table: self.record.plan.table.plain(),
            memory: self.memory,
            fits: wanted.vector.then_some(self.memory >= wanted.bytes),
        }
    }

    async fn run(
        self,
        reports: mpsc::Sender<Report>,
        cancel: CancellationToken,
    ) -> (i32, Result<()>) {
        let built = match self.build(&reports, &cancel, true).await {
            // Parallel builds of vector indexes share memory through /dev/shm, which containers keep small.
            Err(error) if lacks_shared_memory(&error) => {
                let text = format!(
                    "index {}: too little shared memory, building without parallel workers",
                    self.record.plan.name
                );
                // The receiver only goes away with the run.
                let _ = reports.send(Report::Event(Event::Notice { text })).await;
                self.build(&reports, &cancel, false).await
            }
            built => built,
        };
        (self.record.ordinal, built)
    }

    async fn build(
        &self,
        reports: &mpsc::Sender<Report>,
        cancel: &CancellationToken,
        parallel: bool,
    ) -> Result<()> {
        let begun = Instant::now();
        let name = &self.record.plan.name;
        let mut session =
            Session::open(&self.target, Side::Target, &format!("index {name}")).await?;
        let workers = if parallel { "" } else { "SET max_parallel_maintenance_workers = 0; " };
        let settings = format!(
            "{}; {workers}SET maintenance_work_mem = '{}kB'; {}",
            store::enlist_sql(),
            self.memory / 1024,
            match self.concurrently {
                // It waits for transactions, not in anybody's way.
                true => "SET lock_timeout = 0".to_owned(),
                false => format!("SET lock_timeout = {}; BEGIN", self.lock_timeout.as_millis()),
            }
        );
        session.batch("prepare an index build", &settings).await?;
        let pid: i32 =
            session.query_one("read our process id", "SELECT pg_backend_pid()", &[]).await?.get(0);
        let _ = reports.send(Report::Session(pid, name.clone())).await;
        let doing = format!("build index {name} on {}", self.record.plan.table.plain());
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                // The server would notice our hanging up only at the end of the build.
                session.cancel(&self.target).await?;
                return Err(Error::Interrupted);
            }
            built = self.create(&session, &doing) => built?,
        }
        let notices = session.take_notices();
        store::index_finished(
            &session,
            &self.migration,
            self.record.ordinal,
            begun.elapsed().as_secs_f64(),
            &notices,
        )
        .await?;
        if !self.concurrently {
            session.batch("commit an index", "COMMIT").await?;
        }
        for text in notices {
            let _ = reports
                .send(Report::Event(Event::Notice { text: format!("index {name}: {text}") }))
                .await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let _ = reports
            .send(Report::Event(Event::IndexFinished { index: name.clone(), seconds }))
            .await;
        Ok(())
    }
}

impl Build {
    async fn create(&self, session: &Session, doing: &str) -> Result<()> {
        if !self.concurrently {
            return session.batch(doing, &self.create).await;
        }
        let table = &self.record.plan.table;
        let name = QualifiedName::new(&table.schema, &self.record.plan.name).to_string();
        let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
        match session.query_opt("look for an index", sql, &[&name]).await?.map(|row| row.get(0)) {
            Some(true) => return Ok(()),
            Some(false) => {
                let sql = format!("DROP INDEX CONCURRENTLY {name}");
                session.batch("drop what an interrupted build left", &sql).await?;
            }
            None => {}
        }
        session.batch(doing, &IndexPlan::concurrently(&self.create)).await
    }
}

fn lacks_shared_memory(error: &Error) -> bool {
    let Error::Postgres { failure, .. } = error else { return false };
    failure.sqlstate() == Some("53100") && failure.to_string().contains("shared memory")
}

/// Builds the target's own indexes again that were dropped for an abandoned migration, one by one.
///
/// # Errors
/// [`Error::Postgres`] on the target.
pub(crate) async fn rebuild_dropped(session: &Session, records: &[IndexRecord]) -> Result<()> {
    for record in records.iter().filter(|record| record.plan.from_target) {
        let plan = &record.plan;
        let there = "SELECT to_regclass($1) IS NOT NULL";
        let name = format!("{}.{}", quote_ident(&plan.table.schema), quote_ident(&plan.name));
        if !session.query_one("look for an index", there, &[&name]).await?.get::<_, bool>(0) {
            session.batch(&format!("build index {} again", plan.name), &plan.create).await?;
            for statement in &plan.attach {
                session.batch("attach a constraint to its index", statement).await?;
            }
        }
    }
    Ok(())
}
