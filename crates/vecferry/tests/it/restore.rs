//! A source that is gone but for its snapshot: restored, migrated from, proven, removed; with a double of RDS whose
//! restored cluster is a real server that asks for the password it was given.

use std::process::Stdio;

use serde_json::Value;
use vecferry_testkit::rds::{Attached, Rds, RdsCluster, RdsSnapshot, Stall};
use vecferry_testkit::{Cluster, Database, Moto, Options, Session, Version, moto, pair};

use crate::program::{Program, Ran};

/// Some bots' chunks, as Bedrock Chat keeps them, with few dimensions.
const ITEMS: &str = "
CREATE EXTENSION vector;
CREATE TABLE items (id char(26) PRIMARY KEY, botid text, content text, source text, embedding vector(8));
INSERT INTO items
SELECT lpad(n::text, 26, '0'), 'bot' || n % 5, repeat('word ', 20), 's3://' || n,
       (SELECT array_agg(sin(n * d))::vector FROM generate_series(1, 8) d)
  FROM generate_series(1, 500) n;
CREATE INDEX ON items (botid);
";

/// What of the stack is left: its new cluster, and a snapshot of the old one.
struct Left {
    rds: Rds,
    target: Database,
    /// Plays the restored cluster; nobody knows its master password any more.
    _old: Cluster,
    /// Identifier of the target's cluster.
    name: String,
}

impl Left {
    async fn new() -> Left {
        let old = Cluster::start(Version::Pg16, Options::new().password("forgotten")).unwrap();
        let session = Session::open(&old.url("postgres")).await.unwrap();
        session.batch_execute(ITEMS).await.unwrap();
        session.batch_execute("CREATE ROLE rig SUPERUSER LOGIN PASSWORD 'rig'").await.unwrap();
        let admin = format!("postgresql://rig:rig@127.0.0.1:{}/postgres", old.port());

        let pair = pair().await;
        let target = Database::create(&pair.target, "restored").await.unwrap();
        let rds = Rds::start(moto().await).unwrap();
        let name = Moto::unique("new");
        let played = Attached::local(pair.target.port(), &pair.target.url("postgres"));
        rds.add_cluster(RdsCluster::new(&name).attached(played));
        let gone = RdsCluster::new("chat").attached(Attached::local(old.port(), &admin));
        rds.add_snapshot(RdsSnapshot::of(&gone, "stack-snapshot-1x2y", "2026-11-19T08:30:00Z"));
        Left { rds, target, _old: old, name }
    }

    fn program(&self) -> Program {
        let programs = Version::Pg18.bin_dir().unwrap();
        let settings = [
            ("VECFERRY_TARGET", self.target.url().to_owned()),
            ("VECFERRY_SOURCE", "snapshot".to_owned()),
            ("VECFERRY_SOURCE_DATABASE", "postgres".to_owned()),
            ("VECFERRY_LOOK_EVERY", "40ms".to_owned()),
            ("VECFERRY_PG_BIN_DIR", programs.to_str().unwrap().to_owned()),
        ];
        let all = self.rds.environment().into_iter().chain(settings);
        all.fold(Program::new(), |program, (name, value)| program.set(name, &value))
    }

    /// Starts the program, and kills it once the call of this number is held.
    async fn kill_at(&self, program: &Program, arguments: &[&str], number: usize) {
        self.rds.stall_at(number, Stall::After);
        let mut command = program.command(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.rds.stalled().await;
        child.kill().unwrap();
        child.wait().unwrap();
        self.rds.go_on();
    }

    /// Clusters and instances with our tags.
    fn made(&self) -> (usize, usize) {
        let tag = "vecferry:migration";
        let clusters = self.rds.clusters().iter().filter(|one| one.tags.contains_key(tag)).count();
        let instances =
            self.rds.instances().iter().filter(|one| one.tags.contains_key(tag)).count();
        (clusters, instances)
    }
}

/// The last event of a run.
fn last_event(ran: &Ran) -> Value {
    serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
}

#[tokio::test]
async fn a_snapshot_is_restored_through_kills_migrated_proven_and_removed() {
    let left = Left::new().await;
    let program = left.program();

    let listed = program.run(&["restore", "--list"]).expect(0).stdout;
    assert!(listed.contains("* stack-snapshot-1x2y") && listed.contains("is gone"), "{listed}");
    let json = program.run(&["restore", "--list", "--json"]).expect(0).json();
    assert_eq!((&json["version"], &json["candidates"][0]["likely"]), (&1.into(), &true.into()));
    let early = program.run(&["verify"]).expect(2).stderr;
    assert!(early.contains("vecferry restore"), "{early}");

    let offered = program.run(&["restore", "--dry-run"]).expect(0).stdout;
    for words in ["stack-snapshot-1x2y of chat", "2 to 16 ACUs", "an hour", &left.name] {
        assert!(offered.contains(words), "{words} is not in\n{offered}");
    }
    let unasked = program.run(&["restore"]).expect(2).stderr;
    assert!(unasked.contains("--yes") && unasked.contains("an hour"), "{unasked}");
    let dear = program.run(&["restore", "--yes", "--max-cost", "20"]).expect(2).stderr;
    assert!(dear.contains("more than --max-cost"), "{dear}");
    assert_eq!(left.rds.count("AddTagsToResource"), 0, "nothing was changed so far");

    left.kill_at(&program, &["restore", "--yes"], 10).await;
    assert_eq!(left.made(), (1, 0), "{:?}", left.rds.calls());
    let stands = program.run(&["status", "--json"]).expect(0).json();
    assert_eq!(stands["temporary_cluster"]["ready"], false);
    left.kill_at(&program, &["restore", "--yes"], 16).await;
    let ran = program.run(&["restore", "--yes", "--json"]).expect(0);
    let restored = last_event(&ran);
    assert_eq!((&restored["event"], &restored["version"]), (&"restored".into(), &1.into()));
    assert_eq!((&restored["reachable"], &restored["ready"]), (&true.into(), &true.into()));
    assert_eq!(left.made(), (1, 1));
    let password = left.rds.cluster(restored["cluster"].as_str().unwrap()).unwrap().password;
    assert!(!ran.stdout.contains(&password.unwrap()), "{}", ran.stdout);

    let migrated = program.run(&["migrate", "--method", "copy"]).expect(0);
    assert!(migrated.stdout.contains("500 rows in 1 table"), "{}", migrated.stdout);
    let status = program.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["migration"], restored["migration"], "one id for all of it");
    assert_eq!(status["temporary_cluster"]["cluster"], restored["cluster"]);
    let shown = program.run(&["status"]).expect(0).stdout;
    assert!(shown.contains("an hour until `vecferry cleanup`"), "{shown}");
    let verified = program.run(&["verify"]).expect(0).stdout;
    assert!(verified.contains("the target matches the source"), "{verified}");

    let listed = program.run(&["cleanup", "--dry-run", "--json"]).expect(0).json();
    let kinds: Vec<&str> = listed["leftovers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["record", "temporary instance", "temporary cluster", "secret", "tag"]);
    program.run(&["cleanup"]).expect(2);
    assert_eq!(left.made(), (1, 1));
    program.run(&["cleanup", "--yes"]).expect(0);
    assert_eq!(left.made(), (0, 0));
    assert_eq!(left.rds.cluster(&left.name).unwrap().tags.len(), 0);
    assert_eq!(left.rds.snapshots().len(), 1, "the snapshot is not ours");
    let clean = program.run(&["cleanup", "--yes"]).expect(0).stderr;
    assert!(clean.contains("nothing to clean up"), "{clean}");
}

#[tokio::test]
async fn migrate_restores_first_after_asking_and_cleanup_needs_no_record() {
    let left = Left::new().await;
    let program = left.program();
    let migrate = ["migrate", "--method", "copy", "--raise-target-capacity", "4"];
    let unasked = program.run(&migrate).expect(2).stderr;
    assert!(unasked.contains("make the temporary cluster"), "{unasked}");
    let follow = program.run(&["migrate", "--method", "follow"]).expect(2).stderr;
    assert!(follow.contains("--method delta or copy"), "{follow}");
    let shown = program.run(&[&migrate[..], &["--dry-run"]].concat()).expect(0).stdout;
    assert!(
        shown.contains("raises") && shown.contains("from 0.5 to 5 ACUs to 4 to 5 ACUs"),
        "{shown}"
    );
    assert_eq!(left.made(), (0, 0));

    let migrated = program.run(&[&migrate[..], &["--yes"]].concat()).expect(0);
    assert!(migrated.stdout.contains("500 rows in 1 table"), "{}", migrated.stdout);
    assert_eq!(left.rds.cluster(&left.name).unwrap().capacity, Some((4.0, 5.0)));
    program.run(&["verify", "--quick"]).expect(0);

    // Taken back, the application reads the temporary cluster.
    program.run(&["cutover", "--yes"]).expect(0);
    program.run(&["rollback", "--yes"]).expect(0);
    let in_use = program.run(&["cleanup", "--yes"]).expect(3).stderr;
    assert!(in_use.contains("taken back to the temporary cluster"), "{in_use}");
    assert_eq!(left.made(), (1, 1));
    program.run(&["cutover", "--yes"]).expect(0);

    // The target's record is gone, as when somebody dropped the schema; and later the target itself.
    left.target.batch("DROP SCHEMA vecferry CASCADE").await.unwrap();
    let listed = program.run(&["cleanup", "--dry-run"]).expect(0).stdout;
    for words in ["temporary cluster", "raised capacity", "sets it back to 0.5-5 ACUs"] {
        assert!(listed.contains(words), "{words} is not in\n{listed}");
    }
    program.run(&["cleanup", "--yes"]).expect(0);
    assert_eq!(left.made(), (0, 0));
    let target = left.rds.cluster(&left.name).unwrap();
    assert_eq!((target.capacity, target.tags.len()), (Some((0.5, 5.0)), 0));
}

#[tokio::test]
async fn what_a_dropped_target_leaves_in_aws_is_named_and_removed_without_it() {
    let left = Left::new().await;
    let program = left.program();
    program.run(&["restore", "--yes"]).expect(0);
    assert_eq!(left.made(), (1, 1));
    let server = Session::open(&pair().await.target.url("postgres")).await.unwrap();
    let drop = format!("DROP DATABASE {} WITH (FORCE)", left.target.name());
    server.batch_execute(&drop).await.unwrap();

    let refused = program.run(&["cleanup", "--yes"]).expect(4).stderr;
    assert!(refused.contains("cost money") && refused.contains("cleanup --orphans"), "{refused}");
    assert_eq!(left.made(), (1, 1));
    // The database that is gone cannot say what the migration was: AWS is asked all the same.
    let listed = program.run(&["cleanup", "--orphans", "--dry-run"]).expect(0);
    assert!(listed.stdout.contains("temporary cluster"), "{}", listed.stdout);
    assert!(listed.stderr.contains("`vecferry cleanup --orphans` removes"), "{}", listed.stderr);
    program.run(&["cleanup", "--orphans", "--yes"]).expect(0);
    assert_eq!(left.made(), (0, 0));
}
