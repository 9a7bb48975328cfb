//! The preflight on real clusters: every finding that can be provoked is, and looking changes nothing.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use vecferry_core::Side;
use vecferry_core::pg::Dsn;
use vecferry_core::policy::{Clusters, Existing, Policy};
use vecferry_core::preflight::{Finding, Report, Severity, check};
use vecferry_testkit::{Cluster, Database, Options, Version, pair};

const ITEMS: &str = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26) NOT NULL, content text, \
                     source text, embedding vector(3))";

struct Case {
    source: Database,
    target: Database,
    policy: Policy,
}

impl Case {
    /// Empty databases on the shared pair, `vector` on the source, programs of the newer version.
    async fn new(hint: &str) -> Case {
        let pair = pair().await;
        let source = Database::with_vector(&pair.source, hint).await.unwrap();
        let target = Database::create(&pair.target, hint).await.unwrap();
        let policy =
            Policy { pg_bin_dir: Some(Version::Pg18.bin_dir().unwrap()), ..Policy::default() };
        Case { source, target, policy }
    }

    async fn check(&self) -> Report {
        self.check_between(self.source.url(), self.target.url()).await
    }

    async fn check_between(&self, source: &str, target: &str) -> Report {
        let clusters = Clusters { source: dsn(source), target: dsn(target) };
        check(&clusters, &self.policy, &CancellationToken::new()).await.unwrap()
    }
}

fn dsn(url: &str) -> Dsn {
    url.parse().unwrap()
}

/// The URL with another login.
fn login(url: &str, login: &str) -> String {
    url.replacen("postgres@", &format!("{login}@"), 1)
}

#[track_caller]
fn find<'a>(report: &'a Report, check: &str, words: &str) -> &'a Finding {
    let found = report
        .findings
        .iter()
        .find(|finding| finding.check == check && finding.what.contains(words));
    found.unwrap_or_else(|| panic!("no {check} finding says {words:?} in {report:#?}"))
}

#[track_caller]
fn assert_found(report: &Report, severity: Severity, check: &str, words: &str) {
    assert_eq!(find(report, check, words).severity, severity, "{check}: {words}");
}

#[tokio::test]
async fn a_plain_pair_passes_and_nothing_is_left_behind() {
    let case = Case::new("plain").await;
    case.source
        .batch(&format!(
            "{ITEMS}; INSERT INTO items SELECT i, 'bot', 't', 's', '[1,2,3]' FROM generate_series(1, 9) i; \
             CREATE INDEX ON items USING hnsw (embedding vector_l2_ops); \
             CREATE TABLE log (line text); CREATE VIEW recent AS SELECT id FROM items; \
             CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY)"
        ))
        .await
        .unwrap();
    let contents = "SELECT string_agg(c.oid::text || c.relname || pg_relation_filenode(c.oid)::text, ',' ORDER BY c.oid) \
                    || (SELECT count(*) FROM pg_extension) || (SELECT count(*) FROM pg_namespace)
                    FROM pg_class c WHERE relkind IN ('r', 'i', 't')";
    let before = (case.source.psql(contents).unwrap(), case.target.psql(contents).unwrap());
    let report = case.check().await;
    assert!(!report.blocks(), "{report:#?}");
    assert!(report.could_not_run.is_empty(), "{report:#?}");
    assert_found(&report, Severity::Note, "pgvector version", "0.8.5 is available");
    assert_found(&report, Severity::Warning, "keys", "public.log");
    assert_found(&report, Severity::Note, "special tables", "views: public.recent");
    assert_found(&report, Severity::Note, "special tables", "unlogged tables: public.scratch");
    assert_found(&report, Severity::Note, "disk space", "will be needed");
    assert_eq!((case.source.psql(contents).unwrap(), case.target.psql(contents).unwrap()), before);
}

#[tokio::test]
async fn unreachable_sides_are_findings_with_the_way_out() {
    let case = Case::new("unreachable").await;
    let secured = Cluster::start(Version::Pg18, Options::new().password("right")).unwrap();
    let wrong = secured.url("postgres").replace(":right@", ":wrong@");
    let report = case.check_between(case.source.url(), &wrong).await;
    let finding = find(&report, "reachable", "password authentication failed");
    assert_eq!((finding.severity, finding.side), (Severity::Blocker, Some(Side::Target)));
    assert!(finding.remedy.contains("VECFERRY_TARGET_PASSWORD"), "{}", finding.remedy);
    assert!(!format!("{report:?}").contains("wrong"));
    assert!(report.checked.iter().any(|name| name == "keys"));
    assert!(report.could_not_run.iter().any(|not_run| not_run.check == "target tables"));

    let report = case
        .check_between(
            "postgresql://postgres@127.0.0.1:1/x",
            "postgresql://postgres@no.such.host.invalid/x",
        )
        .await;
    assert_eq!(find(&report, "reachable", "127.0.0.1:1").side, Some(Side::Source));
    assert!(find(&report, "reachable", "no.such.host").remedy.contains("does not resolve"));
    let nowhere = case.target.url().replace(case.target.name(), "nowhere");
    let report = case.check_between(case.source.url(), &nowhere).await;
    assert!(find(&report, "reachable", "\"nowhere\" does not exist").remedy.contains("create it"));
}

#[tokio::test]
async fn a_check_can_be_interrupted() {
    let case = Case::new("interrupted").await;
    let clusters = Clusters { source: dsn(case.source.url()), target: dsn(case.target.url()) };
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = check(&clusters, &case.policy, &cancel).await.unwrap_err();
    assert!(matches!(error, vecferry_core::Error::Interrupted));
}

#[tokio::test]
async fn missing_rights_on_both_sides_are_all_named_at_once() {
    let case = Case::new("rights").await;
    let role = format!("weak_{}", case.source.name());
    let make = format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 5");
    case.source
        .batch(&format!(
            "{make}; {ITEMS}; CREATE SCHEMA hidden; CREATE TABLE hidden.t (id serial PRIMARY KEY); \
             CREATE TABLE guarded (id int PRIMARY KEY); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; \
             GRANT SELECT ON guarded TO {role}; SELECT lo_from_bytea(0, 'x'); \
             ALTER ROLE {role} SET statement_timeout = '7s'"
        ))
        .await
        .unwrap();
    case.target
        .batch(&format!("{make}; CREATE TABLE guarded (id int PRIMARY KEY); CREATE SCHEMA hidden"))
        .await
        .unwrap();
    let report = case
        .check_between(&login(case.source.url(), &role), &login(case.target.url(), &role))
        .await;
    for (check, words) in [
        ("source privileges", "may not look into schema hidden"),
        ("source privileges", "may not read hidden.t, public.items"),
        ("source privileges", "sequence hidden.t_id_seq"),
        ("source privileges", "1 large object"),
        ("row security", "public.guarded"),
        ("target privileges", "may not create schemas"),
        ("target privileges", "schema hidden, public"),
        ("target privileges", "owned by another role: public.guarded"),
        ("free connections", "connection limit"),
        ("pgvector version", "may not create it"),
    ] {
        assert_found(&report, Severity::Blocker, check, words);
    }
    assert_found(&report, Severity::Note, "session limits", "statement_timeout=7s");
    assert_found(&report, Severity::Note, "roles", "may not act for postgres");
    case.source.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    case.target.batch(&format!("DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn tables_on_the_target_that_differ_or_hold_rows_are_found() {
    let mut case = Case::new("prepared").await;
    let row = "INSERT INTO items VALUES ('a', 'b', 'c', 's', '[1,2,3]')";
    case.source
        .batch(&format!("{ITEMS}; {row}; CREATE TABLE other (id int, mood text)"))
        .await
        .unwrap();
    case.target
        .batch(&format!("CREATE EXTENSION vector; {ITEMS}; {row}; CREATE TABLE other (id bigint, x int NOT NULL)"))
        .await
        .unwrap();
    let report = case.check().await;
    assert_found(&report, Severity::Blocker, "rows on the target", "public.items");
    assert_found(
        &report,
        Severity::Blocker,
        "target tables",
        "\"id\" is integer on the source and bigint on the target",
    );
    assert_found(&report, Severity::Blocker, "target tables", "\"mood\" is missing");
    assert_found(&report, Severity::Blocker, "target tables", "is NOT NULL without a default");
    case.policy.existing = Existing::Keep;
    assert_found(&case.check().await, Severity::Note, "rows on the target", "keep them");
}

#[tokio::test]
async fn vectors_that_no_search_finds_are_counted_whatever_their_type_and_schema() {
    let pair = pair().await;
    let case = Case {
        // Both from the newer server: the older pgvector knows neither halfvec nor sparsevec.
        source: Database::create(&pair.target, "odd").await.unwrap(),
        target: Database::create(&pair.target, "odd").await.unwrap(),
        policy: Policy { pg_bin_dir: Some(Version::Pg18.bin_dir().unwrap()), ..Policy::default() },
    };
    case.source
        .batch(
            "CREATE SCHEMA \"Ext\"; CREATE EXTENSION vector SCHEMA \"Ext\"; SET search_path = public, \"Ext\"; \
             CREATE TABLE odd (id int PRIMARY KEY, \"V v\" vector(2), h halfvec(2), s sparsevec(2)); \
             INSERT INTO odd VALUES (1, '[0,0]', '[1,1]', '{1:1}/2'), (2, '[1,0]', '[0,0]', '{}/2'), \
             (3, NULL, NULL, '{}/2'), (4, '[3e38,3e38]', '[1,1]', '{1:1}/2')",
        )
        .await
        .unwrap();
    let report = case.check().await;
    for words in [
        "1 vectors in public.odd.V v are zero (all 4 rows were looked at)",
        "1 rows of public.odd.V v have no vector",
        "1 vectors in public.odd.h are zero",
        "2 vectors in public.odd.s are zero",
    ] {
        assert_found(&report, Severity::Warning, "vectors", words);
    }
    assert!(report.could_not_run.is_empty(), "{report:#?}");
}

#[tokio::test]
async fn a_target_with_an_older_pgvector_or_server_is_refused() {
    let pair = pair().await;
    let case = Case {
        source: Database::with_vector(&pair.target, "down").await.unwrap(),
        target: Database::with_vector(&pair.source, "down").await.unwrap(),
        policy: Policy { pg_bin_dir: Some(Version::Pg18.bin_dir().unwrap()), ..Policy::default() },
    };
    case.source
        .batch(
            "CREATE TABLE half (id int PRIMARY KEY, h halfvec(3)); \
             CREATE TABLE young (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL); \
             CREATE EXTENSION IF NOT EXISTS hstore",
        )
        .await
        .ok();
    case.source
        .batch("CREATE TABLE IF NOT EXISTS half (id int PRIMARY KEY, h halfvec(3))")
        .await
        .unwrap();
    let report = case.check().await;
    assert_found(&report, Severity::Blocker, "pgvector version", "0.6.2 on the target and 0.8.5");
    assert_found(&report, Severity::Blocker, "pgvector version", "public.half.h need pgvector 0.7");
}

#[tokio::test]
async fn client_programs_are_looked_for_where_the_operator_says() {
    let mut case = Case::new("programs").await;
    case.policy.pg_bin_dir = Some(PathBuf::from("/nonexistent"));
    let report = case.check().await;
    let finding = find(&report, "client programs", "pg_dump was not found in /nonexistent");
    assert_eq!((finding.severity, finding.side), (Severity::Blocker, None));
    // From the newer cluster, the older cluster's programs will not do.
    case.policy.pg_bin_dir = Some(Version::Pg16.bin_dir().unwrap());
    let report = case.check_between(case.target.url(), case.source.url()).await;
    assert_found(&report, Severity::Blocker, "client programs", "pg_dump is 16.2");
}

#[tokio::test]
async fn the_same_database_under_two_names_is_recognised() {
    let case = Case::new("same").await;
    let other_name = case.source.url().replace("127.0.0.1", "localhost");
    let report = case.check_between(case.source.url(), &other_name).await;
    assert_found(&report, Severity::Blocker, "different databases", "the same database");
}

#[tokio::test]
async fn crowded_read_only_and_occupied_targets_are_refused() {
    let case = Case::new("occupied").await;
    let name = case.target.name();
    case.target
        .batch(&format!(
            "ALTER DATABASE \"{name}\" SET default_transaction_read_only = on; CREATE SCHEMA vecferry"
        ))
        .await
        .unwrap();
    let migration =
        vecferry_core::pg::Session::open(&dsn(case.target.url()), Side::Target, "migrate")
            .await
            .unwrap();
    migration.query_one("lock", "SELECT pg_advisory_lock(1)", &[]).await.unwrap();
    let report = case.check().await;
    assert_found(&report, Severity::Blocker, "other migrations", "is running");
    assert_found(&report, Severity::Blocker, "target is writable", "read-only");
    drop(migration);

    let small = Cluster::start(Version::Pg18, Options::new().set("max_connections", "8")).unwrap();
    let report = case.check_between(case.source.url(), &small.url("postgres")).await;
    // A superuser may use the reserved ones too.
    assert!(
        !report.findings.iter().any(|finding| finding.check == "free connections"),
        "{report:#?}"
    );
    let session = vecferry_testkit::Session::open(&small.url("postgres")).await.unwrap();
    let more = vecferry_testkit::Session::open(&small.url("postgres")).await.unwrap();
    let report = case.check_between(case.source.url(), &small.url("postgres")).await;
    assert_found(&report, Severity::Blocker, "free connections", "6 connections are free (2 of 8");
    drop((session, more));
}
