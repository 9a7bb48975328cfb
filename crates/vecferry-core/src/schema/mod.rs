//! The schema: everything of the source that is not rows, made on the target.
//!
//! Durable when: the first half (extensions, pre-data, the record with its tables, parts and indexes, dropped indexes
//! of prepared tables) commits in one transaction, and so does the second (constraints over finished indexes,
//! post-data, the next phase). Killed inside either, the target is as before it.
//!
//! pg_dump writes the definitions, so that every kind of object PostgreSQL knows is carried by PostgreSQL's own hand.
//! What is on the target already is left as it is, object by object.

mod dump;
mod existing;
mod prepared;
mod toc;

use std::collections::HashSet;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::delta::{self, Terms};
use crate::error::{Error, Result, Side};
use crate::index::{IndexPlan, plan_indexes, plan_prepared};
use crate::inspect::{inspect, inspect_server};
use crate::inventory::{Extension, Inventory, Table};
use crate::migration::Run;
use crate::pg::programs::Programs;
use crate::pg::{Failure, Session, quote_ident, quote_literal};
use crate::phase::{Phase, Route};
use crate::report::Event;
use crate::source::SourceSnapshot;
use crate::store;
use dump::{Archive, Dump, Section};
use toc::{Entry, Exclusions};

pub(crate) use prepared::{differences, shape};

/// Creates the first half of the schema and the migration's record, and enters the rows phase.
///
/// # Errors
/// [`Error::Refused`] with every reason at once when tables on the target do not fit; [`Error::Postgres`] and
/// [`Error::Program`] otherwise. Nothing is changed on an error.
pub(crate) async fn create(run: &Run<'_>, source: &SourceSnapshot, begun: Begun<'_>) -> Result<()> {
    let target = inspect(&run.control).await?;
    refuse_unfit(run, source, &target)?;
    let relations = existing::plan_relations(run, source, &target).await?;
    let programs = Programs::find(run.policy.pg_bin_dir.as_deref()).await?;
    let excluded: Vec<String> = source
        .inventory
        .tables
        .iter()
        .filter(|table| !run.policy.selects(table))
        .map(|table| table.name.to_string())
        .collect();
    let dump =
        Dump { snapshot: &source.name, excluded: &excluded, lock_timeout: run.policy.lock_timeout };
    let archive = Archive::dump(programs, &run.clusters.source, dump).await?;
    let objects = identify(run, source, &archive.entries().await?).await?;
    let entries = entries_to_restore(&archive, &objects, &[]).await?;
    let with_roles = may_carry_roles(run, source).await?;
    let script = archive.script(Section::PreData, &entries, with_roles).await?;

    let session = &run.control;
    session.batch("begin", "BEGIN").await?;
    store::prepare(session).await?;
    let extensions = create_extensions(run, source, &target).await?;
    run_script(session, "create the schema", &script).await?;
    store::insert(session, &run.id, run.route, &source.identity, begun.estimates).await?;
    if let (Route::Delta, Some(terms)) = (run.route, begun.terms) {
        delta::record::insert_terms(session, &run.id, terms).await?;
    }
    let recorded = Objects { with_roles, objects };
    store::insert_archive(session, &run.id, &archive.bytes().await?, &recorded).await?;
    for planned in &relations {
        store::insert_relation(session, &run.id, &planned.relation, &planned.parts).await?;
    }
    let indexes = take_down_indexes(run, source, &target, &relations).await?;
    store::insert_indexes(session, &run.id, &indexes).await?;
    let objects = created(&entries, &recorded.objects);
    store::insert_created(session, &run.id, &[extensions, objects].concat()).await?;
    existing::make_room(run, &relations).await?;
    store::enter(
        session,
        &run.id,
        Phase::Rows,
        Some((Phase::Schema, begun.at.elapsed().as_secs_f64())),
    )
    .await?;
    session.batch("commit the schema", "COMMIT").await
}

/// When the schema phase began, and what the plan had estimated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun<'a> {
    /// Start of the phase.
    pub(crate) at: Instant,
    /// Seconds per phase, to be recorded beside the outcome.
    pub(crate) estimates: &'a [(Phase, f64)],
    /// What a `delta` is measured by.
    pub(crate) terms: Option<&'a Terms>,
}

/// What must be known of the dump's objects when the source is no longer asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Objects {
    /// Whether owners and grants are carried.
    with_roles: bool,
    /// The objects of the dump.
    objects: Vec<Identified>,
}

/// An object of the dump: its OIDs on the source and PostgreSQL's own name for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identified {
    catalog: u32,
    object: u32,
    kind: String,
    identity: String,
    /// Whether it is not moved: on the target before the migration, or hanging on a table that is not selected.
    left: bool,
}

/// Creates the second half: constraints over the indexes that are built, then the dump's post-data; enters the
/// analyze phase. Works from the recorded archive, without the source.
///
/// # Errors
/// [`Error::Postgres`] and [`Error::Program`]; nothing is changed then.
pub(crate) async fn finish(run: &Run<'_>, built: &[IndexPlan], begun: Instant) -> Result<()> {
    let programs = Programs::find(run.policy.pg_bin_dir.as_deref()).await?;
    let (dump, recorded) = store::archive(&run.control, &run.id).await?;
    let archive = Archive::restore(programs, &dump).await?;
    let entries = entries_to_restore(&archive, &recorded.objects, built).await?;
    let entries = without_event_triggers(run, entries).await?;
    let script = archive.script(Section::PostData, &entries, recorded.with_roles).await?;
    let session = &run.control;
    session.batch("begin", "BEGIN").await?;
    // Where apply has started already, the keys' constraints are there.
    let attached = |plan: &&IndexPlan| run.route == Route::FollowApplyFirst && plan.serves_apply();
    for statement in built.iter().filter(|plan| !attached(plan)).flat_map(|plan| &plan.attach) {
        session.batch("attach a constraint to its index", statement).await?;
    }
    run_script(session, "create constraints and triggers", &script).await?;
    // It may hold the passwords of user mappings, which have their place in the target's catalog by now.
    store::forget_archive(session, &run.id).await?;
    store::enter(
        session,
        &run.id,
        Phase::Analyze,
        Some((Phase::Constraints, begun.elapsed().as_secs_f64())),
    )
    .await?;
    session.batch("commit the constraints", "COMMIT").await
}

/// Only superusers may create event triggers: for others they are left out, and named.
async fn without_event_triggers(run: &Run<'_>, mut entries: Vec<Entry>) -> Result<Vec<Entry>> {
    if inspect_server(&run.control).await?.superuser {
        return Ok(entries);
    }
    for entry in entries.extract_if(.., |entry| entry.kind == "EVENT TRIGGER") {
        let name = entry.subject.trim_start_matches("- ");
        let text = format!("event trigger {name} is left out: only a superuser may create it");
        run.reporter.event(&Event::Notice { text });
    }
    Ok(entries)
}

/// OIDs of the catalogs themselves are the same everywhere.
const PG_CLASS: u32 = 1259;
const PG_CONSTRAINT: u32 = 2606;

/// Every table that cannot take the source's rows, at once.
fn refuse_unfit(run: &Run<'_>, source: &SourceSnapshot, target: &Inventory) -> Result<()> {
    let mut unfit = Vec::new();
    for table in source.selected(run.policy) {
        if let Some(other) = target.table(&table.name) {
            unfit.extend(
                differences(table, other)
                    .iter()
                    .map(|what| format!("{}: {what}", table.name.plain())),
            );
        }
    }
    if unfit.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        side: Side::Target,
        what: format!("tables on the target do not fit the source's: {}", unfit.join("; ")),
        hint: Some("alter or drop them on the target, or leave them out with --exclude".into()),
    })
}

/// The dump's entries without what is left alone and what `built` has done.
async fn entries_to_restore(
    archive: &Archive,
    objects: &[Identified],
    built: &[IndexPlan],
) -> Result<Vec<Entry>> {
    let mut exclusions = Exclusions::default();
    let left = objects.iter().filter(|object| object.left);
    exclusions.objects.extend(left.map(|object| (object.catalog, object.object)));
    for plan in built {
        exclusions.built.insert((PG_CLASS, plan.oid));
        exclusions.built.insert((PG_CONSTRAINT, plan.constraint_oid));
    }
    Ok(toc::filter(archive.entries().await?, &exclusions).0)
}

/// Names the entries that are objects by PostgreSQL's own notion of identity, and tells which are left alone.
async fn identify(
    run: &Run<'_>,
    source: &SourceSnapshot,
    entries: &[Entry],
) -> Result<Vec<Identified>> {
    let unselected = unselected(run, source).await?;
    let rows =
        run.control.query("list the target's objects", include_str!("identity.sql"), &[]).await?;
    let there: HashSet<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let objects: Vec<&Entry> =
        entries.iter().filter(|entry| entry.catalog != 0 && entry.object != 0).collect();
    let catalogs: Vec<u32> = objects.iter().map(|entry| entry.catalog).collect();
    let oids: Vec<u32> = objects.iter().map(|entry| entry.object).collect();
    let sql = "SELECT x.c, x.o, i.type, i.identity FROM unnest($1::oid[], $2::oid[]) x(c, o), \
               LATERAL pg_identify_object(x.c, x.o, 0) i WHERE i.identity IS NOT NULL";
    let rows =
        source.session().query("identify the dumped objects", sql, &[&catalogs, &oids]).await?;
    let identified = |row: &tokio_postgres::Row| {
        let (catalog, object) = (row.get(0), row.get(1));
        let (kind, identity): (String, String) = (row.get(2), row.get(3));
        let left = unselected.contains(&(catalog, object))
            || there.contains(&(kind.as_str(), identity.as_str()));
        Identified { catalog, object, kind, identity, left }
    };
    Ok(rows.iter().map(identified).collect())
}

/// What hangs on tables that are not moved; empty when all are.
async fn unselected(run: &Run<'_>, source: &SourceSnapshot) -> Result<HashSet<(u32, u32)>> {
    if run.policy.selects_everything() {
        return Ok(HashSet::new());
    }
    let tables: Vec<&Table> =
        source.inventory.tables.iter().filter(|table| !run.policy.selects(table)).collect();
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let names: Vec<String> = tables.iter().map(|table| table.name.to_string()).collect();
    let sql = "SELECT n FROM unnest($1::text[]) WITH ORDINALITY x(name, n) WHERE to_regclass(name) IS NULL";
    let rows = run.control.query("look for tables that are not moved", sql, &[&names]).await?;
    let position = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i64>(0) - 1).ok();
    let absent: Vec<u32> =
        rows.iter().filter_map(position).filter_map(|at| oids.get(at).copied()).collect();
    let sql = include_str!("unselected.sql");
    let rows = source.session().query("list what is not moved", sql, &[&oids, &absent]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What the entries create, as `(type, identity)`, in order.
fn created(entries: &[Entry], objects: &[Identified]) -> Vec<(String, String)> {
    let of_first_half = entries.iter().filter(|entry| {
        !matches!(
            entry.kind.as_str(),
            "INDEX" | "CONSTRAINT" | "FK CONSTRAINT" | "TRIGGER" | "RULE"
        )
    });
    of_first_half
        .filter_map(|entry| {
            objects
                .iter()
                .find(|object| (object.catalog, object.object) == (entry.catalog, entry.object))
        })
        .map(|object| (object.kind.clone(), object.identity.clone()))
        .collect()
}

/// Owners and grants are carried when every role they name exists on the target and we may act for it.
async fn may_carry_roles(run: &Run<'_>, source: &SourceSnapshot) -> Result<bool> {
    let sql = "SELECT COALESCE(bool_and(r.oid IS NOT NULL AND pg_has_role(r.oid, 'MEMBER')), true) \
               FROM unnest($1::text[]) n LEFT JOIN pg_roles r ON r.rolname = n";
    Ok(run.control.query_one("look for roles", sql, &[&source.inventory.roles]).await?.get(0))
}

/// Creates missing extensions in the source's schemas and returns them as `(type, identity)`; `vector` must not be
/// older than the source's.
async fn create_extensions(
    run: &Run<'_>,
    source: &SourceSnapshot,
    target: &Inventory,
) -> Result<Vec<(String, String)>> {
    let used = used_extensions(source).await?;
    let mut created = Vec::new();
    for extension in &source.inventory.extensions {
        let name = extension.name.as_str();
        if target.extension(name).is_some() {
            continue;
        }
        if !used.contains(name) && !is_available(&run.control, name).await? {
            let text = format!(
                "extension {name} is not on the target; nothing uses it, so it is left out"
            );
            run.reporter.event(&Event::Notice { text });
            continue;
        }
        run.control
            .batch(&format!("create extension {name}"), &create_extension(extension))
            .await
            .map_err(|error| {
                error.with_hint(format!("install {name} on the target, or leave out what needs it"))
            })?;
        created.push(("extension".to_owned(), quote_ident(name)));
    }
    refuse_older_vector(run, source).await?;
    Ok(created)
}

fn create_extension(extension: &Extension) -> String {
    let (name, schema) = (quote_ident(&extension.name), quote_ident(&extension.schema));
    if extension.schema == "pg_catalog" {
        return format!("CREATE EXTENSION IF NOT EXISTS {name}");
    }
    format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {schema}"
    )
}

/// Extensions that something outside of them depends on.
async fn used_extensions(source: &SourceSnapshot) -> Result<HashSet<String>> {
    let rows = source
        .session()
        .query("read the use of extensions", include_str!("used_extensions.sql"), &[])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn is_available(session: &Session, extension: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)";
    Ok(session.query_one("look for an extension", sql, &[&extension]).await?.get(0))
}

async fn refuse_older_vector(run: &Run<'_>, snapshot: &SourceSnapshot) -> Result<()> {
    let Some(source) = snapshot.inventory.extension("vector") else { return Ok(()) };
    let sql = "SELECT extversion, string_to_array(extversion, '.')::int[] < string_to_array($1, '.')::int[] \
               FROM pg_extension WHERE extname = 'vector'";
    let row = run.control.query_one("read pgvector's version", sql, &[&source.version]).await?;
    if !row.get::<_, bool>(1) {
        return Ok(());
    }
    let version: String = row.get(0);
    Err(Error::Refused {
        side: Side::Target,
        what: format!("pgvector is {version} on the target and {} on the source", source.version),
        hint: Some(
            "run ALTER EXTENSION vector UPDATE on the target, or upgrade pgvector there".into(),
        ),
    })
}

/// Drops the indexes of prepared tables and returns everything to build after the rows.
async fn take_down_indexes(
    run: &Run<'_>,
    snapshot: &SourceSnapshot,
    target: &Inventory,
    relations: &[existing::Planned],
) -> Result<Vec<IndexPlan>> {
    let mut plans = Vec::new();
    for planned in relations {
        let Some(source) = snapshot.inventory.table(&planned.relation.name) else { continue };
        let there: Option<&Table> = target.table(&planned.relation.name);
        if let Some(table) = there {
            for plan in plan_prepared(source, table, planned.holds_rows) {
                run.control
                    .batch(&format!("drop index {}", plan.name), &plan.drop_statement())
                    .await?;
                plans.push(plan);
            }
        }
        plans.extend(plan_indexes(source, there));
    }
    Ok(plans)
}

/// Runs a script in the open transaction; an error shows the line it happened at.
async fn run_script(session: &Session, doing: &str, script: &str) -> Result<()> {
    // What the cut-off preamble would have set.
    let settings =
        "SET LOCAL check_function_bodies = false; SET LOCAL client_min_messages = warning;";
    session.batch(doing, settings).await?;
    session.batch(doing, script).await.map_err(|error| {
        let Error::Postgres { failure, .. } = &error else { return error };
        let Failure::Server { position: Some(at), .. } = failure.as_ref() else { return error };
        let line = line_at(script, *at);
        error.with_hint(format!("the statement was: {line}"))
    })
}

/// The line that holds the 1-based character position. Definitions are not row content.
fn line_at(script: &str, position: u32) -> String {
    let offset =
        script.char_indices().nth(position.saturating_sub(1) as usize).map_or(0, |(at, _)| at);
    let start = script[..offset].rfind('\n').map_or(0, |at| at + 1);
    script[start..].lines().next().unwrap_or_default().chars().take(200).collect()
}

/// Quoted literals as a SQL text array.
fn text_array(values: &[String]) -> String {
    let list: Vec<String> = values.iter().map(|value| quote_literal(value)).collect();
    format!("ARRAY[{}]::text[]", list.join(","))
}
