//! Tests of the comparison of structures.

use super::*;
use crate::inventory::{Column, Constraint, Extension, Index, Server, TableKind, View};
use crate::policy::Pattern;

fn column(name: &str, type_name: &str) -> Column {
    let base_type = type_name.rsplit('.').next().unwrap_or(type_name);
    Column {
        name: name.into(),
        type_name: type_name.into(),
        base_type: base_type.split('(').next().unwrap_or(base_type).into(),
        dimensions: None,
        not_null: false,
        generated: None,
        identity: None,
        default: None,
        collation: None,
        text_only: None,
    }
}

fn index(name: &str, definition: &str, method: &str) -> Index {
    Index {
        oid: 1,
        name: name.into(),
        definition: definition.into(),
        method: method.into(),
        options: vec![],
        unique: false,
        valid: true,
        columns: vec!["v".into()],
        partial: false,
        operator_class: "vector_l2_ops".into(),
        bytes: 0,
        constraint: None,
        attached: false,
        replica_identity: false,
        clustered: false,
    }
}

fn constraint(name: &str, kind: char, definition: &str) -> Constraint {
    Constraint { oid: 1, name: name.into(), kind, definition: definition.into(), referenced: false }
}

fn ivfflat(lists: u32) -> Index {
    let definition = format!(
        "CREATE INDEX t_v ON s.t USING ivfflat (v public.vector_l2_ops) WITH (lists='{lists}')"
    );
    index("t_v", &definition, "ivfflat")
}

fn table(name: &str) -> Table {
    Table {
        oid: 1,
        name: QualifiedName::new("s", name),
        kind: TableKind::Ordinary,
        unlogged: false,
        partition_of: None,
        relfilenode: 1,
        heap_bytes: 0,
        table_bytes: 0,
        estimated_rows: None,
        columns: vec![column("id", "integer"), column("v", "public.vector(3)")],
        key: vec!["id".into()],
        has_primary_key: true,
        replica_identity: 'd',
        indexes: vec![ivfflat(100)],
        constraints: vec![constraint("positive", 'c', "CHECK ((id > 0))")],
        triggers: vec!["audit".into()],
        row_security: false,
        privileges: vec![],
    }
}

fn server() -> Server {
    Server {
        version_num: 160_002,
        version: "16.2".into(),
        system_identifier: None,
        timeline: None,
        in_recovery: false,
        aurora: false,
        database: "d".into(),
        database_oid: 1,
        encoding: "UTF8".into(),
        role: "r".into(),
        superuser: true,
        can_create: true,
        encrypted: false,
        max_connections: 100,
        connections: 1,
        reserved_connections: 3,
        shared_buffers: 0,
        maintenance_work_mem: 0,
        max_parallel_maintenance_workers: 2,
        available_memory: None,
        wal_level: "logical".into(),
        max_wal_size: 0,
        can_set_replication_role: true,
    }
}

fn sequence(name: &str, last_value: Option<i64>) -> Sequence {
    Sequence {
        name: QualifiedName::new("s", name),
        options: "bigint increment 1 from 1 to 9".into(),
        descending: false,
        last_value,
        readable: true,
        owner: Some(QualifiedName::new("s", "t")),
    }
}

fn definition(
    what: What,
    name: &str,
    table: Option<&str>,
    fixed: &str,
    written: &str,
) -> Definition {
    let relation = table.map(|table| QualifiedName::new("s", table));
    let (fixed, written) = (fixed.into(), written.into());
    Definition { what, name: name.into(), relation, fixed, written }
}

fn catalog() -> Catalog {
    let extension =
        Extension { name: "vector".into(), version: "0.6.2".into(), schema: "public".into() };
    let view = View { name: QualifiedName::new("s", "w"), materialized: true, populated: true };
    Catalog {
        inventory: Inventory {
            server: server(),
            extensions: vec![extension],
            tables: vec![table("t")],
            sequences: vec![],
            views: vec![view],
            large_objects: 2,
            roles: vec![],
        },
        sequences: vec![sequence("q", Some(5))],
        definitions: vec![
            definition(
                What::Function,
                "s.f(integer)",
                None,
                "plpgsql BEGIN END",
                "CREATE FUNCTION",
            ),
            definition(What::View, "s.w", None, "m id integer", "SELECT t.id FROM s.t"),
            definition(What::Policy, "s.t: own", Some("t"), "for r to public", "USING (id > 0)"),
        ],
    }
}

/// Compares with a target changed by `change`; the differences as `what name: difference`, and the notes.
fn compared(change: impl FnOnce(&mut Catalog)) -> (Vec<String>, Vec<String>) {
    compared_under(&Policy::default(), change)
}

fn compared_under(
    policy: &Policy,
    change: impl FnOnce(&mut Catalog),
) -> (Vec<String>, Vec<String>) {
    let mut target = catalog();
    change(&mut target);
    let structure = compare(&catalog(), &target, policy);
    assert_eq!(structure.matches, structure.differences.is_empty());
    let differences = structure.differences.into_iter();
    let said = differences.map(|one| format!("{:?} {}: {}", one.what, one.name, one.difference));
    (said.collect(), structure.notes)
}

fn first(target: &mut Catalog) -> &mut Table {
    &mut target.inventory.tables[0]
}

#[test]
fn equal_catalogs_match_and_everything_was_looked_at() {
    let structure = compare(&catalog(), &catalog(), &Policy::default());
    assert!(structure.matches && structure.notes.is_empty(), "{structure:?}");
    let expected = Compared {
        extensions: 1,
        tables: 1,
        columns: 2,
        constraints: 1,
        indexes: 1,
        triggers: 1,
        sequences: 1,
        views: 1,
        functions: 1,
        rules: 0,
        policies: 1,
    };
    assert_eq!(structure.compared, expected);
}

#[test]
fn every_kind_of_difference_is_named_with_both_sides() {
    type Change = fn(&mut Catalog);
    let cases: &[(Change, &str)] = &[
        (|t| t.inventory.tables.clear(), "Table s.t: missing"),
        (|t| first(t).unlogged = true, "Table s.t: unlogged: true, on the source false"),
        (
            |t| first(t).kind = TableKind::Partitioned,
            "Table s.t: kind: partitioned, on the source ordinary",
        ),
        (|t| drop(first(t).columns.remove(0)), "Column s.t.id: missing"),
        (|t| first(t).columns.push(column("x", "text")), "Column s.t.x: on the target only"),
        (
            |t| first(t).columns[1].type_name = "public.vector(4)".into(),
            "Column s.t.v: type vector(4), on the source vector(3)",
        ),
        (
            |t| first(t).columns[0].not_null = true,
            "Column s.t.id: NOT NULL, on the source nullable",
        ),
        (
            |t| first(t).columns[0].identity = Some("always".into()),
            "Column s.t.id: identity always, on the source none",
        ),
        (
            |t| first(t).columns[0].default = Some("7".into()),
            "Column s.t.id: default 7, on the source none",
        ),
        (|t| first(t).constraints.clear(), "Constraint s.t: positive: missing: CHECK ((id > 0))"),
        (
            |t| first(t).constraints[0].definition = "CHECK ((id > 1))".into(),
            "Constraint s.t: positive: CHECK ((id > 1)), on the source CHECK ((id > 0))",
        ),
        (
            |t| first(t).constraints.push(constraint("more", 'c', "CHECK (false)")),
            "Constraint s.t: more: on the target only: CHECK (false)",
        ),
        (
            |t| first(t).indexes.clear(),
            "Index s.t: t_v: missing: USING ivfflat (v public.vector_l2_ops) WITH (lists='100')",
        ),
        (
            |t| first(t).indexes[0].valid = false,
            "Index s.t: t_v: invalid: its build failed or is still under way",
        ),
        (|t| first(t).triggers.clear(), "Trigger s.t: audit: missing"),
        (|t| t.sequences.clear(), "Sequence s.q: missing"),
        (|t| t.sequences[0].last_value = Some(4), "Sequence s.q: stands at 4, on the source at 5"),
        (|t| t.sequences[0].last_value = None, "Sequence s.q: was never used, on the source at 5"),
        (|t| t.inventory.views.clear(), "View s.w: missing"),
        (|t| t.inventory.views[0].populated = false, "View s.w: not populated"),
        (
            |t| t.inventory.extensions[0].version = "0.6".into(),
            "Extension vector: version 0.6 is older than the source's 0.6.2",
        ),
        (|t| t.inventory.extensions.clear(), "Extension vector: missing, the source has 0.6.2"),
    ];
    for (change, said) in cases {
        assert_eq!(compared(change).0, [*said]);
    }
}

#[test]
fn what_a_newer_or_fuller_target_has_is_a_note() {
    type Change = fn(&mut Catalog);
    let cases: &[Change] = &[
        |t| t.inventory.extensions[0].version = "0.10.0".into(),
        |t| t.inventory.tables.push(table("u")),
        |t| first(t).replica_identity = 'f',
        |t| first(t).constraints[0].name = "renamed".into(),
        |t| first(t).indexes[0].name = "renamed".into(),
        |t| first(t).indexes.push(index("more", "CREATE INDEX more ON s.t USING gin (v)", "gin")),
        |t| first(t).indexes[0] = ivfflat(10),
        |t| t.sequences[0].readable = false,
    ];
    for (at, change) in cases.iter().enumerate() {
        let (differences, notes) = compared(change);
        assert_eq!(
            (differences.len(), notes.len()),
            (0, 1),
            "case {at}: {differences:?} {notes:?}"
        );
    }
}

#[test]
fn not_null_constraints_and_the_extensions_schema_are_no_difference() {
    let (differences, notes) = compared(|target| {
        target.inventory.extensions[0].schema = "ext".into();
        let table = first(target);
        table.columns[1].type_name = "ext.vector(3)".into();
        table.indexes[0].definition = table.indexes[0].definition.replace("public.", "ext.");
        table.constraints.push(constraint("t_id_not_null", 'n', "NOT NULL id"));
    });
    assert_eq!((differences, notes), (vec![], vec![]));
}

#[test]
fn a_descending_sequence_must_stand_as_low() {
    let down = |last_value| Sequence { descending: true, ..sequence("q", last_value) };
    assert_eq!(behind(&down(Some(-5)), &down(Some(-6))), None);
    assert!(behind(&down(Some(-5)), &down(Some(-4))).is_some());
    assert_eq!(behind(&down(None), &down(None)), None);
}

#[test]
fn what_the_policy_leaves_out_is_not_compared() {
    let policy = Policy { include: vec![Pattern::new("other")], ..Policy::default() };
    let (differences, notes) = compared_under(&policy, |target| {
        target.inventory.tables.clear();
        target.inventory.views.clear();
        target.sequences.clear();
    });
    assert_eq!((differences.len(), notes.len()), (0, 1));
    let policy = Policy { include: vec![Pattern::new("t")], ..Policy::default() };
    let (differences, _) = compared_under(&policy, |target| target.sequences.clear());
    assert_eq!(differences, ["Sequence s.q: missing"]);
}

#[test]
fn versions_are_ordered_by_their_numbers() {
    for (older, newer) in [("0.8.0", "0.10"), ("0.6", "0.6.2"), ("1.9", "2"), ("3.4.1", "3.4.2dev")]
    {
        assert!(version_key(older) < version_key(newer), "{older} {newer}");
    }
    assert_eq!(version_key("1.08"), version_key("1.8"));
}

#[test]
fn what_is_defined_otherwise_is_a_difference_and_what_a_version_may_write_otherwise_a_note() {
    type Change = fn(&mut Catalog);
    let cases: &[(Change, &str)] = &[
        (|t| drop(t.definitions.remove(0)), "Function s.f(integer): missing"),
        (
            |t| t.definitions[0].fixed = "plpgsql BEGIN x END".into(),
            "Function s.f(integer): plpgsql BEGIN x END, on the source plpgsql BEGIN END",
        ),
        (
            |t| t.definitions[1].written = "SELECT 1 AS id".into(),
            "View s.w: SELECT 1 AS id, on the source SELECT t.id FROM s.t",
        ),
        (|t| drop(t.definitions.remove(2)), "Policy s.t: own: missing"),
        (
            |t| t.definitions[2].name = "s.t: other".into(),
            "Policy s.t: own: missing\nPolicy s.t: other: on the target only",
        ),
    ];
    for (change, said) in cases {
        assert_eq!(compared(change).0.join("\n"), *said);
    }
    for (change, notes) in [
        ((|t| t.definitions[1].written = "SELECT t.id::int FROM s.t".into()) as Change, 0),
        (|t| t.definitions[0].name = "s.g()".into(), 0),
        (|t| t.definitions[1].written = "SELECT id FROM s.t".into(), 1),
    ] {
        let newer = |target: &mut Catalog| {
            target.inventory.server.version_num = 180_004;
            change(target);
        };
        let (differences, found) = compared(newer);
        let lost = differences.iter().filter(|said| !said.starts_with("Function")).count();
        assert_eq!((lost, found.len()), (0, notes), "{differences:?} {found:?}");
    }
}

#[test]
fn what_a_migration_has_yet_to_do_is_a_note_or_said_to_be_to_come() {
    let mut target = catalog();
    target.sequences[0].last_value = None;
    let during = |target: &Catalog, progress: Progress| {
        compare_during(&catalog(), target, &Policy::default(), progress)
    };
    let following = Progress { positions_later: true, building: None };
    let found = during(&target, following);
    assert!(found.matches && found.notes[0].contains("the cutover sets them"), "{found:?}");
    assert!(!during(&target, Progress::default()).matches);
    target.sequences[0].options = "other".into();
    assert!(!during(&target, following).matches, "only positions are set later");
    let mut target = catalog();
    for table in &mut target.inventory.tables {
        table.indexes.clear();
    }
    let building = Progress { positions_later: true, building: Some(Phase::Indexes) };
    let found = during(&target, building);
    assert!(!found.matches, "the target is not ready");
    let said = &found.differences[0].difference;
    assert!(
        said.starts_with("not there yet, the migration is in phase indexes: missing"),
        "{said}"
    );
}
