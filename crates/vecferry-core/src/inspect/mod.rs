//! Reads one database into an [`Inventory`]. The queries are files beside this one, so that they can be read and
//! tried in psql; each returns one JSON document.

mod types;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::ToSql;

use crate::error::{Error, Result};
use crate::inventory::{Column, Extension, Inventory, Server, Table, View};
use crate::pg::{QualifiedName, Session};
use types::{Types, WireType};

/// Reads everything in an [`Inventory`] through the session, inside whatever transaction it is in.
///
/// # Errors
/// [`Error::Postgres`] when a catalog cannot be read.
pub async fn inspect(session: &Session) -> Result<Inventory> {
    let server = inspect_server(session).await?;
    let types: Vec<WireType> =
        read_json(session, "read the types", include_str!("types.sql"), &[]).await?;
    let types = Types::new(types);
    let tables: Vec<TableRow> =
        read_json(session, "read the tables", include_str!("tables.sql"), &[]).await?;
    let rest: Rest = read_json(session, "read the catalog", include_str!("rest.sql"), &[]).await?;
    Ok(Inventory {
        server,
        extensions: rest.extensions,
        tables: tables.into_iter().map(|row| row.into_table(&types)).collect(),
        sequences: rest.sequences,
        views: rest.views,
        large_objects: rest.large_objects,
        roles: rest.roles,
    })
}

/// Reads the server's part of an [`Inventory`] only.
///
/// # Errors
/// [`Error::Postgres`] when a catalog cannot be read.
pub async fn inspect_server(session: &Session) -> Result<Server> {
    let mut server: Server =
        read_json(session, "read the server's settings", include_str!("server.sql"), &[]).await?;
    // Managed services may withhold these; their absence is a fact, not a failure. Asked one by one, because a
    // refusal aborts the statement; `has_function_privilege` keeps a surrounding transaction alive.
    const CONTROL: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                           (SELECT timeline_id FROM pg_control_checkpoint())";
    if may_execute(session, &["pg_control_system()", "pg_control_checkpoint()"]).await? {
        let row = session.query_one("read the system identifier", CONTROL, &[]).await?;
        server.system_identifier = row.get(0);
        server.timeline =
            row.get::<_, Option<i32>>(1).and_then(|timeline| u32::try_from(timeline).ok());
    }
    if !server.aurora && may_read_files(session).await? {
        server.available_memory = read_available_memory(session).await?;
    }
    if server.version_num >= 150_000 && !server.superuser {
        let sql = "SELECT has_parameter_privilege('session_replication_role', 'SET')";
        server.can_set_replication_role =
            session.query_one("read privileges", sql, &[]).await?.get(0);
    }
    Ok(server)
}

async fn may_execute(session: &Session, functions: &[&str]) -> Result<bool> {
    let sql = "SELECT bool_and(COALESCE(has_function_privilege(to_regprocedure(f), 'EXECUTE'), false)) \
               FROM unnest($1::text[]) f";
    let functions: Vec<String> =
        functions.iter().map(|name| format!("pg_catalog.{name}")).collect();
    Ok(session.query_one("read privileges", sql, &[&functions]).await?.get(0))
}

/// A path outside the data directory needs the function and membership in a role.
async fn may_read_files(session: &Session) -> Result<bool> {
    let member = "SELECT pg_has_role('pg_read_server_files', 'USAGE')";
    Ok(may_execute(session, &["pg_read_file(text,boolean)"]).await?
        && session.query_one("read privileges", member, &[]).await?.get(0))
}

/// `MemAvailable` of the server's own kernel, in bytes (proc(5)); `None` off Linux.
async fn read_available_memory(session: &Session) -> Result<Option<u64>> {
    let sql = "SELECT pg_catalog.pg_read_file('/proc/meminfo', true)";
    let text: Option<String> =
        session.query_one("read the server's memory", sql, &[]).await?.get(0);
    Ok(text.and_then(|text| {
        let line =
            text.lines().find_map(|line| line.strip_prefix("MemAvailable:").map(str::to_owned))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }))
}

async fn read_json<T: DeserializeOwned>(
    session: &Session,
    doing: &str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<T> {
    let text: Option<String> = session.query_one(doing, sql, params).await?.get(0);
    serde_json::from_str(text.as_deref().unwrap_or("[]")).map_err(|error| Error::Bug {
        what: format!("{doing}: the answer has another shape: {error}"),
    })
}

#[derive(Deserialize)]
struct Rest {
    extensions: Vec<Extension>,
    sequences: Vec<QualifiedName>,
    views: Vec<View>,
    large_objects: u64,
    roles: Vec<String>,
}

/// A [`Table`] whose columns still lack what only the closure over the types can tell.
#[derive(Deserialize)]
struct TableRow {
    columns: Vec<ColumnRow>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct ColumnRow {
    name: String,
    type_oid: u32,
    type_name: String,
    type_modifier: i32,
    not_null: bool,
    generated: Option<String>,
    identity: Option<String>,
    default: Option<String>,
    collation: Option<String>,
}

impl TableRow {
    fn into_table(mut self, types: &Types) -> Table {
        let columns: Vec<Column> =
            self.columns.drain(..).map(|column| column.into_column(types)).collect();
        let columns = serde_json::to_value(columns).expect("columns are plain data");
        self.rest.insert("columns".into(), columns);
        serde_json::from_value(self.rest.into()).expect("tables.sql and Table have the same shape")
    }
}

impl ColumnRow {
    fn into_column(self, types: &Types) -> Column {
        let (base_type, domain_modifier) = match types.base(self.type_oid) {
            Some((base, modifier)) => (base.name.clone(), modifier),
            None => (self.type_name.clone(), None),
        };
        let modifier =
            if self.type_modifier >= 0 { Some(self.type_modifier) } else { domain_modifier };
        // pgvector's types and bit store the dimensions as the modifier itself.
        let dimensions = match base_type.as_str() {
            "vector" | "halfvec" | "sparsevec" | "bit" => {
                modifier.and_then(|modifier| u32::try_from(modifier).ok())
            }
            _ => None,
        };
        Column {
            name: self.name,
            type_name: self.type_name,
            dimensions,
            base_type,
            not_null: self.not_null,
            generated: self.generated,
            identity: self.identity,
            default: self.default,
            collation: self.collation,
            text_only: types.text_only(self.type_oid).map(str::to_owned),
        }
    }
}
