//! Plain inventories for unit tests: a small healthy pair of databases, to be spoilt by each test in its own way.

use crate::inventory::{Column, Constraint, Extension, Index, Inventory, Server, Table, TableKind};
use crate::knowledge::Knowledge;
use crate::pg::QualifiedName;
use crate::reembed::store::Settings;

/// A server that lacks nothing: superuser, TLS, `major`.0, 8 GiB available.
pub(crate) fn server(major: u32) -> Server {
    Server {
        version_num: major * 10_000,
        version: format!("{major}.0"),
        system_identifier: Some(format!("70000000000000000{major}")),
        timeline: Some(1),
        in_recovery: false,
        aurora: false,
        database: "kb".into(),
        database_oid: 16_384,
        encoding: "UTF8".into(),
        role: "postgres".into(),
        superuser: true,
        can_create: true,
        encrypted: true,
        max_connections: 100,
        connections: 3,
        reserved_connections: 3,
        shared_buffers: 128 << 20,
        maintenance_work_mem: 64 << 20,
        max_parallel_maintenance_workers: 2,
        available_memory: Some(8 << 30),
        wal_level: "logical".into(),
        max_wal_size: 1 << 30,
        can_set_replication_role: true,
    }
}

/// A database with pgvector `vector` and no table.
pub(crate) fn inventory(major: u32, vector: Option<&str>) -> Inventory {
    let extensions = vector.map(|version| Extension {
        name: "vector".into(),
        version: version.into(),
        schema: "public".into(),
    });
    Inventory {
        server: server(major),
        extensions: extensions.into_iter().collect(),
        tables: vec![],
        sequences: vec![],
        views: vec![],
        large_objects: 0,
        roles: vec!["postgres".into()],
    }
}

/// What a run embeds with.
pub(crate) fn settings() -> Settings {
    Settings {
        registry: "r".into(),
        model: "m".into(),
        dimensions: 8,
        knowledge: Knowledge::default(),
        splitting: None,
    }
}

/// A column; dimensions are read from `vector(3)`.
pub(crate) fn column(name: &str, type_name: &str) -> Column {
    let base = type_name.rsplit('.').next().unwrap_or(type_name);
    let (base, modifier) = base.split_once('(').unwrap_or((base, ""));
    Column {
        name: name.into(),
        type_name: type_name.into(),
        base_type: base.into(),
        dimensions: modifier.trim_end_matches(')').parse().ok(),
        not_null: false,
        generated: None,
        identity: None,
        default: None,
        collation: None,
        text_only: None,
    }
}

/// An index of `table`'s first or last column, as the method goes with ids or vectors.
pub(crate) fn index(name: &str, method: &str, columns: &[&str], class: &str) -> Index {
    Index {
        oid: 1,
        name: name.into(),
        definition: format!("CREATE INDEX {name} ON t USING {method} ({})", columns.join(", ")),
        method: method.into(),
        options: vec![],
        unique: false,
        valid: true,
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        partial: false,
        operator_class: class.into(),
        bytes: 0,
        constraint: None,
        attached: false,
        replica_identity: false,
        clustered: false,
    }
}

/// Bedrock Chat's table with its primary key and no vector index.
pub(crate) fn items(rows: u64, dimensions: u32) -> Table {
    let mut key = index("items_pkey", "btree", &["id"], "bpchar_ops");
    key.unique = true;
    key.constraint = Some(Constraint {
        oid: 2,
        name: "items_pkey".into(),
        kind: 'p',
        definition: "PRIMARY KEY (id)".into(),
        referenced: false,
    });
    let bytes = rows * (u64::from(dimensions) * 4 + 1024);
    Table {
        oid: 16_400,
        name: QualifiedName::new("public", "items"),
        kind: TableKind::Ordinary,
        unlogged: false,
        partition_of: None,
        relfilenode: 16_400,
        heap_bytes: bytes,
        table_bytes: bytes,
        estimated_rows: Some(rows),
        columns: vec![
            column("id", "character(26)"),
            column("botid", "character(26)"),
            column("content", "text"),
            column("source", "text"),
            column("embedding", &format!("public.vector({dimensions})")),
        ],
        key: vec!["id".into()],
        has_primary_key: true,
        replica_identity: 'd',
        indexes: vec![key],
        constraints: vec![],
        triggers: vec![],
        row_security: false,
        privileges: ["SELECT", "INSERT", "TRUNCATE", "OWNER"].map(str::to_owned).to_vec(),
    }
}
