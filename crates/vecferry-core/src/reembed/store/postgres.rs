//! The record in schema `vecferry` on the target.
//!
//! A re-embedding is a row of `vecferry.migration` like any other migration, so that `status`, `cleanup` and a later
//! `migrate` know of it, and takes the same lock. A batch is one statement over JSON, whatever its size: one round trip,
//! one commit. The session is opened when first needed and again after it was lost; a store that holds the lock takes
//! it again first, so that an orchestrator whose place was taken meanwhile is refused instead of writing on.

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::{Json, ToSql};

use super::record::{AttemptRow, BotRow};
use super::{AttemptRecord, Batch, BotRecord, Counts, MigrationStore, RunRecord, Settings};
use crate::bot::BotKey;
use crate::error::{Class, Error, Result, Side};
use crate::pg::{Dsn, Session};
use crate::phase::{Phase, Route};
use crate::reembed::estimate::Estimate;
use crate::source::SourceIdentity;
use crate::store::{self, MigrationRecord};

/// The store on the target.
pub struct PostgresStore {
    target: Dsn,
    /// Whose bots it keeps: [`Route::Reembed`] or [`Route::Delta`]. The other one's record is none of its business.
    route: Route,
    connection: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    session: Option<Session>,
    /// Whether this store is the one orchestrator's.
    locked: bool,
}

impl PostgresStore {
    /// A store on the target; connects when it is first used.
    pub fn new(target: Dsn) -> PostgresStore {
        PostgresStore { target, route: Route::Reembed, connection: Mutex::default() }
    }

    /// The same for the bots of a `delta`, whose migration is there already.
    pub fn of_delta(target: Dsn) -> PostgresStore {
        PostgresStore { route: Route::Delta, ..PostgresStore::new(target) }
    }

    /// Waits for whoever uses the session, and opens it where there is none.
    async fn connect(&self) -> Result<Held<'_>> {
        let mut connection = self.connection.lock().await;
        let session = match connection.session.take() {
            Some(session) => session,
            None => {
                let session = Session::open(&self.target, Side::Target, "orchestrate").await?;
                // What is written down must outlive the server's crash: a launch follows it.
                session.batch("prepare the session", "SET synchronous_commit = on").await?;
                if connection.locked {
                    store::lock(&session).await?;
                }
                session
            }
        };
        Ok(Held { connection, session })
    }
}

/// The session while one caller uses it. Dropped without [`Held::keep`] (an error, a cancelled future) it is closed,
/// because nobody knows what state it is in.
struct Held<'a> {
    connection: MutexGuard<'a, Connection>,
    session: Session,
}

impl Held<'_> {
    fn keep(mut self) {
        self.connection.session = Some(self.session);
    }

    /// Passes a result on; a session that a server error leaves usable stays open, and with it the lock.
    fn done<T>(self, outcome: Result<T>) -> Result<T> {
        let lost = matches!(&outcome, Err(error) if error.class() == Class::Transient);
        if !lost {
            self.keep();
        }
        outcome
    }
}

/// One column of a query's only row as JSON, taken apart by serde: both stores read the same rows.
async fn read_json<T: DeserializeOwned>(
    session: &Session,
    doing: &str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<T>> {
    let rows = session.query(doing, sql, params).await?;
    rows.iter()
        .map(|row| {
            let Json(value): Json<serde_json::Value> = row.get(0);
            serde_json::from_value(value).map_err(|error| Error::Bug {
                what: format!("the record on the target is not as this version writes it: {error}"),
            })
        })
        .collect()
}

const BOTS: &str = r#"SELECT to_jsonb(b) FROM vecferry.bot_state b WHERE migration = $1 ORDER BY owner COLLATE "C", bot COLLATE "C""#;

const ATTEMPTS: &str = r#"SELECT to_jsonb(a) FROM vecferry.bot_attempt a WHERE migration = $1
    AND ($2::text IS NULL OR owner = $2 AND bot = $3)
    ORDER BY owner COLLATE "C", bot COLLATE "C", number"#;

/// Both upserts in one statement: attempts refer to bots, which the foreign key checks at the statement's end.
const WRITE: &str = "WITH bots AS (
    INSERT INTO vecferry.bot_state (migration, owner, bot, title, documents, state, token, task, retryable, attempts,
        reason, rows, tokens, reused, finished_at)
    SELECT $1, owner, bot, title, documents, state, token, task, retryable, attempts, reason, rows, tokens, reused,
        finished_at
    FROM jsonb_to_recordset($2) AS b(owner text, bot text, title text, documents int, state text, token text, task text,
        retryable boolean, attempts int, reason text, rows bigint, tokens bigint, reused bigint,
        finished_at timestamptz)
    ON CONFLICT (migration, owner, bot) DO UPDATE SET title = excluded.title, documents = excluded.documents,
        state = excluded.state, token = excluded.token, task = excluded.task, retryable = excluded.retryable,
        attempts = excluded.attempts, reason = excluded.reason, rows = excluded.rows, tokens = excluded.tokens,
        reused = excluded.reused, finished_at = excluded.finished_at),
attempts AS (
    INSERT INTO vecferry.bot_attempt (migration, owner, bot, number, token, task, launched_at, seen, ended)
    SELECT $1, owner, bot, number, token, task, launched_at, NULLIF(seen, 'null'), NULLIF(ended, 'null')
    FROM jsonb_to_recordset($3) AS a(owner text, bot text, number int, token text, task text, launched_at timestamptz,
        seen jsonb, ended jsonb)
    ON CONFLICT (migration, owner, bot, number) DO UPDATE SET token = excluded.token, task = excluded.task,
        launched_at = excluded.launched_at, seen = excluded.seen, ended = excluded.ended)
UPDATE vecferry.migration SET updated_at = clock_timestamp() WHERE id = $1";

#[derive(serde::Deserialize)]
struct RunRow {
    id: String,
    settings: Settings,
    started_at: jiff::Timestamp,
    finished_at: Option<jiff::Timestamp>,
    seconds: f64,
    last_error: Option<String>,
    estimate: Option<Estimate>,
}

/// The estimate is asked for through JSON, because a run of an earlier version has no such column.
const RUN: &str = "SELECT jsonb_build_object('id', m.id, 'settings', r.settings, 'started_at', m.started_at, \
    'finished_at', m.finished_at, 'seconds', COALESCE((m.phase_seconds->>'embedding')::float8, 0), \
    'last_error', m.last_error, 'estimate', to_jsonb(r)->'estimate') FROM vecferry.migration m JOIN vecferry.bot_run r ON r.migration = m.id WHERE m.id = $1";

#[async_trait]
impl MigrationStore for PostgresStore {
    fn describe(&self) -> String {
        format!("schema vecferry on {}/{}", self.target.address(), self.target.database)
    }

    async fn lock(&self) -> Result<()> {
        let mut held = self.connect().await?;
        if !held.connection.locked {
            // A refused one leaves no session behind.
            store::lock(&held.session).await?;
            held.connection.locked = true;
        }
        held.keep();
        Ok(())
    }

    async fn unlock(&self) -> Result<()> {
        let mut connection = self.connection.lock().await;
        connection.locked = false;
        match connection.session.take() {
            Some(session) => store::unlock(&session).await,
            None => Ok(()),
        }
    }

    async fn holder(&self) -> Result<Option<String>> {
        let held = self.connect().await?;
        let holder = store::lock_holder(&held.session).await;
        held.done(holder)
    }

    async fn newest(&self) -> Result<Option<RunRecord>> {
        let held = self.connect().await?;
        let run = newest(&held.session, self.route).await;
        held.done(run)
    }

    async fn begin(
        &self,
        id: &str,
        settings: &Settings,
        estimate: Option<&Estimate>,
    ) -> Result<()> {
        let held = self.connect().await?;
        let begun = begin(&held.session, self.route, (id, settings), estimate).await;
        held.done(begun)
    }

    async fn bots(&self, run: &str) -> Result<Vec<BotRecord>> {
        let held = self.connect().await?;
        let rows: Result<Vec<BotRow>> =
            read_json(&held.session, "read the bots' record", BOTS, &[&run]).await;
        held.done(rows)?.into_iter().map(BotRecord::try_from).collect()
    }

    async fn attempts(&self, run: &str, bot: Option<&BotKey>) -> Result<Vec<AttemptRecord>> {
        let held = self.connect().await?;
        let (owner, id) = (bot.map(|bot| &bot.owner), bot.map(|bot| &bot.id));
        let rows: Result<Vec<AttemptRow>> =
            read_json(&held.session, "read the attempts", ATTEMPTS, &[&run, &owner, &id]).await;
        Ok(held.done(rows)?.into_iter().map(AttemptRecord::from).collect())
    }

    async fn counts(&self, run: &str) -> Result<Counts> {
        let held = self.connect().await?;
        let counts = bot_counts(&held.session, run).await.map(Option::unwrap_or_default);
        held.done(counts)
    }

    async fn write(&self, run: &str, batch: &Batch) -> Result<()> {
        let held = self.connect().await?;
        let bots = json(batch.bots.iter().map(BotRow::from).collect::<Vec<_>>());
        let attempts = json(batch.attempts.iter().map(AttemptRow::from).collect::<Vec<_>>());
        let written =
            held.session.execute("record bots", WRITE, &[&run, &bots, &attempts]).await.map(drop);
        held.done(written)
    }

    async fn end(&self, run: &str, seconds: f64, why: Option<&str>) -> Result<()> {
        let held = self.connect().await?;
        let spent = (Phase::Embedding, seconds);
        let ended = match why {
            None => store::enter(&held.session, run, Phase::Done, Some(spent)).await,
            Some(why) => store::note_interruption(&held.session, run, spent, why).await,
        };
        held.done(ended)
    }

    async fn forget(&self, run: &str) -> Result<()> {
        let held = self.connect().await?;
        let forgotten = store::forget(&held.session, run).await;
        held.done(forgotten)
    }
}

fn json<T: Serialize + std::fmt::Debug>(rows: Vec<T>) -> Json<Vec<T>> {
    Json(rows)
}

async fn newest(session: &Session, route: Route) -> Result<Option<RunRecord>> {
    if !store::exists(session).await? {
        return Ok(None);
    }
    let record = MigrationRecord::newest(session).await?;
    let Some(record) = record.filter(|record| record.route == route) else {
        return Ok(None);
    };
    // A delta has none of it until its bots' turn comes.
    let there = "SELECT to_regclass('vecferry.bot_run') IS NOT NULL";
    if !session.query_one("look for the run", there, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let rows: Vec<RunRow> = read_json(session, "read the run", RUN, &[&record.id]).await?;
    Ok(rows.into_iter().next().map(|row| RunRecord {
        id: row.id,
        settings: row.settings,
        started_at: row.started_at,
        finished_at: row.finished_at,
        seconds: row.seconds,
        last_error: row.last_error,
        estimate: row.estimate,
    }))
}

async fn begin(
    session: &Session,
    route: Route,
    (id, settings): (&str, &Settings),
    estimate: Option<&Estimate>,
) -> Result<()> {
    if store::exists(session).await?
        && let Some(record) = MigrationRecord::newest(session).await?
        && record.phase != Phase::Done
        && record.id != id
    {
        let method = record.route.method();
        return Err(Error::Refused {
            side: Side::Target,
            what: format!("the target holds an unfinished migration by {method}"),
            hint: Some(format!(
                "go on with --method {method}, or end it with `vecferry cleanup` first"
            )),
        });
    }
    store::prepare(session).await?;
    session.batch("begin", "BEGIN").await?;
    let recorded = async {
        // The migration of a delta is as old as its first row.
        if route == Route::Reembed {
            let source = SourceIdentity::of_registry(&settings.registry);
            store::insert(session, id, route, &source, &[]).await?;
        }
        begin_run(session, id, settings).await?;
        if let Some(estimate) = estimate {
            let sql = "UPDATE vecferry.bot_run SET estimate = $2 WHERE migration = $1";
            session.execute("record the estimate", sql, &[&id, &Json(estimate)]).await?;
        }
        // A finished run that is taken up, for bots that have come since, is not finished any more.
        let sql = "UPDATE vecferry.migration SET phase = 'embedding', finished_at = NULL, \
                   updated_at = clock_timestamp() WHERE id = $1";
        session.execute("record that the run goes on", sql, &[&id]).await?;
        session.batch("commit", "COMMIT").await
    };
    match recorded.await {
        Ok(()) => Ok(()),
        Err(error) => {
            session.batch("roll back", "ROLLBACK").await?;
            Err(error)
        }
    }
}

/// Opens the record of a migration's bots, in the caller's transaction. One that is open stays as it is.
///
/// # Errors
/// [`Error::Postgres`] when the target fails.
pub(crate) async fn begin_run(session: &Session, id: &str, settings: &Settings) -> Result<()> {
    let sql = include_str!("schema.sql");
    session.batch("create the tables for the bots' record", sql).await?;
    let sql =
        "INSERT INTO vecferry.bot_run (migration, settings) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    session.execute("record the run", sql, &[&id, &Json(settings)]).await?;
    Ok(())
}

/// How many bots of a migration are where; `None` before the first was recorded.
pub(crate) async fn bot_counts(session: &Session, run: &str) -> Result<Option<Counts>> {
    let there = "SELECT to_regclass('vecferry.bot_state') IS NOT NULL";
    if !session.query_one("look for the bots", there, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let sql = "SELECT state, count(*) FROM vecferry.bot_state WHERE migration = $1 GROUP BY state";
    let mut counts = Counts::default();
    for row in session.query("count the bots", sql, &[&run]).await? {
        *counts.place(row.get(0)) += row.get::<_, i64>(1).cast_unsigned();
    }
    Ok(Some(counts))
}
