//! One test's own database on a cluster, dropped when the test ends.

use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::cluster::Cluster;
use crate::error::{Error, Result, file};
use crate::servers::Version;

/// What would keep a database from being dropped: subscriptions in it, then slots on it.
const DROP_SUBSCRIPTIONS: &str = "
SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); '
              'DROP SUBSCRIPTION %1$I;', subname)
  FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
 WHERE d.datname = current_database()
\\gexec
";

/// A database that exists as long as this value.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    maintenance_url: String,
    version: Version,
}

/// A connection and the task that drives it; both end together.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// Owns the connection's task: dropping the session aborts it.
    _driver: JoinSet<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Session {
    /// Connects to a URL without TLS.
    pub async fn open(url: &str) -> Result<Session> {
        // The URL may hold a password, so the error names only what was attempted.
        let action = "connect to a test cluster";
        let config: Config =
            url.parse().map_err(|source| Error::Database { action: action.into(), source })?;
        Session::with(&config).await
    }

    /// The same with all that a configuration can say.
    pub(crate) async fn with(config: &Config) -> Result<Session> {
        let action = "connect to a test cluster";
        let (client, connection) = config
            .connect(NoTls)
            .await
            .map_err(|source| Error::Database { action: action.into(), source })?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The error, if any, also reaches whoever waits on the client.
            let _ = connection.await;
        });
        Ok(Session { client, _driver: driver })
    }
}

impl Database {
    /// Creates an empty database whose name begins with `hint`.
    pub async fn create(cluster: &Cluster, hint: &str) -> Result<Database> {
        Database::create_with(cluster, hint, "").await
    }

    /// Creates a database with all that is in another one of the same cluster, which nobody may be
    /// connected to for the moment.
    pub async fn copy_of(&self, cluster: &Cluster, hint: &str) -> Result<Database> {
        let options = format!("TEMPLATE \"{}\" STRATEGY file_copy", self.name);
        Database::create_with(cluster, hint, &options).await
    }

    async fn create_with(cluster: &Cluster, hint: &str, options: &str) -> Result<Database> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Clusters are shared by processes, hence the process id; names are cut at 63 bytes.
        let hint: String =
            hint.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(32).collect();
        let name = format!("{}_{}_{count}", hint.to_lowercase(), std::process::id());
        let maintenance_url = cluster.url("postgres");
        let session = Session::open(&maintenance_url).await?;
        session
            .batch_execute(&format!("CREATE DATABASE \"{name}\" {options}"))
            .await
            .map_err(|source| Error::Database { action: format!("create {name}"), source })?;
        let url = cluster.url(&name);
        Ok(Database { name, url, maintenance_url, version: cluster.version() })
    }

    /// Creates a database with the `vector` extension in it.
    pub async fn with_vector(cluster: &Cluster, hint: &str) -> Result<Database> {
        let database = Database::create(cluster, hint).await?;
        database.batch("CREATE EXTENSION vector").await?;
        Ok(database)
    }

    /// Its connection URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a connection to it.
    pub async fn connect(&self) -> Result<Session> {
        Session::open(&self.url).await
    }

    /// Runs statements on a connection of their own.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        let session = self.connect().await?;
        session.batch_execute(sql).await.map_err(|source| self.failed(sql, source))
    }

    /// Runs a query that gives one row, on a connection of its own.
    pub async fn query_one(&self, sql: &str) -> Result<Row> {
        let session = self.connect().await?;
        session.query_one(sql, &[]).await.map_err(|source| self.failed(sql, source))
    }

    /// Runs a script through `psql` and gives what it printed (unaligned, no headers). Stops at
    /// the first error.
    pub fn psql(&self, script: &str) -> Result<String> {
        psql(self.version, &self.url, script)
    }

    fn failed(&self, sql: &str, source: tokio_postgres::Error) -> Error {
        let start: String = sql.trim().chars().take(120).collect();
        Error::Database { action: format!("run in {}: {start}", self.name), source }
    }
}

impl Drop for Database {
    /// Best effort: the cluster may have been stopped by the very test that ends here.
    fn drop(&mut self) {
        let name = &self.name;
        let _ = psql(self.version, &self.url, DROP_SUBSCRIPTIONS);
        let drop_slots_and_database = format!(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots
              WHERE database = '{name}' AND active;
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
              WHERE database = '{name}';
             DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE);"
        );
        let _ = psql(self.version, &self.maintenance_url, &drop_slots_and_database);
    }
}

fn psql(version: Version, url: &str, script: &str) -> Result<String> {
    let program = version.bin_dir()?.join("psql");
    let mut child = Command::new(&program)
        .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
        .args(["--set", "ON_ERROR_STOP=1", "--dbname", url, "--file", "-"])
        .env("PGCONNECT_TIMEOUT", "5")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Spawn { program: program.clone(), source })?;
    // Scripts are far smaller than what they print, so they are written before anything is read,
    // from a thread of their own because psql may print while it still reads.
    let output = std::thread::scope(|scope| {
        if let Some(mut stdin) = child.stdin.take() {
            // A psql that stopped at an error closes its input; its exit code tells.
            scope.spawn(move || stdin.write_all(script.as_bytes()));
        }
        child.wait_with_output().map_err(file("wait for", &program))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: format!("psql ({})", output.status), stderr })
}
