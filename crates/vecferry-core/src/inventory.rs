//! The facts about one cluster's database, as plain data: no judgement, no I/O. [`crate::inspect`] fills it in.

use serde::{Deserialize, Serialize};

use crate::pg::{CopyFormat, QualifiedName};

/// One database of one cluster, as seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// The server and what our role may do there.
    pub server: Server,
    /// Extensions installed in the database.
    pub extensions: Vec<Extension>,
    /// User tables of every kind, partitions and partitioned parents included, ordered by schema and name.
    pub tables: Vec<Table>,
    /// User sequences, those of identity columns included.
    pub sequences: Vec<QualifiedName>,
    /// Views and materialized views.
    pub views: Vec<View>,
    /// Number of large objects.
    pub large_objects: u64,
    /// Roles that own or are granted something in the user schemas.
    pub roles: Vec<String>,
}

impl Inventory {
    /// The table of that name.
    pub fn table(&self, name: &QualifiedName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }

    /// The extension of that name.
    pub fn extension(&self, name: &str) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.name == name)
    }
}

/// Server-wide facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `server_version_num`, for example 160002.
    pub version_num: u32,
    /// `server_version`, for example `16.2`.
    pub version: String,
    /// Identity of the cluster, from `pg_control_system()`; `None` where that is not allowed.
    pub system_identifier: Option<String>,
    /// Timeline of the last checkpoint; changes with every promotion.
    pub timeline: Option<u32>,
    /// Whether this is a standby.
    pub in_recovery: bool,
    /// Whether this is Aurora.
    pub aurora: bool,
    /// Name of the database.
    pub database: String,
    /// OID of the database.
    pub database_oid: u32,
    /// Encoding of the database, for example `UTF8`.
    pub encoding: String,
    /// Role we are.
    pub role: String,
    /// Whether our role is a superuser.
    pub superuser: bool,
    /// Whether our role may create objects in the database (schemas, trusted extensions).
    pub can_create: bool,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// Connections in use now, all databases.
    pub connections: u32,
    /// Connections only superusers may take.
    pub reserved_connections: u32,
    /// `shared_buffers` in bytes.
    pub shared_buffers: u64,
    /// `maintenance_work_mem` in bytes.
    pub maintenance_work_mem: u64,
    /// `max_parallel_maintenance_workers`.
    pub max_parallel_maintenance_workers: u32,
    /// Memory available to new allocations in bytes as the server's operating system reports it, where our role may
    /// read it.
    pub available_memory: Option<u64>,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_wal_size` in bytes.
    pub max_wal_size: u64,
    /// Whether the role may set `session_replication_role`.
    pub can_set_replication_role: bool,
}

impl Server {
    /// Major version, for example 16.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }
}

/// An installed extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Installed version.
    pub version: String,
    /// Schema of its objects.
    pub schema: String,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Holds rows of its own, be it stand-alone, a partition or an inheritance child.
    Ordinary,
    /// A partitioned parent: its rows are in its partitions.
    Partitioned,
    /// A foreign table: its definition is moved, its rows are another server's.
    Foreign,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// OID of the relation.
    pub oid: u32,
    /// Name.
    pub name: QualifiedName,
    /// Kind.
    pub kind: TableKind,
    /// Whether the table is unlogged.
    pub unlogged: bool,
    /// Parent, for a partition.
    pub partition_of: Option<QualifiedName>,
    /// Name of the file on disk; changes when the table is truncated or rewritten.
    pub relfilenode: u32,
    /// Bytes of the heap alone.
    pub heap_bytes: u64,
    /// Bytes of heap, TOAST and maps, without indexes.
    pub table_bytes: u64,
    /// The planner's estimate of the number of rows; `None` when the table was never analysed.
    pub estimated_rows: Option<u64>,
    /// Columns in their order.
    pub columns: Vec<Column>,
    /// Columns of the primary key, or of a unique index over NOT NULL columns; empty when there is neither.
    pub key: Vec<String>,
    /// Whether `key` is a primary key.
    pub has_primary_key: bool,
    /// `relreplident`: `d` default, `n` nothing, `f` full, `i` index.
    pub replica_identity: char,
    /// Indexes, those of constraints included.
    pub indexes: Vec<Index>,
    /// Checks, foreign keys and other constraints that have no index.
    pub constraints: Vec<Constraint>,
    /// Names of user triggers.
    pub triggers: Vec<String>,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// What our role may do with it: `SELECT`, `INSERT`, `TRUNCATE`, and `OWNER` for owners and superusers.
    pub privileges: Vec<String>,
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Columns that COPY moves: all but generated ones.
    pub fn stored_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.generated.is_none())
    }

    /// Binary when every moved column allows it, text otherwise.
    pub fn copy_format(&self) -> CopyFormat {
        if self.stored_columns().all(|column| column.text_only.is_none()) {
            CopyFormat::Binary
        } else {
            CopyFormat::Text
        }
    }

    /// Whether the table has rows of its own that are moved.
    pub fn holds_rows(&self) -> bool {
        self.kind == TableKind::Ordinary
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type as PostgreSQL writes it, schema-qualified unless built in, with its modifier: `public.vector(1024)`.
    pub type_name: String,
    /// Name of the base type below any domain, without schema or modifier: `vector`, `bpchar`.
    pub base_type: String,
    /// Dimensions, for pgvector's types and `bit`; `None` when the column does not fix them.
    pub dimensions: Option<u32>,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// `stored` or `virtual` for a generated column.
    pub generated: Option<String>,
    /// `always` or `by default` for an identity column.
    pub identity: Option<String>,
    /// Default or generation expression.
    pub default: Option<String>,
    /// Collation, when it is not the type's own.
    pub collation: Option<String>,
    /// Why the column cannot be copied in binary: `"no binary functions"`, `"holds OIDs of this cluster"`.
    pub text_only: Option<String>,
}

impl Column {
    /// Whether this is one of pgvector's dense or sparse types.
    pub fn is_vector(&self) -> bool {
        matches!(self.base_type.as_str(), "vector" | "halfvec" | "sparsevec")
    }
}

/// An index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// OID of the index.
    pub oid: u32,
    /// Name; its schema is the table's.
    pub name: String,
    /// `CREATE INDEX …` as PostgreSQL writes it.
    pub definition: String,
    /// Access method: `btree`, `hnsw`, `ivfflat`, …
    pub method: String,
    /// Storage parameters: `m=16`, `lists=100`.
    pub options: Vec<String>,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether it is valid; an invalid one is the remains of a failed concurrent build.
    pub valid: bool,
    /// Columns it covers by name; expressions are absent.
    pub columns: Vec<String>,
    /// Whether it has a predicate.
    pub partial: bool,
    /// First operator class: `vector_l2_ops`.
    pub operator_class: String,
    /// Size in bytes.
    pub bytes: u64,
    /// The constraint it belongs to.
    pub constraint: Option<Constraint>,
    /// Whether the index is attached to a partitioned parent's.
    pub attached: bool,
    /// Whether the table uses it as replica identity.
    pub replica_identity: bool,
    /// Whether the table was last clustered on it.
    pub clustered: bool,
}

impl Index {
    /// An HNSW or IVFFlat index.
    pub fn is_vector(&self) -> bool {
        matches!(self.method.as_str(), "hnsw" | "ivfflat")
    }

    /// A storage parameter as a number.
    pub fn option(&self, name: &str) -> Option<u64> {
        self.options
            .iter()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

/// A constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// OID in `pg_constraint`.
    pub oid: u32,
    /// Name.
    pub name: String,
    /// `contype`: `p` primary key, `u` unique, `x` exclusion, `c` check, `f` foreign key, `n` not null, `t` trigger.
    pub kind: char,
    /// `pg_get_constraintdef`.
    pub definition: String,
    /// Whether a foreign key elsewhere refers to it.
    pub referenced: bool,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Name.
    pub name: QualifiedName,
    /// Whether it is materialized.
    pub materialized: bool,
    /// Whether it is populated (always true for a plain view).
    pub populated: bool,
}
