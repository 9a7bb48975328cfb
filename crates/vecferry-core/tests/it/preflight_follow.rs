//! The preflight of a `follow` on real clusters: what would stop it is found, each server really tries to reach the
//! other one, and neither objects nor passwords are left behind.

use tokio_util::sync::CancellationToken;
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::preflight::{Finding, Report, Severity, check};
use vecferry_testkit::{Cluster, Database, FaultProxy, Options, Version, pair};

use crate::fixture::{clusters, policy};

const ITEMS: &str = "CREATE TABLE items (id char(26) PRIMARY KEY, embedding vector(3)); \
                     INSERT INTO items SELECT i, '[1,2,3]' FROM generate_series(1, 9) i";

fn following() -> Policy {
    Policy { method: Some(Method::Follow), ..policy() }
}

async fn report(clusters: &Clusters, policy: &Policy) -> Report {
    check(clusters, policy, &CancellationToken::new()).await.unwrap()
}

#[track_caller]
fn find<'a>(report: &'a Report, severity: Severity, check: &str, words: &str) -> &'a Finding {
    let found = report.findings.iter().find(|finding| {
        finding.severity == severity && finding.check == check && finding.what.contains(words)
    });
    found.unwrap_or_else(|| panic!("no {check} finding says {words:?} in {report:#?}"))
}

use Severity::{Blocker, Note, Warning};

#[tokio::test]
async fn a_plain_pair_can_be_followed_and_trying_leaves_nothing_behind() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "follows").await.unwrap();
    let target = Database::create(&pair.target, "follows").await.unwrap();
    source.batch(ITEMS).await.unwrap();
    let found = report(&clusters(&source, &target), &following()).await;
    assert!(!found.blocks() && found.could_not_run.is_empty(), "{found:#?}");
    assert!(!found.findings.iter().any(|finding| finding.check == "way back"), "{found:#?}");
    find(&found, Warning, "kept write-ahead log", "max_slot_wal_keep_size is -1");
    assert!(found.checked.iter().any(|name| name == "target reaches source"));
    let left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_subscription s \
                JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()) + \
                (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
    assert_eq!((source.psql(left).unwrap(), target.psql(left).unwrap()), ("0".into(), "0".into()));
    // The other way round: an older server receives from a newer one.
    let down = report(&clusters(&target, &source), &following()).await;
    assert!(!down.findings.iter().any(|f| f.check == "target reaches source"), "{down:#?}");
    find(&down, Warning, "server versions", "older major");
}

#[tokio::test]
async fn a_source_without_logical_replication_or_a_free_slot_is_refused() {
    let pair = pair().await;
    let options = Options::new().set("wal_level", "replica").set("max_replication_slots", "1");
    let cluster = Cluster::start(Version::Pg16, options).unwrap();
    let source = Database::with_vector(&cluster, "replica").await.unwrap();
    let target = Database::create(&pair.target, "replica").await.unwrap();
    source
        .batch(&format!("{ITEMS}; SELECT pg_create_physical_replication_slot('standby')"))
        .await
        .unwrap();
    let found = report(&clusters(&source, &target), &following()).await;
    let level = find(&found, Blocker, "logical replication", "wal_level is replica");
    assert!(level.remedy.contains("ALTER SYSTEM SET wal_level = logical"), "{level:?}");
    find(&found, Blocker, "replication slots", "max_replication_slots is 1, in use by standby");
    // As the receiver of the way back it has no origin left either: slots and origins share the setting before 18.
    let back = report(&clusters(&target, &source), &following()).await;
    find(&back, Warning, "way back", "on the target, wal_level is replica");
}

#[tokio::test]
async fn a_weak_role_and_tables_that_cannot_be_followed_are_all_named_at_once() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "weak").await.unwrap();
    let target = Database::create(&pair.target, "weak").await.unwrap();
    let (name, role) = (source.name(), format!("sender_{}", source.name()));
    let receiver = format!("receiver_{}", target.name());
    source
        .batch(&format!(
            "CREATE ROLE {role} LOGIN; CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY); {ITEMS}; \
             CREATE TABLE log (line text); CREATE SEQUENCE s; SELECT lo_from_bytea(0, 'x'); \
             CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM log; \
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER always BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION f(); \
             ALTER TABLE items ENABLE ALWAYS TRIGGER always"
        ))
        .await
        .unwrap();
    target.batch(&format!("CREATE ROLE {receiver} LOGIN")).await.unwrap();
    let login = |url: &str, role: &str| url.replacen("postgres@", &format!("{role}@"), 1);
    let weak = Clusters {
        source: login(source.url(), &role).parse().unwrap(),
        target: login(target.url(), &receiver).parse().unwrap(),
    };
    let found = report(&weak, &following()).await;
    for (check, words, remedy) in [
        (
            "replication privileges",
            "may not replicate",
            format!("ALTER ROLE \"{role}\" REPLICATION"),
        ),
        (
            "replication privileges",
            "may not create a publication",
            format!("GRANT CREATE ON DATABASE \"{name}\" TO"),
        ),
        (
            "replication privileges",
            "only their owner may publish: public.items",
            format!("GRANT \"postgres\" TO \"{role}\""),
        ),
        (
            "subscription privileges",
            "may not create subscriptions",
            "GRANT pg_create_subscription TO".into(),
        ),
        (
            "replica identity",
            "public.log (it has no primary key)",
            "ALTER TABLE \"public\".\"log\" REPLICA IDENTITY FULL".into(),
        ),
        (
            "what is not followed",
            "unlogged tables cannot be published: public.scratch",
            "SET LOGGED".into(),
        ),
    ] {
        let finding = find(&found, Blocker, check, words);
        assert!(finding.remedy.contains(&remedy), "{finding:?}");
    }
    find(&found, Warning, "triggers during apply", "always on public.items");
    find(&found, Warning, "what is not followed", "public.mv");
    find(&found, Warning, "what is not followed", "1 large object");
    find(&found, Note, "what is not followed", "1 sequence");
    find(&found, Warning, "way back", "may not create subscriptions");
    let not_run = found.could_not_run.iter().find(|left| left.check.contains("target's server"));
    assert!(not_run.unwrap().why.contains("may not create subscriptions"), "{found:#?}");

    // With the grants that the remedies name, nothing of that is left.
    source
        .batch(&format!(
            "ALTER ROLE {role} REPLICATION; GRANT CREATE ON DATABASE \"{name}\" TO {role}; GRANT postgres TO {role}; \
             ALTER TABLE log REPLICA IDENTITY FULL; ALTER TABLE scratch SET LOGGED"
        ))
        .await
        .unwrap();
    target
        .batch(&format!(
            "GRANT pg_create_subscription TO {receiver}; GRANT CREATE ON DATABASE \"{}\" TO {receiver}",
            target.name()
        ))
        .await
        .unwrap();
    let found = report(&weak, &following()).await;
    for check in ["replication privileges", "subscription privileges", "replica identity"] {
        assert!(!found.findings.iter().any(|finding| finding.check == check), "{found:#?}");
    }
    // A role that is no superuser must give a password, and this URL has none.
    let way = find(&found, Blocker, "target reaches source", "password is required");
    assert!(way.remedy.contains("VECFERRY_SOURCE_PASSWORD"), "{way:?}");
    source.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    target.batch(&format!("DROP OWNED BY {receiver}; DROP ROLE {receiver}")).await.unwrap();
}

#[tokio::test]
async fn a_target_that_cannot_reach_the_source_blocks_and_no_log_holds_the_password() {
    let password = "not-for-any-log";
    let secured = Options::new().password(password);
    let source_cluster = Cluster::start(Version::Pg16, secured.clone()).unwrap();
    let target_cluster = Cluster::start(Version::Pg18, secured).unwrap();
    let source = Database::with_vector(&source_cluster, "walled").await.unwrap();
    let target = Database::create(&target_cluster, "walled").await.unwrap();
    source.batch(ITEMS).await.unwrap();
    let clusters = clusters(&source, &target);
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", source_cluster.port())).unwrap();
    let mut policy = following();
    policy.follow.source_from_target = Some(proxy.url(source.url()).parse().unwrap());
    let open = report(&clusters, &policy).await;
    assert!(!open.blocks() && proxy.accepted() == 1, "{open:#?}");

    proxy.refuse();
    policy.follow.target_from_source =
        Some(target.url().replace(password, "wrong-password").parse().unwrap());
    let walled = report(&clusters, &policy).await;
    let address = format!("cannot reach the source at {}", proxy.addr());
    let way = find(&walled, Blocker, "target reaches source", &address);
    assert!(way.remedy.contains("--source-from-target"), "{way:?}");
    let back = find(&walled, Warning, "way back", "password authentication failed");
    assert!(back.remedy.contains("--target-from-source"), "{back:?}");

    policy.follow.source_from_target =
        Some(source.url().replace("127.0.0.1", "no.such.host.invalid").parse().unwrap());
    let lost = report(&clusters, &policy).await;
    find(&lost, Blocker, "target reaches source", "no.such.host.invalid");
    for report in [&open, &walled, &lost] {
        let text = format!("{report:?}");
        assert!(!text.contains(password) && !text.contains("wrong-password"), "{text}");
    }
    for log in [source_cluster.log(), target_cluster.log()] {
        assert!(!log.contains(password) && !log.contains("wrong-password"), "{log}");
    }
}
