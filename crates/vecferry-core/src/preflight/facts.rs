//! What the preflight knows when it judges: plain data, no I/O.

use serde::Deserialize;

use super::NotRun;
use crate::error::Side;
pub use crate::follow::reach::Answer;
use crate::inventory::{Inventory, Table};
use crate::pg::programs::Programs;
use crate::pg::{Dsn, QualifiedName, SslMode};
use crate::policy::{Method, Policy};

/// Everything that was found out.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The operator's choices.
    pub policy: Policy,
    /// The cluster the data comes from.
    pub source: SideFacts,
    /// The cluster the data goes to.
    pub target: SideFacts,
    /// `pg_dump` and `pg_restore`, or why they cannot be used and what to do.
    pub programs: Result<Programs, Unreadable>,
    /// Vector columns of the source that were looked into.
    pub vectors: Vec<VectorSample>,
    /// Tables of the target, of those to be moved, that hold rows.
    pub filled: Vec<QualifiedName>,
    /// How the target's server reaches the source; tried for `follow` only.
    pub source_from_target: Option<Way>,
    /// How the source's server reaches the target, for the way back.
    pub target_from_source: Option<Way>,
    /// What was not looked at, and why.
    pub left_out: Vec<NotRun>,
}

impl Facts {
    /// Whether the migration is to follow the source.
    pub fn follows(&self) -> bool {
        self.policy.method == Some(Method::Follow)
    }

    /// One side.
    pub fn side(&self, side: Side) -> &SideFacts {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Both sides, the source first.
    pub fn sides(&self) -> [&SideFacts; 2] {
        [&self.source, &self.target]
    }

    /// What is known of both clusters, when both could be read.
    pub fn both(&self) -> Option<(&Known, &Known)> {
        self.source.known().zip(self.target.known())
    }

    /// Tables of the source that are to be moved.
    pub fn selected(&self) -> Vec<&Table> {
        let tables = self.source.known().map(|known| known.inventory.tables.as_slice());
        tables.unwrap_or_default().iter().filter(|table| self.policy.selects(table)).collect()
    }
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What failed, in lower case.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// One cluster, reachable or not.
#[derive(Debug, Clone)]
pub struct SideFacts {
    /// Which.
    pub side: Side,
    /// Host, address or socket directory it was looked for at.
    pub host: String,
    /// Whether the connection string asks for the server's certificate to be verified.
    pub verifies: bool,
    /// What was read.
    pub state: Result<Box<Known>, Unreadable>,
}

impl SideFacts {
    /// The side as the connection string describes it, and what was read there.
    pub fn new(side: Side, dsn: &Dsn, state: Result<Known, Unreadable>) -> SideFacts {
        // As in libpq, a root certificate turns `require` into `verify-ca`.
        let verifies = match dsn.sslmode {
            SslMode::VerifyCa | SslMode::VerifyFull => true,
            SslMode::Require | SslMode::Prefer => dsn.sslrootcert.is_some(),
            SslMode::Disable => false,
        };
        SideFacts { side, host: dsn.host.clone(), verifies, state: state.map(Box::new) }
    }

    /// What was read, if the cluster could be.
    pub fn known(&self) -> Option<&Known> {
        self.state.as_deref().ok()
    }

    /// Whether the connection stays on this machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

/// Whether an address means the machine that uses it.
pub(super) fn is_local(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What was read of one cluster.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its database.
    pub inventory: Inventory,
    /// What only the preflight asks.
    pub extra: Extra,
    /// Who answered on a second connection, made while the first one was open.
    pub second: Option<Identity>,
    /// What replication needs to know; read for `follow` only.
    pub replication: Option<Replication>,
}

/// Who answered: tells two servers behind one address apart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// Start of the server, as text.
    pub started_at: String,
    /// Address and port the server sees itself at; `None` on a Unix socket.
    pub address: Option<String>,
    /// Process that serves the connection.
    pub backend_pid: i32,
}

/// What `extra.sql` asks: rights, limits and neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Extra {
    /// The server that answered.
    pub identity: Identity,
    /// Versions of extensions that could be installed.
    pub available: Vec<Available>,
    /// Extensions that objects of the user depend on.
    pub used_extensions: Vec<String>,
    /// `name=value` settings of the role or database that would limit a session.
    pub role_settings: Vec<String>,
    /// Whether our role may call `pg_export_snapshot()`.
    pub can_export_snapshot: bool,
    /// User schemas and our rights there.
    pub schemas: Vec<Schema>,
    /// Tables whose row security applies to our role.
    pub hidden_rows: Vec<QualifiedName>,
    /// Sequences our role may not read.
    pub unreadable_sequences: Vec<QualifiedName>,
    /// Large objects our role may not read.
    pub unreadable_large_objects: u64,
    /// Enabled event triggers.
    pub event_triggers: Vec<String>,
    /// Every role of the cluster.
    pub all_roles: Vec<String>,
    /// Of these, the ones we may act for.
    pub held_roles: Vec<String>,
    /// Whether transactions are read-only.
    pub read_only: bool,
    /// Connections and their limits.
    pub connections: Connections,
    /// Whether the schema of our own records is there.
    pub has_store: bool,
    /// Whether a session of ours holds an advisory lock in this database.
    pub migration_running: bool,
    /// Whether our role has a managed service's substitute for superuser.
    pub managed_superuser: bool,
}

/// A version of an extension that the server has files of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Available {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Whether a superuser is needed to create it.
    pub superuser: bool,
    /// Whether the right to create in the database is enough after all.
    pub trusted: bool,
}

/// A user schema.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Schema {
    /// Name.
    pub name: String,
    /// Whether our role may look inside.
    pub usage: bool,
    /// Whether our role may create in it.
    pub create: bool,
}

/// Connections now and at most; limits are `None` where there is none. Our own sessions are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Connections {
    /// In use on the server.
    pub used: u32,
    /// Set aside for members of a role (`reserved_connections`, since 16).
    pub reserved: u32,
    /// In use by our role.
    pub role_used: u32,
    /// `CONNECTION LIMIT` of our role.
    pub role_limit: Option<u32>,
    /// In use in our database.
    pub database_used: u32,
    /// `CONNECTION LIMIT` of our database.
    pub database_limit: Option<u32>,
}

/// What a look into a vector column gave.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Table.
    pub table: QualifiedName,
    /// Column.
    pub column: String,
    /// Share of the table that was read, 0 to 1.
    pub share: f64,
    /// Rows read.
    pub rows: u64,
    /// Of these, without a vector.
    pub nulls: u64,
    /// With a vector of length zero.
    pub zeros: u64,
    /// With a vector that holds NaN or whose length is not finite.
    pub not_finite: u64,
}

/// What `replication.sql` asks: room, rights and settings of logical replication, as sender and as receiver. Lists name
/// who uses what there is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Replication {
    /// `max_replication_slots`.
    pub max_slots: u32,
    /// Names of the slots there are.
    pub slots: Vec<String>,
    /// `max_wal_senders`.
    pub max_senders: u32,
    /// Who is being sent to.
    pub senders: Vec<String>,
    /// `max_logical_replication_workers`.
    pub max_apply_workers: u32,
    /// Subscriptions that are at work, once for each of their processes.
    pub apply_workers: Vec<String>,
    /// `max_worker_processes`.
    pub max_workers: u32,
    /// Kinds of background workers that run, as far as our role may see them.
    pub workers: Vec<String>,
    /// `max_active_replication_origins`, before 18 `max_replication_slots`.
    pub max_origins: u32,
    /// Names of the origins there are.
    pub origins: Vec<String>,
    /// Whether our role may open replication connections.
    pub may_replicate: bool,
    /// Whether our role may create subscriptions, besides `CREATE` on the database.
    pub may_subscribe: bool,
    /// Whether this is one of Amazon's managed servers.
    pub rds: bool,
    /// `max_slot_wal_keep_size` in bytes; `None` for no limit.
    pub kept_wal: Option<u64>,
    /// `logical_decoding_work_mem` in bytes.
    pub decoding_memory: u64,
    /// Whether `wal_sender_timeout` is set.
    pub senders_time_out: bool,
    /// `idle_replication_slot_timeout` (since 18), where set.
    pub idle_slot_timeout: Option<String>,
    /// Transactions that have written and not ended, on the whole server, the oldest first.
    pub open_transactions: Vec<OpenTransaction>,
    /// Prepared transactions, the oldest first.
    pub prepared: Vec<Prepared>,
    /// The tables' owners.
    pub owners: Vec<TableOwner>,
    /// Triggers that fire while changes are applied.
    pub firing: Vec<FiringTrigger>,
}

/// A transaction that has written and not ended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OpenTransaction {
    /// Its process.
    pub pid: i32,
    /// Application, or else role.
    pub name: String,
    /// Age; `None` where our role may not see it.
    pub seconds: Option<f64>,
}

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Prepared {
    /// Its global identifier.
    pub name: String,
    /// Age.
    pub seconds: f64,
}

/// Who owns a table, and what that means for our role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TableOwner {
    /// Table.
    pub table: QualifiedName,
    /// Role.
    pub owner: String,
    /// Whether our role may `SET ROLE` to it.
    pub may_become: bool,
    /// Whether our role may lock the table against writers and create a trigger on it, as a cutover does.
    pub may_fence: bool,
}

/// A trigger that is enabled `ALWAYS` or for `REPLICA`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FiringTrigger {
    /// Table.
    pub table: QualifiedName,
    /// Trigger.
    pub trigger: String,
}

/// How one cluster's server reached the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Host and port that were tried.
    pub address: String,
    /// Whether that address means the server itself.
    pub local: bool,
    /// What came of it.
    pub answer: Answer,
}
