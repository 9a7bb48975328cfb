//! The record in a file, for operators without a route to the target.
//!
//! SQLite in WAL mode, so that `status` reads while a run writes; `synchronous = FULL`, because a launch follows what
//! was written down. One thread owns the connection and takes jobs from a bounded channel: SQLite blocks, and a
//! transaction is never held across an await. The lock is an advisory one on a file beside it (`<file>.lock`), which the
//! system gives back when the process ends however it ends; SQLite's own locks protect single transactions only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::record::{AttemptRow, BotRow};
use super::{AttemptRecord, Batch, BotRecord, Counts, MigrationStore, RunRecord, Settings};
use crate::bot::BotKey;
use crate::error::{Error, Result};
use crate::reembed::estimate::Estimate;

/// Layout of the file, kept in `user_version`. Layout 1 had no estimates; opening such a file adds them.
const LAYOUT: i32 = 2;

/// Jobs that wait for the thread. Callers wait for their answers, so there are never more than a few.
const JOBS: usize = 16;

/// `status` may hold the file's lock for the moment in which it looks who has it.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How long a transaction waits for another process's one.
const BUSY: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The store in a file.
pub struct SqliteStore {
    path: PathBuf,
    /// Dropping it ends the thread, which closes the file.
    jobs: mpsc::Sender<Job>,
    lock: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens the file, making it and its tables where they are missing.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot be opened or is no such file, [`Error::Configuration`] when another version of
    /// vecferry wrote it.
    pub async fn open(path: &Path) -> Result<SqliteStore> {
        let (jobs, inbox) = mpsc::channel(JOBS);
        let (opened, ready) = oneshot::channel();
        let (owned, name) = (path.to_owned(), "vecferry record".to_owned());
        std::thread::Builder::new()
            .name(name)
            .spawn(move || work(&owned, inbox, opened))
            .map_err(|source| Error::Local { doing: "start a thread".into(), source })?;
        ready.await.map_err(|_| gone())??;
        Ok(SqliteStore { path: path.to_owned(), jobs, lock: Mutex::default() })
    }

    /// Runs a job on the thread, in a transaction that is committed when the job succeeds.
    async fn transact<T, F>(&self, doing: &'static str, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: Job = Box::new(move |connection| {
            let outcome = connection.transaction().and_then(|transaction| {
                let value = job(&transaction)?;
                transaction.commit()?;
                Ok(value)
            });
            // Nobody waits any more when the caller was cancelled; the transaction stands.
            let _ = answer.send(outcome);
        });
        self.jobs.send(run).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(|error| failed(doing, &self.path, error))
    }

    fn lock_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        path.into()
    }

    fn lock_file(&self) -> Result<File> {
        let path = self.lock_path();
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| Error::Local { doing: format!("open {}", path.display()), source })
    }
}

/// Owns the connection until nobody can send jobs any more.
fn work(path: &Path, mut inbox: mpsc::Receiver<Job>, opened: oneshot::Sender<Result<()>>) {
    let mut connection = match open(path) {
        Ok(connection) => connection,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    while let Some(job) = inbox.blocking_recv() {
        job(&mut connection);
    }
}

fn open(path: &Path) -> Result<Connection> {
    let prepare = || -> rusqlite::Result<(Connection, i32)> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let layout = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((connection, layout))
    };
    let (mut connection, layout) = prepare().map_err(|error| failed("open", path, error))?;
    if !(0..=LAYOUT).contains(&layout) {
        return Err(Error::Configuration {
            what: format!(
                "{} has layout {layout}, and this version of vecferry knows {LAYOUT}",
                path.display()
            ),
            hint: Some("go on with the version that began it, or name another file".into()),
        });
    }
    let create = || -> rusqlite::Result<()> {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        match transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))? {
            0 => transaction.execute_batch(include_str!("sqlite.sql"))?,
            1 => transaction.execute_batch("ALTER TABLE run ADD COLUMN estimate TEXT")?,
            _ => return Ok(()),
        }
        transaction.pragma_update(None, "user_version", LAYOUT)?;
        transaction.commit()
    };
    // A reader of a finished file need not write to it.
    if layout < LAYOUT {
        let mut create = create;
        create().map_err(|error| failed("prepare", path, error))?;
    }
    Ok(connection)
}

fn failed(doing: &str, path: &Path, error: rusqlite::Error) -> Error {
    let doing = format!("{doing} ({})", path.display());
    Error::Local { doing, source: std::io::Error::other(error) }
}

fn gone() -> Error {
    Error::Bug { what: "the thread that keeps the record has ended".into() }
}

fn json_text(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A text column that holds JSON.
fn json_column<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error: jiff::Error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// SQLite's integers are signed.
fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

fn signed(number: Option<u64>) -> Option<i64> {
    number.map(u64::cast_signed)
}

/// A column that the schema says is not null.
fn required<T>(value: Option<T>) -> rusqlite::Result<T> {
    value.ok_or(rusqlite::Error::InvalidQuery)
}

fn bot_row(row: &Row<'_>) -> rusqlite::Result<BotRow> {
    Ok(BotRow {
        owner: row.get("owner")?,
        bot: row.get("bot")?,
        title: row.get("title")?,
        documents: row.get("documents")?,
        state: row.get("state")?,
        token: row.get("token")?,
        task: row.get("task")?,
        retryable: row.get("retryable")?,
        attempts: row.get("attempts")?,
        reason: row.get("reason")?,
        rows: number(row, "rows")?,
        tokens: number(row, "tokens")?,
        reused: number(row, "reused")?,
        finished_at: time(row, "finished_at")?,
    })
}

fn attempt_row(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        owner: row.get("owner")?,
        bot: row.get("bot")?,
        number: row.get("number")?,
        token: row.get("token")?,
        task: row.get("task")?,
        launched_at: required(time(row, "launched_at")?)?,
        seen: json_column(row, "seen")?,
        ended: json_column(row, "ended")?,
    })
}

const WRITE_BOT: &str = "INSERT INTO bot_state VALUES (:run, :owner, :bot, :title, :documents, :state, :token, :task, \
    :retryable, :attempts, :reason, :rows, :tokens, :reused, :finished_at) \
    ON CONFLICT DO UPDATE SET title = excluded.title, documents = excluded.documents, state = excluded.state, \
    token = excluded.token, task = excluded.task, retryable = excluded.retryable, attempts = excluded.attempts, \
    reason = excluded.reason, rows = excluded.rows, tokens = excluded.tokens, reused = excluded.reused, \
    finished_at = excluded.finished_at";

const WRITE_ATTEMPT: &str = "INSERT INTO bot_attempt VALUES (:run, :owner, :bot, :number, :token, :task, :launched_at, \
    :seen, :ended) ON CONFLICT DO UPDATE SET token = excluded.token, task = excluded.task, \
    launched_at = excluded.launched_at, seen = excluded.seen, ended = excluded.ended";

fn write(
    transaction: &rusqlite::Transaction<'_>,
    run: &str,
    batch: &Batch,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(WRITE_BOT)?;
    for row in batch.bots.iter().map(BotRow::from) {
        statement.execute(named_params! {
            ":run": run, ":owner": row.owner, ":bot": row.bot, ":title": row.title, ":documents": row.documents,
            ":state": row.state, ":token": row.token, ":task": row.task, ":retryable": row.retryable,
            ":attempts": row.attempts, ":reason": row.reason, ":rows": signed(row.rows), ":tokens": signed(row.tokens),
            ":reused": signed(row.reused), ":finished_at": row.finished_at.map(|at| at.to_string()),
        })?;
    }
    let mut statement = transaction.prepare_cached(WRITE_ATTEMPT)?;
    for row in batch.attempts.iter().map(AttemptRow::from) {
        let seen = row.seen.as_ref().map(json_text).transpose()?;
        let ended = row.ended.as_ref().map(json_text).transpose()?;
        statement.execute(named_params! {
            ":run": run, ":owner": row.owner, ":bot": row.bot, ":number": row.number, ":token": row.token,
            ":task": row.task, ":launched_at": row.launched_at.to_string(), ":seen": seen, ":ended": ended,
        })?;
    }
    Ok(())
}

#[async_trait]
impl MigrationStore for SqliteStore {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    async fn lock(&self) -> Result<()> {
        let mut lock = self.lock.lock().await;
        if lock.is_some() {
            return Ok(());
        }
        let mut file = self.lock_file()?;
        let taken = async {
            loop {
                match file.try_lock() {
                    Err(TryLockError::WouldBlock) => {
                        tokio::time::sleep(LOCK_PATIENCE / 20).await;
                    }
                    Err(TryLockError::Error(source)) => return Err(source),
                    Ok(()) => return Ok(()),
                }
            }
        };
        let Ok(taken) = tokio::time::timeout(LOCK_PATIENCE, taken).await else {
            return Err(Error::Configuration {
                what: format!(
                    "another run works with {} ({})",
                    self.path.display(),
                    named_holder(&mut file)
                ),
                hint: Some("watch it with `vecferry status`, or end that process".into()),
            });
        };
        taken.map_err(|source| Error::Local {
            doing: format!("lock {}", self.lock_path().display()),
            source,
        })?;
        // For people; the lock itself is the system's.
        let noted = file.set_len(0).and_then(|()| file.rewind());
        noted.and_then(|()| write!(file, "{}", std::process::id())).map_err(|source| {
            Error::Local { doing: format!("write {}", self.lock_path().display()), source }
        })?;
        *lock = Some(file);
        Ok(())
    }

    async fn unlock(&self) -> Result<()> {
        // Closing the file gives the lock back.
        self.lock.lock().await.take();
        Ok(())
    }

    async fn holder(&self) -> Result<Option<String>> {
        if self.lock.lock().await.is_some() {
            return Ok(Some("this process".into()));
        }
        let mut file = self.lock_file()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Ok(Some(named_holder(&mut file))),
            Err(TryLockError::Error(source)) => {
                Err(Error::Local { doing: format!("lock {}", self.lock_path().display()), source })
            }
            Ok(()) => Ok(None),
        }
    }

    async fn newest(&self) -> Result<Option<RunRecord>> {
        self.transact("read the run", |transaction| {
            let sql = "SELECT * FROM run ORDER BY started_at DESC, id DESC LIMIT 1";
            transaction
                .query_row(sql, [], |row| {
                    Ok(RunRecord {
                        id: row.get("id")?,
                        settings: required(json_column(row, "settings")?)?,
                        started_at: required(time(row, "started_at")?)?,
                        finished_at: time(row, "finished_at")?,
                        seconds: row.get("seconds")?,
                        last_error: row.get("last_error")?,
                        estimate: json_column(row, "estimate")?,
                    })
                })
                .optional()
        })
        .await
    }

    async fn begin(
        &self,
        id: &str,
        settings: &Settings,
        estimate: Option<&Estimate>,
    ) -> Result<()> {
        let (id, settings, estimate) = (id.to_owned(), settings.clone(), estimate.cloned());
        self.transact("record the run", move |transaction| {
            // A finished run that is taken up, for bots that have come since, is not finished any more.
            let sql = "INSERT INTO run (id, settings, started_at, estimate) VALUES (?, ?, ?, ?) \
                       ON CONFLICT DO UPDATE SET finished_at = NULL, \
                       estimate = COALESCE(excluded.estimate, estimate)";
            let (now, settings) = (Timestamp::now().to_string(), json_text(&settings)?);
            let estimate = estimate.as_ref().map(json_text).transpose()?;
            transaction.execute(sql, params![id, settings, now, estimate]).map(drop)
        })
        .await
    }

    async fn bots(&self, run: &str) -> Result<Vec<BotRecord>> {
        let run = run.to_owned();
        let rows = self.transact("read the bots' record", move |transaction| {
            let sql = "SELECT * FROM bot_state WHERE run = ? ORDER BY owner, bot";
            transaction.prepare(sql)?.query_map([run], bot_row)?.collect::<Result<Vec<_>, _>>()
        });
        rows.await?.into_iter().map(BotRecord::try_from).collect()
    }

    async fn attempts(&self, run: &str, bot: Option<&BotKey>) -> Result<Vec<AttemptRecord>> {
        let (run, bot) = (run.to_owned(), bot.cloned());
        let rows = self.transact("read the attempts", move |transaction| {
            let (owner, id) = (bot.as_ref().map(|bot| &bot.owner), bot.as_ref().map(|bot| &bot.id));
            let sql = "SELECT * FROM bot_attempt WHERE run = ?1 AND (?2 IS NULL OR owner = ?2 AND bot = ?3) \
                       ORDER BY owner, bot, number";
            let mut statement = transaction.prepare(sql)?;
            statement.query_map(params![run, owner, id], attempt_row)?.collect::<Result<Vec<_>, _>>()
        });
        Ok(rows.await?.into_iter().map(AttemptRecord::from).collect())
    }

    async fn counts(&self, run: &str) -> Result<Counts> {
        let run = run.to_owned();
        self.transact("count the bots", move |transaction| {
            let mut counts = Counts::default();
            let sql = "SELECT state, count(*) FROM bot_state WHERE run = ? GROUP BY state";
            let mut statement = transaction.prepare(sql)?;
            let mut rows = statement.query([run])?;
            while let Some(row) = rows.next()? {
                *counts.place(&row.get::<_, String>(0)?) += row.get::<_, i64>(1)?.cast_unsigned();
            }
            Ok(counts)
        })
        .await
    }

    async fn write(&self, run: &str, batch: &Batch) -> Result<()> {
        let (run, batch) = (run.to_owned(), batch.clone());
        self.transact("record bots", move |transaction| write(transaction, &run, &batch)).await
    }

    async fn end(&self, run: &str, seconds: f64, why: Option<&str>) -> Result<()> {
        let (run, why) = (run.to_owned(), why.map(str::to_owned));
        self.transact("record the run's end", move |transaction| {
            let finished = why.is_none().then(|| Timestamp::now().to_string());
            let sql = "UPDATE run SET seconds = seconds + ?2, last_error = ?3, finished_at = ?4 WHERE id = ?1";
            transaction.execute(sql, params![run, seconds, why, finished]).map(drop)
        })
        .await
    }

    async fn forget(&self, run: &str) -> Result<()> {
        let run = run.to_owned();
        self.transact("forget the run", move |transaction| {
            transaction.execute("DELETE FROM run WHERE id = ?", [run]).map(drop)
        })
        .await
    }
}

/// The process that wrote itself into the lock's file.
fn named_holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
        Ok(_) if !text.is_empty() => format!("process {}", text.trim()),
        _ => "another process".into(),
    }
}
