//! A worker's connection: does one write and says how it ended. The rule: an error of the server's
//! own (severity ERROR) means that nothing came to be; any other end of a commit means nothing is
//! known, also a server's farewell (FATAL), which may come after the commit record was flushed.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Config, Statement};

use super::WriterOptions;
use super::book::{Book, Key};
use super::lot::Write;
use super::outcome::Outcome;
use super::plan::{Ending, Intent, ROWS_AT_ONCE};
use crate::database::Session;
use crate::error::{Error, Result};
use crate::vectors::binary;

/// A server that does not answer within this is tried again.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A connection with its statements prepared.
pub(super) struct Link {
    session: Session,
    insert: Statement,
    content: Statement,
    vector: Statement,
    delete: Statement,
    delete_all: Statement,
    side: Option<(Statement, String)>,
    /// Which visit of the ledger it belongs to.
    pub(super) visit: usize,
}

/// How a write ended, and what should not have happened.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) surprise: Option<String>,
    /// Whether the connection may be used again.
    pub(super) usable: bool,
}

/// Why a write did not do what it should.
enum Trouble {
    Failed(tokio_postgres::Error),
    Missed { write: String, found: u64, expected: u64 },
    TimedOut,
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        Trouble::Failed(error)
    }
}

/// A vector on its way to the server.
#[derive(Debug)]
struct Embedding(Vec<f32>);

impl ToSql for Embedding {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&binary(&self.0));
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "vector"
    }

    to_sql_checked!();
}

impl Link {
    /// Connects and prepares; `visit` is kept for the ledger.
    pub(super) async fn open(url: &str, visit: usize, options: &WriterOptions) -> Result<Link> {
        let mut config: Config = url
            .parse()
            .map_err(|source| Error::Database { action: "read the writer's URL".into(), source })?;
        config.application_name("vecferry-writer").connect_timeout(CONNECT_WITHIN);
        match timeout(CONNECT_WITHIN, Link::prepare(&config, visit, options)).await {
            Ok(link) => link,
            Err(_) => Err(Error::Writer { what: "the server was silent at connecting".into() }),
        }
    }

    async fn prepare(config: &Config, visit: usize, options: &WriterOptions) -> Result<Link> {
        let session = Session::with(config).await?;
        let table = &options.table;
        let texts = [
            format!(
                "INSERT INTO {table} (id, botid, content, source, embedding)
                 SELECT * FROM unnest($1::char(26)[], $2::char(26)[], $3::text[], $4::text[],
                                      $5::vector[])"
            ),
            format!("UPDATE {table} SET content = $2 WHERE id = $1"),
            format!("UPDATE {table} SET embedding = $2 WHERE id = $1"),
            format!("DELETE FROM {table} WHERE id = $1"),
            format!("DELETE FROM {table} WHERE botid = $1"),
        ];
        let [insert, content, vector, delete, delete_all] = &texts;
        let (insert, content, vector, delete, delete_all) = tokio::try_join!(
            session.prepare(insert),
            session.prepare(content),
            session.prepare(vector),
            session.prepare(delete),
            session.prepare(delete_all),
        )
        .map_err(|source| Error::Database { action: "prepare the writes".into(), source })?;
        let side = match &options.side_table {
            Some(side) => {
                let sql = format!(
                    "INSERT INTO {side} (id, content)
                     SELECT * FROM unnest($1::char(26)[], $2::text[])"
                );
                let prepared = session.prepare(&sql).await;
                let action = "prepare the writes".to_owned();
                let prepared = prepared.map_err(|source| Error::Database { action, source })?;
                Some((prepared, format!("TRUNCATE {side}")))
            }
            None => None,
        };
        Ok(Link { session, insert, content, vector, delete, delete_all, side, visit })
    }

    /// Does it, and waits no longer than `patience` for the work and again for the commit.
    pub(super) async fn attempt(
        &self,
        book: &Book,
        bot: Option<&Key>,
        intent: &Intent,
        patience: Duration,
    ) -> Ended {
        let own = intent.ending == Ending::Itself;
        let work = self.work(book, bot, intent);
        let worked = timeout(patience + intent.hold, work).await;
        if let Err(trouble) = worked.unwrap_or(Err(Trouble::TimedOut)) {
            return self.ended(trouble, own, !own, patience).await;
        }
        let (sql, outcome) = match intent.ending {
            Ending::Itself => return Ended::well(Outcome::Acknowledged),
            Ending::Commit => ("COMMIT", Outcome::Acknowledged),
            Ending::RollBack => ("ROLLBACK", Outcome::RolledBack),
        };
        match timeout(patience, self.session.batch_execute(sql)).await {
            Ok(Ok(())) => Ended::well(outcome),
            Ok(Err(error)) => {
                let committing = intent.ending == Ending::Commit;
                self.ended(error.into(), committing, false, patience).await
            }
            Err(_) => {
                self.ended(Trouble::TimedOut, intent.ending == Ending::Commit, false, patience)
                    .await
            }
        }
    }

    async fn work(
        &self,
        book: &Book,
        bot: Option<&Key>,
        intent: &Intent,
    ) -> std::result::Result<(), Trouble> {
        if intent.ending != Ending::Itself {
            self.session.batch_execute("BEGIN").await?;
        }
        for write in &intent.writes {
            let found = self.perform(book, bot, write, intent.version).await?;
            if found != write.rows() {
                let (write, expected) = (write.name(), write.rows());
                return Err(Trouble::Missed { write, found, expected });
            }
        }
        if !intent.hold.is_zero() {
            tokio::time::sleep(intent.hold).await;
        }
        Ok(())
    }

    /// One statement; the number of rows the server says it touched.
    async fn perform(
        &self,
        book: &Book,
        bot: Option<&Key>,
        write: &Write,
        version: u64,
    ) -> std::result::Result<u64, tokio_postgres::Error> {
        let session = &self.session;
        match (write, bot) {
            (Write::Insert(keys), bot) => {
                let mut rows = 0;
                for keys in keys.chunks(ROWS_AT_ONCE) {
                    rows += self.insert(book, bot, keys, version).await?;
                }
                Ok(rows)
            }
            (Write::Content(key), _) => {
                let content = book.content(key, version);
                session.execute(&self.content, &[&key.as_ref(), &content]).await
            }
            (Write::Vector(key), _) => {
                let vector = Embedding(book.vector(key, version));
                session.execute(&self.vector, &[&key.as_ref(), &vector]).await
            }
            (Write::Delete(key), _) => session.execute(&self.delete, &[&key.as_ref()]).await,
            (Write::DeleteAll(_), Some(bot)) => {
                session.execute(&self.delete_all, &[&bot.as_ref()]).await
            }
            (Write::DeleteAll(_) | Write::Truncate, _) => match &self.side {
                Some((_, truncate)) => session.batch_execute(truncate).await.map(|()| 0),
                None => Ok(0),
            },
        }
    }

    async fn insert(
        &self,
        book: &Book,
        bot: Option<&Key>,
        keys: &[Key],
        version: u64,
    ) -> std::result::Result<u64, tokio_postgres::Error> {
        let ids: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        let contents: Vec<String> = keys.iter().map(|key| book.content(key, version)).collect();
        match (bot, &self.side) {
            (None, Some((side, _))) => self.session.execute(side, &[&ids, &contents]).await,
            (None, None) => Ok(0),
            (Some(bot), _) => {
                let bots = vec![bot.as_ref(); keys.len()];
                let sources: Vec<String> = keys.iter().map(|key| book.source(key)).collect();
                let vectors = keys.iter().map(|key| Embedding(book.vector(key, version)));
                let vectors: Vec<Embedding> = vectors.collect();
                let values: [&(dyn ToSql + Sync); 5] = [&ids, &bots, &contents, &sources, &vectors];
                self.session.execute(&self.insert, &values).await
            }
        }
    }

    /// What an error means; `open` says that a transaction is left to be rolled back.
    async fn ended(
        &self,
        trouble: Trouble,
        committing: bool,
        open: bool,
        patience: Duration,
    ) -> Ended {
        let nothing_known = if committing { Outcome::Unknown } else { Outcome::Lost };
        let (outcome, surprise) = match trouble {
            Trouble::TimedOut => (nothing_known, None),
            Trouble::Missed { write, found, expected } => {
                let what = format!("{write} met {found} rows where {expected} were acknowledged");
                // A statement by itself that met too few rows has still changed what it met.
                let outcome = if committing { Outcome::Unknown } else { Outcome::Missed };
                (if found == 0 { Outcome::Missed } else { outcome }, Some(what))
            }
            Trouble::Failed(error) => match refusal(&error) {
                Some(outcome) => (outcome, None),
                None => (nothing_known, unexpected(&error)),
            },
        };
        let answered = matches!(outcome, Outcome::Refused(_) | Outcome::Missed);
        let usable = answered && (!open || self.rolled_back(patience).await);
        Ended { outcome, surprise, usable }
    }

    async fn rolled_back(&self, patience: Duration) -> bool {
        matches!(timeout(patience, self.session.batch_execute("ROLLBACK")).await, Ok(Ok(())))
    }
}

impl Ended {
    fn well(outcome: Outcome) -> Ended {
        Ended { outcome, surprise: None, usable: true }
    }
}

impl Write {
    fn name(&self) -> String {
        match self {
            Write::Insert(keys) => format!("an insert of {} rows", keys.len()),
            Write::Content(key) => format!("an update of row {key}'s content"),
            Write::Vector(key) => format!("an update of row {key}'s vector"),
            Write::Delete(key) => format!("a delete of row {key}"),
            Write::DeleteAll(_) => "a delete of a whole bot".into(),
            Write::Truncate => "a truncate".into(),
        }
    }
}

/// An answer of the server that means: nothing of it came to be.
fn refusal(error: &tokio_postgres::Error) -> Option<Outcome> {
    let answer = error.as_db_error()?;
    let code = answer.code().code().as_bytes().try_into().ok()?;
    (answer.parsed_severity() == Some(Severity::Error)).then_some(Outcome::Refused(code))
}

/// Errors that are neither the server's nor the connection's are the writer's own.
fn unexpected(error: &tokio_postgres::Error) -> Option<String> {
    let connection = error.is_closed()
        || error.as_db_error().is_some()
        || error.source().is_some_and(|source| source.is::<std::io::Error>());
    (!connection).then(|| format!("a write failed in the driver: {error}: {:?}", error.source()))
}
