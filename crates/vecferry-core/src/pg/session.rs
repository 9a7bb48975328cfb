//! A session for SQL: connected, quiet about timeouts, its notices kept, its driver owned.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, NoTls, Row};

use super::{Dsn, Failure, Login, Stream};
use crate::error::{Result, Side, on};

/// Settings every session of ours gives itself, whatever the role or database has set: no timeout may end a long
/// copy, text output must mean the same on both sides, and row-level security must fail loudly instead of hiding
/// rows. Set by a query over `pg_settings`, so that names a server does not know yet are skipped.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("row_security", "off"),
    ("search_path", ""),
    ("standard_conforming_strings", "on"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("synchronize_seqscans", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // A client that was killed must not leave an index build of hours behind, nor one that vanished its locks; and a
    // session that waits for such a build must not be forgotten by a firewall in between.
    (CLIENT_CHECK, "1s"),
    ("tcp_keepalives_idle", "60"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "6"),
];

/// Refused by servers on systems that cannot tell; Linux can.
const CLIENT_CHECK: &str = "client_connection_check_interval";

/// The statement that applies [`SETTINGS`].
pub(crate) fn settings_statement() -> String {
    let pairs: Vec<String> =
        SETTINGS.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    format!(
        "SELECT pg_catalog.set_config(s.name, v.value, false) \
         FROM (VALUES {}) AS v(name, value) JOIN pg_catalog.pg_settings s ON lower(s.name) = lower(v.name) \
         WHERE s.name <> '{CLIENT_CHECK}' OR pg_catalog.version() LIKE '%linux%'",
        pairs.join(", ")
    )
}

/// How many notices wait to be read. A session whose owner does not read them drops the newest: a notice is advice.
const NOTICES: usize = 64;

/// An SQL session on one side.
pub struct Session {
    client: Client,
    side: Side,
    notices: mpsc::Receiver<String>,
    /// Owns the task that drives the socket; dropping the session ends it.
    _driver: JoinSet<()>,
}

impl Session {
    /// Connects, logs in and applies the common settings. `purpose` is shown in `pg_stat_activity`.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] naming the address.
    pub async fn open(dsn: &Dsn, side: Side, purpose: &str) -> Result<Session> {
        loop {
            let login = dsn.login();
            match Session::log_in(dsn, &login, side, purpose).await {
                Ok(session) => {
                    dsn.accepted(&login);
                    return Ok(session);
                }
                Err(error) => dsn.renewed(&login, error).await?,
            }
        }
    }

    async fn log_in(dsn: &Dsn, login: &Login, side: Side, purpose: &str) -> Result<Session> {
        let doing = format!("connect to {dsn}");
        let stream = Stream::connect(dsn).await.map_err(on::<Failure>(side, &doing))?;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&login.user)
            .dbname(&dsn.database)
            .application_name(format!("vecferry {purpose}"));
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        if let Some(password) = &login.password {
            config.password(password);
        }
        let limit = dsn.patience();
        let silent = |_| Failure::Timeout { seconds: limit.as_secs() };
        let connected = tokio::time::timeout(limit, config.connect_raw(stream, NoTls)).await;
        let (client, mut connection) =
            connected.map_err(silent).map_err(on(side, &doing))?.map_err(on(side, &doing))?;
        let (sender, notices) = mpsc::channel(NOTICES);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|cx| connection.poll_message(cx)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    // Full means nobody reads notices of this session.
                    let _ = sender.try_send(notice.message().to_owned());
                }
            }
        });
        let session = Session { client, side, notices, _driver: driver };
        session.batch("prepare the session", &settings_statement()).await?;
        Ok(session)
    }

    /// The cluster this session is on.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The driver's client, for transactions and streams.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Notices the server has sent since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.notices.try_recv().ok()).collect()
    }

    /// Runs one or more statements without parameters.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] saying `doing`.
    pub async fn batch(&self, doing: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(on(self.side, doing))
    }

    /// Runs a query and returns all its rows; for catalogs and state, never for tables being moved.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] saying `doing`.
    pub async fn query(
        &self,
        doing: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        self.client.query(sql, params).await.map_err(on(self.side, doing))
    }

    /// Runs a query that returns exactly one row.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] saying `doing`.
    pub async fn query_one(
        &self,
        doing: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row> {
        self.client.query_one(sql, params).await.map_err(on(self.side, doing))
    }

    /// Runs a query that returns at most one row.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] saying `doing`.
    pub async fn query_opt(
        &self,
        doing: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>> {
        self.client.query_opt(sql, params).await.map_err(on(self.side, doing))
    }

    /// Runs a statement and returns the number of rows it touched.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] saying `doing`.
    pub async fn execute(
        &self,
        doing: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64> {
        self.client.execute(sql, params).await.map_err(on(self.side, doing))
    }

    /// Asks the server to stop what this session is doing, over a connection of its own.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when the second connection fails.
    pub async fn cancel(&self, dsn: &Dsn) -> Result<()> {
        let doing = "cancel a statement";
        let stream = Stream::connect(dsn).await.map_err(on::<Failure>(self.side, doing))?;
        self.client
            .cancel_token()
            .cancel_query_raw(stream, NoTls)
            .await
            .map_err(on(self.side, doing))
    }
}
