//! A healthy pair of clusters, spoilt in one way at a time: which check speaks, how loudly, about what.

mod follow;

use super::*;
use crate::inventory::{Constraint, Extension, TableKind, View};
use crate::pg::programs::{Program, Programs};
use crate::pg::{Dsn, QualifiedName};
use crate::policy::{Existing, Pattern};
use crate::sample;

fn extra(port: u16) -> Extra {
    let available = |name: &str, version: &str| Available {
        name: name.into(),
        version: version.into(),
        superuser: true,
        trusted: true,
    };
    Extra {
        identity: Identity {
            started_at: format!("2024-05-01 00:00:{port}"),
            address: Some(format!("10.0.0.1:{port}")),
            backend_pid: 100,
        },
        available: vec![available("vector", "0.6.2"), available("vector", "0.8.5")],
        used_extensions: vec!["vector".into()],
        role_settings: vec![],
        can_export_snapshot: true,
        schemas: vec![Schema { name: "public".into(), usage: true, create: true }],
        hidden_rows: vec![],
        unreadable_sequences: vec![],
        unreadable_large_objects: 0,
        event_triggers: vec![],
        all_roles: vec!["postgres".into()],
        held_roles: vec!["postgres".into()],
        read_only: false,
        connections: Connections {
            used: 3,
            reserved: 0,
            role_used: 1,
            role_limit: None,
            database_used: 2,
            database_limit: None,
        },
        has_store: false,
        migration_running: false,
        managed_superuser: false,
    }
}

fn side(side: Side, major: u32, vector: &str) -> SideFacts {
    let extra = extra(u16::try_from(major).unwrap());
    let second = Some(Identity { backend_pid: 101, ..extra.identity.clone() });
    let known = Known {
        inventory: sample::inventory(major, Some(vector)),
        extra,
        second,
        replication: None,
    };
    let dsn: Dsn = "postgresql://app@db.example/kb?sslmode=verify-full".parse().unwrap();
    SideFacts::new(side, &dsn, Ok(known))
}

fn programs(major: u32) -> Programs {
    let program = |name: &str| Program { path: name.into(), version: format!("{major}.1"), major };
    Programs { pg_dump: program("pg_dump"), pg_restore: program("pg_restore") }
}

fn healthy() -> Facts {
    let mut source = side(Side::Source, 16, "0.6.2");
    source.state.as_mut().unwrap().inventory.tables.push(sample::items(1000, 1024));
    Facts {
        policy: Policy::default(),
        source,
        target: side(Side::Target, 18, "0.8.5"),
        programs: Ok(programs(18)),
        vectors: vec![VectorSample {
            table: QualifiedName::new("public", "items"),
            column: "embedding".into(),
            share: 1.0,
            rows: 1000,
            nulls: 0,
            zeros: 0,
            not_finite: 0,
        }],
        filled: vec![],
        source_from_target: None,
        target_from_source: None,
        left_out: vec![],
    }
}

/// The inventory and extras of a side, to be spoilt.
fn known(facts: &mut Facts, side: Side) -> &mut Known {
    let side = match side {
        Side::Source => &mut facts.source,
        Side::Target => &mut facts.target,
    };
    side.state.as_mut().unwrap()
}

fn source(facts: &mut Facts) -> &mut Known {
    known(facts, Side::Source)
}

fn target(facts: &mut Facts) -> &mut Known {
    known(facts, Side::Target)
}

fn items(facts: &mut Facts) -> &mut crate::inventory::Table {
    &mut source(facts).inventory.tables[0]
}

/// Puts the source's tables on the target as well.
fn prepared(facts: &mut Facts) -> &mut crate::inventory::Table {
    let tables = source(facts).inventory.tables.clone();
    target(facts).inventory.tables = tables;
    &mut target(facts).inventory.tables[0]
}

/// What speaks beyond the note about disk space, which always does.
fn spoilt(spoil: impl FnOnce(&mut Facts)) -> Vec<(Severity, String, String)> {
    let mut facts = healthy();
    spoil(&mut facts);
    let report = judge(&facts);
    assert!(report.findings.is_sorted_by_key(|finding| finding.severity));
    assert!(report.findings.iter().all(|finding| !finding.remedy.is_empty()));
    let found = report.findings.into_iter().filter(|finding| finding.check != "disk space");
    found.map(|finding| (finding.severity, finding.check, finding.what)).collect()
}

/// Asserts that exactly one thing is found.
#[track_caller]
fn one(severity: Severity, check: &str, words: &str, spoil: impl FnOnce(&mut Facts)) {
    let found = spoilt(spoil);
    let [(loud, name, what)] = found.as_slice() else { panic!("{check}: {found:?}") };
    assert_eq!((*loud, name.as_str()), (severity, check), "{what}");
    assert!(what.contains(words), "{what:?} does not say {words:?}");
}

use Severity::{Blocker, Note, Warning};

#[test]
fn a_healthy_pair_is_silent_and_every_check_has_run() {
    assert_eq!(spoilt(|_| {}), vec![]);
    let report = judge(&healthy());
    assert_eq!(report.checked.len(), CHECKS.len());
    assert!(!report.blocks() && report.could_not_run.is_empty());
    let mut names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CHECKS.len());
}

#[test]
fn a_side_that_cannot_be_reached_costs_only_what_needs_it() {
    let mut facts = healthy();
    facts.target.state =
        Err(Unreadable { what: "cannot connect".into(), remedy: "start it".into() });
    items(&mut facts).privileges.clear();
    let report = judge(&facts);
    assert!(report.blocks());
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(found, ["reachable", "source privileges"]);
    let left: Vec<&str> =
        report.could_not_run.iter().map(|not_run| not_run.check.as_str()).collect();
    assert!(left.contains(&"target tables") && !left.contains(&"keys"), "{left:?}");
    assert_eq!(report.could_not_run[0].why, "the target cannot be read");
    facts.source.state = facts.target.state.clone();
    let both = judge(&facts);
    assert_eq!(both.findings.len(), 2);
    let tables = both.could_not_run.iter().find(|not_run| not_run.check == "target tables");
    assert_eq!(tables.unwrap().why, "the source and the target cannot be read");
}

#[test]
fn the_same_database_twice_blocks_and_a_clone_is_pointed_out() {
    let same = |facts: &mut Facts| {
        let identifier = source(facts).inventory.server.system_identifier.clone();
        target(facts).inventory.server.system_identifier = identifier;
    };
    one(Warning, "different databases", "physical copy", same);
    one(Blocker, "different databases", "the same database", |facts| {
        same(facts);
        let identity = source(facts).extra.identity.clone();
        target(facts).extra.identity = identity.clone();
        target(facts).second = Some(Identity { backend_pid: 7, ..identity });
    });
    assert_eq!(
        spoilt(|facts| {
            same(facts);
            target(facts).inventory.server.database = "other".into();
        }),
        vec![]
    );
    let standby = spoilt(|facts| {
        same(facts);
        source(facts).inventory.server.in_recovery = true;
    });
    assert!(
        standby
            .iter()
            .any(|(loud, check, _)| (*loud, check.as_str()) == (Blocker, "different databases"))
    );
}

#[test]
fn readers_poolers_and_balancers_are_told_from_one_writer() {
    one(Blocker, "one server behind the address", "different servers", |facts| {
        source(facts).second.as_mut().unwrap().address = Some("10.0.0.2:5432".into());
    });
    one(Blocker, "one server behind the address", "pooler", |facts| {
        target(facts).second.as_mut().unwrap().backend_pid = 100;
    });
    one(Blocker, "source is the writer", "Aurora reader", |facts| {
        facts.source.host = "kb.cluster-ro-abc.eu-west-1.rds.amazonaws.com".into();
    });
    one(Blocker, "source is the writer", "Aurora reader", |facts| {
        source(facts).inventory.server.aurora = true;
        source(facts).inventory.server.in_recovery = true;
    });
    one(Warning, "source is the writer", "standby", |facts| {
        source(facts).inventory.server.in_recovery = true;
    });
    one(Blocker, "target is writable", "standby", |facts| {
        target(facts).inventory.server.in_recovery = true;
    });
    one(Blocker, "target is writable", "read-only", |facts| target(facts).extra.read_only = true);
}

#[test]
fn an_exposed_connection_is_a_warning_except_on_this_machine() {
    one(Warning, "encryption", "is not encrypted", |facts| {
        source(facts).inventory.server.encrypted = false;
    });
    one(Warning, "encryption", "not verified", |facts| facts.target.verifies = false);
    for host in ["/run/postgresql", "localhost", "127.0.0.1", "::1"] {
        assert_eq!(
            spoilt(|facts| {
                facts.source.host = host.into();
                facts.source.verifies = false;
                source(facts).inventory.server.encrypted = false;
            }),
            vec![],
            "{host}"
        );
    }
}

#[test]
fn the_tightest_of_all_connection_limits_counts() {
    one(Blocker, "free connections", "6 connections are free (94 of 100", |facts| {
        source(facts).extra.connections.used = 94;
    });
    assert_eq!(spoilt(|facts| source(facts).extra.connections.used = 93), vec![]);
    one(Blocker, "free connections", "the run wants 7", |facts| {
        source(facts).inventory.server.superuser = false;
        source(facts).extra.connections.used = 90;
        source(facts).extra.connections.reserved = 2;
    });
    one(Blocker, "free connections", "the role's connection limit", |facts| {
        target(facts).extra.connections.role_limit = Some(6);
    });
    one(Blocker, "free connections", "the database's connection limit", |facts| {
        target(facts).extra.connections.database_limit = Some(1);
    });
    let mut facts = healthy();
    target(&mut facts).extra.connections.role_limit = Some(6);
    assert_eq!(
        judge(&facts).findings[0].remedy,
        "use --jobs 2, or raise the role's connection limit"
    );
}

#[test]
fn another_migration_blocks_while_it_runs_and_is_noted_afterwards() {
    one(Blocker, "other migrations", "is running", |facts| {
        target(facts).extra.migration_running = true;
    });
    one(Note, "other migrations", "schema vecferry", |facts| target(facts).extra.has_store = true);
    one(Note, "session limits", "statement_timeout=5s", |facts| {
        source(facts).extra.role_settings.push("statement_timeout=5s".into());
    });
}

#[test]
fn client_programs_must_reach_the_sources_version() {
    assert_eq!(spoilt(|facts| facts.programs = Ok(programs(16))), vec![]);
    one(Blocker, "client programs", "pg_dump is 15.1", |facts| facts.programs = Ok(programs(15)));
    one(Blocker, "client programs", "not found", |facts| {
        facts.programs =
            Err(Unreadable { what: "pg_dump was not found".into(), remedy: "install".into() });
    });
}

#[test]
fn an_older_server_is_a_warning_unless_the_tables_need_the_newer() {
    let down = |facts: &mut Facts| target(facts).inventory.server = sample::server(14);
    one(Warning, "server versions", "older major", down);
    one(Blocker, "server versions", "NULLS NOT DISTINCT", |facts| {
        down(facts);
        items(facts).indexes[0].definition.push_str(" NULLS NOT DISTINCT");
    });
    one(Blocker, "server versions", "virtual generated", |facts| {
        down(facts);
        items(facts).columns[2].generated = Some("virtual".into());
    });
}

#[test]
fn pgvector_must_not_be_older_on_the_target() {
    let version = |facts: &mut Facts, version: &str| {
        target(facts).inventory.extensions[0].version = version.into();
    };
    one(Blocker, "pgvector version", "0.5.1 on the target", |facts| version(facts, "0.5.1"));
    assert_eq!(spoilt(|facts| version(facts, "0.6.2")), vec![]);
    assert_eq!(spoilt(|facts| version(facts, "0.10.0")), vec![], "0.10 is newer than 0.6");
    one(Note, "pgvector version", "0.8.5 is available", |facts| {
        target(facts).inventory.extensions.clear();
    });
    one(Blocker, "pgvector version", "newest pgvector available on the target is 0.5.0", |facts| {
        target(facts).inventory.extensions.clear();
        target(facts).extra.available.truncate(1);
        target(facts).extra.available[0].version = "0.5.0".into();
    });
    one(Blocker, "pgvector version", "not available", |facts| {
        target(facts).inventory.extensions.clear();
        target(facts).extra.available.clear();
    });
    one(Blocker, "pgvector version", "in schema extensions", |facts| {
        target(facts).inventory.extensions[0].schema = "extensions".into();
    });
    let halfvec = spoilt(|facts| {
        version(facts, "0.6.0");
        items(facts).columns.push(sample::column("half", "public.halfvec(8)"));
    });
    assert!(
        halfvec.iter().any(|(_, _, what)| what.contains("public.items.half need pgvector 0.7"))
    );
}

#[test]
fn other_extensions_are_looked_for_on_the_target() {
    let with = |facts: &mut Facts| {
        source(facts).inventory.extensions.push(Extension {
            name: "hstore".into(),
            version: "1.8".into(),
            schema: "public".into(),
        });
    };
    let available = |facts: &mut Facts, trusted| {
        target(facts).extra.available.push(Available {
            name: "hstore".into(),
            version: "1.8".into(),
            superuser: true,
            trusted,
        });
    };
    one(Blocker, "extensions", "hstore 1.8 is not available", with);
    one(Note, "extensions", "1.8 is available", |facts| {
        with(facts);
        available(facts, true);
    });
    one(Blocker, "extensions", "may not create it", |facts| {
        with(facts);
        available(facts, false);
        target(facts).inventory.server.superuser = false;
    });
    one(Warning, "extensions", "hstore is 1.7 on the target", |facts| {
        with(facts);
        let older =
            Extension { version: "1.7".into(), ..source(facts).inventory.extensions[1].clone() };
        target(facts).inventory.extensions.push(older);
    });
}

#[test]
fn missing_rights_are_named_with_the_grant_that_helps() {
    one(Blocker, "source privileges", "may not read public.items", |facts| {
        items(facts).privileges.retain(|held| held != "SELECT");
    });
    one(Blocker, "source privileges", "schema public", |facts| {
        source(facts).extra.schemas[0].usage = false;
    });
    one(Blocker, "source privileges", "sequence public.s", |facts| {
        source(facts).extra.unreadable_sequences.push(QualifiedName::new("public", "s"));
    });
    one(Blocker, "source privileges", "2 large objects", |facts| {
        source(facts).extra.unreadable_large_objects = 2;
    });
    one(Blocker, "source privileges", "pg_export_snapshot", |facts| {
        source(facts).extra.can_export_snapshot = false;
    });
    one(Warning, "source privileges", "pg_control_system", |facts| {
        source(facts).inventory.server.system_identifier = None;
    });
    one(Blocker, "row security", "hides rows of public.items", |facts| {
        source(facts).extra.hidden_rows.push(QualifiedName::new("public", "items"));
    });
    one(Blocker, "target privileges", "create schemas", |facts| {
        target(facts).inventory.server.can_create = false;
    });
    one(Blocker, "target privileges", "create in schema public", |facts| {
        target(facts).extra.schemas[0].create = false;
    });
    one(Blocker, "target privileges", "owned by another role: public.items", |facts| {
        prepared(facts).privileges.clear();
    });
    one(Note, "roles", "role app does not exist", |facts| {
        source(facts).inventory.roles.push("app".into());
    });
    one(Note, "roles", "may not act for app", |facts| {
        source(facts).inventory.roles.push("app".into());
        target(facts).extra.all_roles.push("app".into());
    });
    let mut facts = healthy();
    items(&mut facts).privileges.clear();
    assert_eq!(
        judge(&facts).findings[0].remedy,
        "GRANT SELECT ON \"public\".\"items\" TO \"postgres\""
    );
}

#[test]
fn tables_on_the_target_must_fit() {
    assert_eq!(spoilt(|facts| drop(prepared(facts).indexes.pop())), vec![]);
    one(
        Blocker,
        "target tables",
        "public.vector(1024) on the source and public.vector(768) on the target",
        |facts| {
            prepared(facts).columns[4] = sample::column("embedding", "public.vector(768)");
        },
    );
    one(Blocker, "target tables", "column \"source\" is missing", |facts| {
        prepared(facts).columns.remove(3);
    });
    one(Blocker, "target tables", "NOT NULL on the target only", |facts| {
        prepared(facts).columns[2].not_null = true;
    });
    one(Blocker, "target tables", "generated on the target only", |facts| {
        prepared(facts).columns[2].generated = Some("stored".into());
    });
    one(Blocker, "target tables", "\"content\" is generated on the source only", |facts| {
        prepared(facts);
        items(facts).columns[2].generated = Some("stored".into());
    });
    one(Blocker, "target tables", "and partitioned on the target", |facts| {
        prepared(facts).kind = TableKind::Partitioned;
        items(facts).kind = TableKind::Ordinary;
    });
    one(Warning, "target tables", "a column extra", |facts| {
        prepared(facts).columns.push(sample::column("extra", "text"));
    });
    one(Blocker, "target tables", "without a default", |facts| {
        let mut extra = sample::column("extra", "text");
        extra.not_null = true;
        prepared(facts).columns.push(extra);
    });
}

#[test]
fn rows_on_the_target_are_judged_by_what_was_chosen_for_them() {
    let filled = |existing: Existing| {
        move |facts: &mut Facts| {
            prepared(facts);
            facts.filled.push(QualifiedName::new("public", "items"));
            facts.policy.existing = existing;
        }
    };
    let check = "rows on the target";
    one(Blocker, check, "rows are in public.items on the target already", filled(Existing::Refuse));
    one(Note, check, "keep them", filled(Existing::Keep));
    one(Warning, check, "copied anew", filled(Existing::Replace));
    let no_bot = |facts: &mut Facts| facts.policy.knowledge.bot = None;
    one(Blocker, check, "no bot column", |facts| {
        filled(Existing::Keep)(facts);
        no_bot(facts);
    });
    one(Warning, check, "emptied on the target: public.items", |facts| {
        filled(Existing::Replace)(facts);
        no_bot(facts);
    });
    let resumed = spoilt(|facts| {
        filled(Existing::Refuse)(facts);
        target(facts).extra.has_store = true;
    });
    assert_eq!(resumed.iter().map(|found| found.0).collect::<Vec<_>>(), [Warning, Note]);
}

#[test]
fn what_is_special_about_the_tables_is_said() {
    one(Warning, "keys", "neither a primary key nor a replica identity: public.items", |facts| {
        items(facts).key.clear()
    });
    one(Note, "binary format", "column content (text) no binary functions", |facts| {
        items(facts).columns[2].text_only = Some("no binary functions".into());
    });
    one(Note, "special tables", "unlogged tables: public.items", |facts| {
        items(facts).unlogged = true
    });
    one(Note, "special tables", "invalid indexes", |facts| items(facts).indexes[0].valid = false);
    one(Note, "special tables", "materialized views: public.mv", |facts| {
        source(facts).inventory.views.push(View {
            name: QualifiedName::new("public", "mv"),
            materialized: true,
            populated: true,
        });
    });
    one(Warning, "triggers", "event trigger et fires", |facts| {
        target(facts).extra.event_triggers.push("et".into());
    });
    one(Warning, "triggers", "may not silence", |facts| {
        prepared(facts).triggers.push("t".into());
        target(facts).inventory.server.can_set_replication_role = false;
    });
    one(Warning, "encoding", "SQL_ASCII", |facts| {
        source(facts).inventory.server.encoding = "SQL_ASCII".into();
    });
    one(Note, "encoding", "from LATIN1 to UTF8", |facts| {
        source(facts).inventory.server.encoding = "LATIN1".into();
    });
    one(Warning, "encoding", "differs", |facts| {
        target(facts).inventory.server.encoding = "LATIN1".into();
    });
}

#[test]
fn patterns_that_choose_nothing_are_pointed_out() {
    one(Warning, "selected tables", "0 tables in the source", |facts| {
        source(facts).inventory.tables.clear();
    });
    one(Warning, "selected tables", "--exclude nothing", |facts| {
        facts.policy.exclude.push(Pattern::new("nothing"));
    });
    let none = spoilt(|facts| facts.policy.include.push(Pattern::new("itms")));
    assert_eq!(none.iter().map(|found| found.0).collect::<Vec<_>>(), [Blocker, Warning]);
    one(Warning, "selected tables", "refers to public.bots, which is not moved", |facts| {
        items(facts).constraints.push(Constraint {
            oid: 9,
            name: "fk".into(),
            kind: 'f',
            definition: "FOREIGN KEY (botid) REFERENCES public.bots(id)".into(),
            referenced: false,
        });
    });
}

#[test]
fn an_index_that_does_not_fit_into_memory_is_a_warning_with_numbers() {
    let hnsw = |facts: &mut Facts, rows| {
        let mut table = sample::items(rows, 1024);
        table.indexes.push(sample::index("nearest", "hnsw", &["embedding"], "vector_l2_ops"));
        source(facts).inventory.tables = vec![table];
    };
    assert_eq!(spoilt(|facts| hnsw(facts, 1_000_000)), vec![], "4.8 GB of 5.6 GiB");
    one(Warning, "index memory", "wants 8.9 GiB of memory, and builds may use 5.6 GiB", |facts| {
        hnsw(facts, 2_000_000);
    });
    one(Warning, "index memory", "as --index-memory says", |facts| {
        hnsw(facts, 1_000_000);
        facts.policy.index_memory = Some(1 << 30);
    });
    one(Warning, "index memory", "refuses the build", |facts| {
        hnsw(facts, 2_000_000);
        let index = items(facts).indexes.last_mut().unwrap();
        (index.method, index.options) = ("ivfflat".into(), vec!["lists=20000".into()]);
    });
}

#[test]
fn odd_vectors_are_counted_with_the_share_that_was_looked_at() {
    let spoil =
        |change: fn(&mut VectorSample)| move |facts: &mut Facts| change(&mut facts.vectors[0]);
    one(
        Warning,
        "vectors",
        "3 vectors in public.items.embedding are zero (all 1000 rows",
        spoil(|s| s.zeros = 3),
    );
    one(Warning, "vectors", "have no vector", spoil(|s| s.nulls = 3));
    one(Warning, "vectors", "not finite", spoil(|s| s.not_finite = 3));
    one(
        Warning,
        "vectors",
        "1000 rows, 2.50 % of the table, were looked at",
        spoil(|s| {
            s.zeros = 1;
            s.share = 0.025;
        }),
    );
}
