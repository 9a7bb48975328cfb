//! Where finished documents wait on the target, and the one transaction that makes them the bot's rows.
//!
//! Staging is per document, so that a run that dies loses at most the documents it was working on, never what was paid
//! for before. The swap is per bot, so that the application sees a bot's old rows or its new ones, and nothing else.
//!
//! What is durable when:
//!
//! | after | on the target | a rerun of the same migration |
//! | --- | --- | --- |
//! | [`Stage::open`] | the tables; complete documents of this fingerprint now carry this run's name, all others are gone | the same |
//! | a [`Stage::write`] | the batch's chunks, and `complete` for documents whose last chunks it held | keeps the complete ones, drops the others |
//! | [`Stage::swap`] | the bot's new rows, `bot_result`, nothing staged: one transaction | finds its token in `bot_result` and is done; under another token it begins anew |
//! | [`Stage::record_failure`] | `bot_result` with `swapped` false, unless a swap of the migration is recorded | keeps the complete documents |
//!
//! One session does all of it. It holds the bot's advisory lock, so whatever commits was written under the lock; when
//! the connection is lost, so is the lock, and [`Stage`] comes back only with the lock taken again and its documents
//! still its own.

mod encode;
mod prepare;
mod shape;
mod swap;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use vecferry_core::error::{Class, Error, Result, Side};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::{Dsn, Session};

use shape::{Ids, Shape, Statements};

pub use swap::{Keep, LostDocument, Record, Swapped};
pub use write::{Batch, Begun, Chunk};

/// Which bot of which migration is staged, and where.
#[derive(Debug, Clone)]
pub struct Place {
    /// The target.
    pub target: Dsn,
    /// The application's table on it.
    pub knowledge: Knowledge,
    /// Migration id; what another migration staged is left alone.
    pub migration: String,
    /// Bot id, as the table's bot column holds it.
    pub bot: String,
    /// How long failures that pass are borne.
    pub patience: Patience,
}

/// How long failures that pass are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a target that does not answer, or is starting: a failover of Aurora takes a minute or two.
    pub reconnect: Duration,
    /// For the lock of a bot at the start: a worker that was killed leaves its session behind for a second or two.
    pub lock: Duration,
    /// For rows that another transaction has locked, per try of the swap.
    pub rows: Duration,
    /// Tries of a swap or a batch that is interrupted or locked out; 0 counts as 1.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            reconnect: Duration::from_secs(300),
            lock: Duration::from_secs(5),
            rows: Duration::from_secs(30),
            tries: 8,
        }
    }
}

/// What the rows will be made of; another one makes staged documents useless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// Names model and splitting; documents staged under another one are dropped.
    pub fingerprint: String,
    /// Length of the model's vectors.
    pub dimensions: usize,
    /// Longest chunk in characters.
    pub chunk_chars: usize,
}

/// A document that an earlier run completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its version when it was staged.
    pub version: Option<String>,
    /// Its chunks.
    pub chunks: u32,
}

/// The staged rows of one bot, and the lock that makes this process the only one at them.
pub struct Stage {
    place: Place,
    making: Making,
    shape: Shape,
    statements: Statements,
    session: Session,
    /// Name of this process's run in `staged_document`.
    run: String,
    /// Rows of `staged_document` that carry the run's name for certain.
    known: i64,
    /// Rows of documents that are begun and not finished, by the worker's number.
    open: HashMap<u32, i64>,
    ids: ulid::Generator,
}

impl Stage {
    /// Takes the bot's lock, checks that rows can be made and written, and prepares the tables. Returns what an earlier
    /// run of the migration completed. Nothing of the application's is changed.
    ///
    /// # Errors
    /// [`Error::Refused`] when another run holds the lock or the table cannot take such rows; [`Error::Postgres`].
    pub async fn open(place: Place, making: Making) -> Result<(Stage, HashMap<String, Kept>)> {
        let session = connect(&place, place.patience.lock).await?;
        let shape = prepare::read_shape(&session, &place, &making).await?;
        let statements = Statements::new(&place.knowledge, &shape);
        let mut stage = Stage {
            place,
            making,
            shape,
            statements,
            session,
            run: ulid::Ulid::generate().to_string(),
            known: 0,
            open: HashMap::new(),
            ids: ulid::Generator::new(),
        };
        stage.create_tables().await?;
        stage.rehearse().await?;
        let kept = stage.take_over().await?;
        Ok((stage, kept))
    }

    /// Most characters of a source; `None` without a limit.
    pub fn source_chars(&self) -> Option<usize> {
        self.shape.source_chars
    }

    /// A fresh id for a row, unless the server makes them.
    fn fresh_id(&mut self) -> Option<String> {
        match self.shape.ids {
            Ids::Ulid => Some(match self.ids.generate() {
                Ok(id) => id.to_string(),
                Err(overflow) => overflow.commit_overflow_increment().to_string(),
            }),
            Ids::Uuid => Some(uuid::Uuid::now_v7().to_string()),
            Ids::Server => None,
        }
    }

    fn tries(&self) -> u32 {
        self.place.patience.tries.max(1)
    }

    /// After a failure that may pass: ends the transaction, over a new connection when the old one is lost.
    async fn recover(&mut self) -> Result<()> {
        if !self.session.client().is_closed()
            && self.session.batch("roll back", "ROLLBACK").await.is_ok()
        {
            return Ok(());
        }
        tracing::warn!(
            bot = self.place.bot,
            "the connection to the target is lost; connecting again"
        );
        self.session = connect(&self.place, self.place.patience.reconnect).await?;
        Ok(())
    }

    /// [`Stage::recover`], and makes sure that the staged documents are still this run's.
    async fn come_back(&mut self) -> Result<()> {
        for _ in 1..self.tries() {
            self.recover().await?;
            match self.still_ours().await {
                Err(error) if prepare::passes(&error) => {}
                known => return known,
            }
        }
        self.recover().await?;
        self.still_ours().await
    }

    /// Whether the documents staged so far are still this run's, after the lock was lost for a while.
    async fn still_ours(&self) -> Result<()> {
        let sql = "SELECT count(*) FROM vecferry.staged_document WHERE migration = $1 AND bot = $2 AND run = $3";
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let doing = "read staged documents";
        let row = self.session.query_one(doing, sql, &[migration, bot, &self.run]).await?;
        match row.get::<_, i64>(0) >= self.known {
            true => Ok(()),
            false => Err(replaced(bot)),
        }
    }
}

/// Connects and takes the bot's lock, trying for that long what may pass. The server of a lost connection may notice
/// the loss later than we do, so a lock that is taken may be our own.
async fn connect(place: &Place, patience: Duration) -> Result<Session> {
    let once = || async {
        let session = Session::open(&place.target, Side::Target, "worker").await?;
        let sql = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('vecferry bot ' || $1::text, 0))";
        let row = session.query_one("lock the bot", sql, &[&place.bot]).await?;
        Ok(row.get::<_, bool>(0).then_some(session))
    };
    // An empty answer is repeated like a failure, so it is one in here.
    let locked = || async { once().await.map_err(Some)?.ok_or(None) };
    let backoff = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_total_delay(Some(patience));
    locked
        .retry(backoff)
        .when(|error: &Option<Error>| {
            error.as_ref().is_none_or(|error| error.class() == Class::Transient)
        })
        .await
        .map_err(|error| error.unwrap_or_else(|| busy(&place.bot)))
}

fn busy(bot: &str) -> Error {
    Error::Refused {
        side: Side::Target,
        what: format!("another run is at work on bot {bot}"),
        hint: Some("wait until it has ended".into()),
    }
}

fn replaced(bot: &str) -> Error {
    Error::Refused {
        side: Side::Target,
        what: format!("another run took over bot {bot} while the connection was lost"),
        hint: Some("wait until it has ended".into()),
    }
}
