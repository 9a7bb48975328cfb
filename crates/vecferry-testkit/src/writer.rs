//! An application-like writer that remembers what the servers acknowledged: a seeded random mix of
//! writes over several connections, and afterwards the proof that nothing acknowledged was lost
//! and nothing refused came through, on whichever cluster the application ended up.
//!
//! It runs on a thread and runtime of its own, so that tests with and without a runtime can use
//! it. Each bot belongs to one connection, so what must be in its rows is known without looking. A
//! lost connection or a refusal never stops it: it notes the outcome and tries its next write. A
//! bot whose last write has an unknown outcome is left as it is and replaced by a fresh one.
//!
//! ```no_run
//! # async fn example() -> Result<(), vecferry_testkit::Error> {
//! # use std::time::Duration;
//! # use vecferry_testkit::{Database, Writer, WriterOptions, pair};
//! let source = Database::with_vector(&pair().await.source, "app").await?;
//! let options = WriterOptions { rate: Some(500.0), ..WriterOptions::new(source.url()) };
//! source.batch(&options.tables()).await?;
//! let writer = Writer::start(options)?;
//! writer.wait_for_acknowledged(1000, Duration::from_secs(60));
//! let ledger = writer.stop();
//! assert_eq!(ledger.check(source.url()).await?, [] as [String; 0]);
//! # Ok(()) }
//! ```

mod book;
mod check;
mod ledger;
mod link;
mod lot;
mod outcome;
mod plan;
mod state;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use book::Book;
use state::Shared;
use worker::{Command, Worker};

pub use ledger::{Ledger, Uncertain, Visit, percentile};
pub use outcome::{Kind, Operation, Outcome};
pub use plan::Mix;

/// A vector says its version and key in its first numbers.
const LEAST_DIMENSIONS: usize = 3;

/// What is written, where and how fast.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// The database to begin with.
    pub url: String,
    /// A file that says where to write; when what it says changes, the writer goes there. Read
    /// after every failure, and by each connection every [`WriterOptions::url_file_every`] writes.
    /// It need not exist.
    pub url_file: Option<PathBuf>,
    /// See [`WriterOptions::url_file`].
    pub url_file_every: u32,
    /// Connections that write at the same time.
    pub connections: usize,
    /// Writes (statements of their own, or transactions) per second over all connections; as fast
    /// as possible when `None`.
    pub rate: Option<f64>,
    /// The same seed gives each connection the same sequence of choices.
    pub seed: u64,
    /// The table, as SQL names it, with columns id, botid, content, source, embedding.
    pub table: String,
    /// A table `(id char(26) primary key, content text)` that rows are put in and that is
    /// truncated. Nothing else may write to it. The first connection does, until the outcome of a
    /// write to it is unknown.
    pub side_table: Option<String>,
    /// Dimensions of the embeddings, at least 3.
    pub dimensions: usize,
    /// Bytes of each content, about.
    pub text_length: usize,
    /// Bots that each connection writes to.
    pub bots_per_connection: usize,
    /// Rows a bot begins with; it is replaced when it has grown to more than twice as many.
    pub rows_per_bot: u64,
    /// Which writes, how often.
    pub mix: Mix,
    /// How long to wait for one answer before the connection is given up and the outcome unknown.
    /// A server that got the commit may still do it, so let it come to rest before a check.
    pub patience: Duration,
}

impl WriterOptions {
    /// Four connections, each with four bots of about 50 rows of 16 dimensions in `items`, as fast
    /// as possible.
    pub fn new(url: &str) -> WriterOptions {
        WriterOptions {
            url: url.to_owned(),
            url_file: None,
            url_file_every: 20,
            connections: 4,
            rate: None,
            seed: 1,
            table: "items".into(),
            side_table: None,
            dimensions: 16,
            text_length: 300,
            bots_per_connection: 4,
            rows_per_bot: 50,
            mix: Mix::default(),
            patience: Duration::from_secs(60),
        }
    }

    /// SQL that creates the tables where they are not there; the extension must be.
    pub fn tables(&self) -> String {
        let (table, dimensions) = (&self.table, self.dimensions);
        let mut sql = format!(
            "CREATE TABLE IF NOT EXISTS {table} (
                 id char(26) PRIMARY KEY, botid char(26) NOT NULL, content text NOT NULL,
                 source text NOT NULL, embedding vector({dimensions}) NOT NULL);
             CREATE INDEX IF NOT EXISTS idx_items_botid ON {table} (botid);"
        );
        if let Some(side) = &self.side_table {
            sql += &format!(
                "CREATE TABLE IF NOT EXISTS {side} (id char(26) PRIMARY KEY, content text NOT NULL);"
            );
        }
        sql
    }
}

/// How far a writer has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Writes acknowledged so far.
    pub acknowledged: u64,
    /// Of those, at the database it writes to now.
    pub acknowledged_here: u64,
    /// Writes that a server refused.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// The database it writes to now: `host:port/database`.
    pub database: String,
    /// How many changes of database there were.
    pub redirects: usize,
}

/// A writer at work; it stops when dropped.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    command: watch::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts writing. The tables must be there; the server need not.
    pub fn start(options: WriterOptions) -> Result<Writer> {
        if options.dimensions < LEAST_DIMENSIONS {
            let what = format!("the writer needs vectors of {LEAST_DIMENSIONS} dimensions or more");
            return Err(Error::Writer { what });
        }
        let book = Book::new(options.seed, options.dimensions, options.text_length)?;
        let shared = Arc::new(Shared::new(options, book));
        let (command, commands) = watch::channel(Command::Run);
        let workers: Vec<Worker> = (0..shared.options.connections.max(1))
            .map(|number| Worker::new(number, shared.clone(), commands.clone()))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Writer {
            what: format!("the writer's runtime did not start: {error}"),
        })?;
        let thread_shared = shared.clone();
        let body = move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                workers.into_iter().for_each(|worker| drop(tasks.spawn(worker.run())));
                while let Some(ended) = tasks.join_next().await {
                    if let Err(panic) = ended {
                        let what = format!("a connection of the writer broke down: {panic}");
                        thread_shared.lock().surprises.push(what);
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(body);
        let thread = thread.map_err(|error| Error::Writer {
            what: format!("the writer's thread did not start: {error}"),
        })?;
        Ok(Writer { shared, command, thread: Some(thread) })
    }

    /// Sends all further writes to another database, as an application's switch does. A write that
    /// is under way ends where it began.
    pub fn redirect(&self, url: &str) {
        self.shared.redirect(url);
    }

    /// How far it has got.
    pub fn progress(&self) -> Progress {
        let state = self.shared.lock();
        let here = state.visits.last();
        Progress {
            acknowledged: state.visits.iter().map(|visit| visit.acknowledged).sum(),
            acknowledged_here: here.map_or(0, |visit| visit.acknowledged),
            refused: state.count(|outcome| outcome.sqlstate().is_some()),
            unknown: state.count(|outcome| outcome == Outcome::Unknown),
            database: here.map(|visit| visit.database.clone()).unwrap_or_default(),
            redirects: state.visits.len() - 1,
        }
    }

    /// Time since the start, on the clock of the ledger.
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Waits until so many *more* writes are acknowledged at the database it writes to then; whether
    /// they were, in time. Blocks the calling thread.
    pub fn wait_for_acknowledged(&self, more: u64, within: Duration) -> bool {
        let here = |state: &state::State| state.visits.last().map_or(0, |visit| visit.acknowledged);
        let (visits, had) = {
            let state = self.shared.lock();
            (state.visits.len(), here(&state))
        };
        self.shared.wait_until(within, move |state| {
            let had = if state.visits.len() == visits { had } else { 0 };
            here(state) >= had + more
        })
    }

    /// Waits until it has been redirected so often in all and a write was acknowledged after it;
    /// whether that came in time. Blocks the calling thread.
    pub fn wait_for_redirect(&self, redirects: usize, within: Duration) -> bool {
        self.shared.wait_until(within, move |state| {
            state.visits.get(redirects).is_some_and(|visit| visit.acknowledged > 0)
        })
    }

    /// Lets every connection end its write and wait, and gives the ledger so far. Blocks until they
    /// rest, at most for [`WriterOptions::patience`] and a bit.
    pub fn pause(&self) -> Result<Ledger> {
        // Nobody listening means that all have ended, which is rest as well.
        let _ = self.command.send(Command::Pause);
        let options = &self.shared.options;
        // Work and commit, each with its patience, and connecting.
        let within = 2 * options.patience + options.mix.hold + Duration::from_secs(10);
        if !self.shared.wait_until(within, |state| state.idle.len() >= state.present) {
            return Err(Error::Writer { what: format!("the writer did not rest in {within:?}") });
        }
        Ok(Ledger::of(&self.shared, &self.shared.lock()))
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.shared.lock().idle.clear();
        let _ = self.command.send(Command::Run);
    }

    /// Lets every connection end its write, and gives the ledger. Blocks as [`Writer::pause`] does.
    pub fn stop(mut self) -> Ledger {
        self.end();
        Ledger::of(&self.shared, &self.shared.lock())
    }

    fn end(&mut self) {
        let _ = self.command.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.lock().surprises.push("the writer's thread broke down".into());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}
