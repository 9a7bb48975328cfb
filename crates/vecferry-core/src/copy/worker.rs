//! One copy worker: a pair of connections that takes parts off the queue until it is empty.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::part::{Part, column_list, select};
use super::stream::{CopyQuery, Pipe, forward, keyword};
use super::{PartReport, Passed};
use crate::error::{Error, Result, Side};
use crate::pg::WireConnection;
use crate::policy::Clusters;
use crate::source::{SnapshotBounds, import_snapshot};
use crate::store::{Relation, enlist_sql, part_finished_sql};

/// Everything a worker needs; it shares the queue and the counters with the others.
pub(super) struct Worker {
    pub(super) clusters: Clusters,
    pub(super) migration: String,
    /// Name of the exported snapshot.
    pub(super) snapshot: String,
    pub(super) bounds: SnapshotBounds,
    /// Source tables to lock at the start; `None` when a table may be locked only while a part of it is read, and is
    /// looked at afterwards.
    pub(super) locked: Option<Arc<Vec<String>>>,
    pub(super) lock_timeout: Duration,
    /// Whether `session_replication_role` may be set, which keeps a prepared table's triggers and foreign keys quiet.
    pub(super) silence_triggers: bool,
    pub(super) relations: Arc<HashMap<u32, Relation>>,
    pub(super) queue: Arc<Mutex<VecDeque<Part>>>,
    pub(super) passed: Arc<Passed>,
    pub(super) reports: mpsc::Sender<PartReport>,
    pub(super) cancel: CancellationToken,
}

impl Worker {
    /// Runs on the calling thread until the queue is empty.
    pub(super) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Local { doing: "start a copy worker".into(), source })?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                // Dropping the connections in the middle is safe: the target rolls back what is not committed.
                () = self.cancel.cancelled() => Err(Error::Interrupted),
                ended = self.work() => ended,
            }
        })
    }

    async fn work(&self) -> Result<()> {
        let mut source = WireConnection::open(&self.clusters.source, Side::Source, "copy").await?;
        let mut target = WireConnection::open(&self.clusters.target, Side::Target, "copy").await?;
        let timeout = format!("SET lock_timeout = {}", self.lock_timeout.as_millis());
        source.simple("set the lock timeout", &timeout).await?;
        import_snapshot(&mut source, &self.snapshot).await?;
        if let Some(tables) = self.locked.as_ref().filter(|tables| !tables.is_empty()) {
            let lock = format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", tables.join(", ONLY "));
            source.simple("lock the tables against schema changes", &lock).await?;
        }
        target.simple("prepare the session", &self.target_settings()).await?;
        while let Some(part) = self.next_part() {
            self.copy(&part, &mut source, &mut target).await?;
            if self.locked.is_none() {
                source.simple("let the table go", "COMMIT").await?;
                import_snapshot(&mut source, &self.snapshot).await?;
            }
        }
        Ok(())
    }

    fn target_settings(&self) -> String {
        let role =
            if self.silence_triggers { "; SET session_replication_role = replica" } else { "" };
        // See the module head of `copy` for why the commit need not wait for the disk.
        format!(
            "{}; SET synchronous_commit = off; SET lock_timeout = {}{role}",
            enlist_sql(),
            self.lock_timeout.as_millis()
        )
    }

    fn next_part(&self) -> Option<Part> {
        // A worker that panicked held the lock for a pop only; the queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn copy(
        &self,
        part: &Part,
        source: &mut WireConnection,
        target: &mut WireConnection,
    ) -> Result<()> {
        let started = Instant::now();
        let relation = self.relations.get(&part.table_oid).ok_or_else(|| Error::Bug {
            what: format!("a part of {} has no table", part.table.plain()),
        })?;
        let columns: Vec<&str> = relation.columns.iter().map(String::as_str).collect();
        let ours = relation.bot.as_deref().and_then(|bot| relation.preserved.ours(bot));
        let query = CopyQuery {
            table: part.table.plain(),
            select: select(&part.table, &columns, &[part.condition(), ours]),
            format: relation.format,
            by_bot: relation.bot.is_some(),
        };
        let insert = insert_statement(relation, &columns);
        target.simple("begin", "BEGIN").await?;
        let passed = |bytes, rows| self.passed.add(bytes, rows);
        let digests = forward(
            Pipe { source: &mut *source, target: &mut *target },
            &query,
            &insert,
            &self.cancel,
            &passed,
        )
        .await?;
        if self.locked.is_none() {
            look_at_file(source, relation).await?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let record = part_finished_sql(&self.migration, part, &digests, self.bounds, seconds);
        let was_open = !target.simple("record a part", &record).await?.is_empty();
        if !was_open {
            // An earlier run's commit arrived after we had read the record.
            target.simple("roll back a part that is finished", "ROLLBACK").await?;
            return Ok(());
        }
        target.simple("commit a part", "COMMIT").await?;
        let report = PartReport {
            part: part.clone(),
            rows: digests.total.rows,
            bytes: digests.bytes,
            seconds,
        };
        // The receiver only goes away with the run.
        let _ = self.reports.send(report).await;
        Ok(())
    }
}

/// Whether the table, locked since its part was read, is still in the file it was in when its parts were cut. The
/// function tells what is, whatever the snapshot shows.
async fn look_at_file(source: &mut WireConnection, relation: &Relation) -> Result<()> {
    let sql = format!("SELECT pg_relation_filenode({}::oid)::text", relation.oid);
    let rows = source.simple("look at a table's file", &sql).await?;
    let file = rows.into_iter().flatten().next().flatten();
    if file.as_deref() == Some(relation.relfilenode.to_string().as_str()) {
        return Ok(());
    }
    Err(Error::Rewritten { table: relation.name.plain() })
}

/// `COPY … FROM STDIN`; without columns (a table may have none) the list is left out.
fn insert_statement(relation: &Relation, columns: &[&str]) -> String {
    let list =
        if columns.is_empty() { String::new() } else { format!(" ({})", column_list(columns)) };
    format!("COPY {}{list} FROM STDIN (FORMAT {})", relation.name, keyword(relation.format))
}
