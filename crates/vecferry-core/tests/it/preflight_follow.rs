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

/// Roles that may log in and nothing else, and tables that cannot be followed.
struct Weak {
    source: Database,
    target: Database,
    sender: String,
    receiver: String,
}

impl Weak {
    async fn new(hint: &str) -> Weak {
        let pair = pair().await;
        let source = Database::with_vector(&pair.source, hint).await.unwrap();
        let target = Database::create(&pair.target, hint).await.unwrap();
        let sender = format!("sender_{}", source.name());
        let receiver = format!("receiver_{}", target.name());
        source
            .batch(&format!(
                "CREATE ROLE {sender} LOGIN; CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY); {ITEMS}; \
                 CREATE TABLE log (line text); CREATE SEQUENCE s; SELECT lo_from_bytea(0, 'x'); \
                 CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM log; \
                 CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                 CREATE TRIGGER always BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION f(); \
                 ALTER TABLE items ENABLE ALWAYS TRIGGER always"
            ))
            .await
            .unwrap();
        target.batch(&format!("CREATE ROLE {receiver} LOGIN")).await.unwrap();
        Weak { source, target, sender, receiver }
    }

    async fn report(&self) -> Report {
        let login = |database: &Database, role: &str| {
            database.url().replacen("postgres@", &format!("{role}@"), 1).parse().unwrap()
        };
        let clusters = Clusters {
            source: login(&self.source, &self.sender),
            target: login(&self.target, &self.receiver),
        };
        report(&clusters, &following()).await
    }

    async fn drop_roles(&self) {
        for (database, role) in [(&self.source, &self.sender), (&self.target, &self.receiver)] {
            database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_weak_role_and_tables_that_cannot_be_followed_are_all_named_at_once() {
    let weak = Weak::new("weak").await;
    let (name, sender) = (weak.source.name(), &weak.sender);
    let found = weak.report().await;
    let mend = "ALTER TABLE \"public\".\"log\" REPLICA IDENTITY FULL".to_owned();
    let rights = "replication privileges";
    for (check, words, remedy) in [
        (rights, "may not replicate", format!("ALTER ROLE \"{sender}\" REPLICATION")),
        (rights, "may not create a publication", format!("GRANT CREATE ON DATABASE \"{name}\"")),
        (rights, "may publish: public.items", format!("GRANT \"postgres\" TO \"{sender}\"")),
        ("subscription privileges", "may not create", "GRANT pg_create_subscription TO".into()),
        ("replica identity", "public.log (it has no primary key)", mend),
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
    weak.drop_roles().await;
}

#[tokio::test]
async fn the_grants_that_the_remedies_name_are_enough() {
    let weak = Weak::new("granted").await;
    let Weak { source, target, sender, receiver } = &weak;
    source
        .batch(&format!(
            "ALTER ROLE {sender} REPLICATION; GRANT CREATE ON DATABASE \"{}\" TO {sender}; \
             GRANT postgres TO {sender}; ALTER TABLE log REPLICA IDENTITY FULL; \
             ALTER TABLE scratch SET LOGGED",
            source.name()
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
    let found = weak.report().await;
    let granted =
        ["replication privileges", "subscription privileges", "replica identity", "apply workers"];
    for check in granted {
        assert!(!found.findings.iter().any(|finding| finding.check == check), "{found:#?}");
    }
    // A role that is no superuser must give a password, and this URL has none.
    let way = find(&found, Blocker, "target reaches source", "password is required");
    assert!(way.remedy.contains("VECFERRY_SOURCE_PASSWORD"), "{way:?}");
    weak.drop_roles().await;
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
