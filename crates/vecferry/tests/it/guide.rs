//! The published guide's case, from its first command to its last: the stack was deployed anew, its old cluster is gone
//! but for a snapshot, bots and documents live on.

use jiff::Timestamp;
use serde_json::{Value, json};
use vecferry_testkit::chat::{ChatBot, ChatStack, Release, put_secret, secret_text};
use vecferry_testkit::ecs::{Fault, Faults};
use vecferry_testkit::rds::{Attached, Rds, RdsCluster, RdsSnapshot};
use vecferry_testkit::{Cluster, Moto, Options, Session, Version, moto, pair};

use crate::program::Program;
use crate::stack::{Stack, text};

/// The table as Bedrock Chat made it, long ago.
const ITEMS: &str = "
CREATE EXTENSION vector;
CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, embedding vector(1024));
";

const BOTS: [&str; 4] = ["01KEPT", "01CHANGED", "01GROWN", "01DELETED"];

/// What is there after `cdk deploy`.
struct Deployed {
    stack: Stack,
    rds: Rds,
    /// The stack's name in CloudFormation.
    name: String,
    /// Plays the restored cluster.
    old: Cluster,
}

impl Deployed {
    async fn new() -> Deployed {
        let shares = vec![(Fault::Throttle, 0.1), (Fault::Vanish, 0.1)];
        let stack = Stack::start(Faults { seed: 11, shares, ..Faults::default() }).await;
        let old = Cluster::start(Version::Pg16, Options::new().password("forgotten")).unwrap();
        let session = Session::open(&old.url("postgres")).await.unwrap();
        session.batch_execute(ITEMS).await.unwrap();
        session.batch_execute("CREATE ROLE rig SUPERUSER LOGIN PASSWORD 'rig'").await.unwrap();
        for bot in BOTS {
            for file in 0..2 {
                let name = format!("notes {file}.txt");
                stack.bucket.upload("ann", bot, &name, text(bot, file)).await.unwrap();
                let source = format!("s3://{}/ann/{bot}/documents/{name}", stack.bucket.name());
                let rows = format!(
                    "INSERT INTO items SELECT left(md5('{source}' || g), 26), '{bot}', repeat('old text ' || g, 20), \
                     '{source}', array_fill(g::real, ARRAY[1024])::vector FROM generate_series(1, 40) g"
                );
                session.batch_execute(&rows).await.unwrap();
            }
        }
        let rds = Rds::start(moto().await).unwrap();
        let target = pair().await;
        let played = Attached::local(target.target.port(), &target.target.url("postgres"));
        rds.add_cluster(RdsCluster::new(&Moto::unique("new")).attached(played));
        let name = ChatStack::new(&[
            ("ConversationTableName", stack.table.name()),
            ("DbConfigSecretArn", &stack.secret),
            ("DocumentBucketName1A2B3C4D", stack.bucket.name()),
            ("EmbeddingClusterName79B87DC5", "chat"),
            ("EmbeddingTaskDefinitionName05274A2B", "embedding:1"),
            ("EmbeddingTaskSecurityGroupIdA17B96D2", "sg-1"),
            ("PrivateSubnetId0", "subnet-0"),
            ("PrivateSubnetId1", "subnet-1"),
        ]);
        let name = name.create(moto().await).await.unwrap();
        Deployed { stack, rds, name, old }.snapshot().await
    }

    /// The old cluster's last snapshot, and what users did after it.
    async fn snapshot(self) -> Deployed {
        let admin = format!("postgresql://rig:rig@127.0.0.1:{}/postgres", self.old.port());
        let gone = RdsCluster::new("chat-old").attached(Attached::local(self.old.port(), &admin));
        // S3 tells whole seconds: what is written in the snapshot's own second counts as written after it.
        let taken = Timestamp::from_second(Timestamp::now().as_second() + 1).unwrap();
        self.rds.add_snapshot(RdsSnapshot::of(&gone, "final-3k5", &taken.to_string()));
        while Timestamp::now() < taken {
            self.upload("01CHANGED", 0, 7).await;
        }
        self.upload("01CHANGED", 0, 8).await;
        self.upload("01GROWN", 2, 2).await;
        self.upload("01NEW", 0, 0).await;
        for (bot, files) in [("01KEPT", 2), ("01CHANGED", 2), ("01GROWN", 3), ("01NEW", 1)] {
            let names: Vec<String> = (0..files).map(|file| format!("notes {file}.txt")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let bot = ChatBot::new("ann", bot).files(&names);
            self.stack.table.put(&bot.item(Release::V1_4)).await.unwrap();
        }
        self
    }

    async fn upload(&self, bot: &str, file: usize, written: usize) {
        let name = format!("notes {file}.txt");
        self.stack.bucket.upload("ann", bot, &name, text(bot, written)).await.unwrap();
    }

    fn program(&self) -> Program {
        let programs = Version::Pg18.bin_dir().unwrap();
        let own =
            [("VECFERRY_LOOK_EVERY", "40ms"), ("VECFERRY_PG_BIN_DIR", programs.to_str().unwrap())];
        let program = self
            .rds
            .environment()
            .into_iter()
            .fold(self.stack.bare_program(), |program, (name, value)| program.set(name, &value));
        own.into_iter().fold(program, |program, (name, value)| program.set(name, value))
    }

    /// How many clusters, instances, snapshots and tags of ours there are.
    fn ours(&self) -> [usize; 3] {
        let tagged = |tags: &std::collections::BTreeMap<String, String>| {
            tags.keys().any(|key| key.starts_with("vecferry:"))
        };
        [
            self.rds.clusters().iter().filter(|one| tagged(&one.tags)).count(),
            self.rds.instances().iter().filter(|one| tagged(&one.tags)).count(),
            self.rds.snapshots().iter().filter(|one| tagged(&one.tags)).count(),
        ]
    }
}

/// Where the application's secret says that its database is.
async fn place(secret: &str) -> (Value, Value) {
    let text = secret_text(moto().await, secret, "AWSCURRENT").await.unwrap().unwrap();
    let secret: Value = serde_json::from_str(&text).unwrap();
    (secret["port"].clone(), secret["dbname"].clone())
}

#[tokio::test]
async fn a_stack_whose_old_cluster_is_only_a_snapshot_is_filled_proven_and_cut_over() {
    let deployed = Deployed::new().await;
    let program = deployed.program();
    program.run(&["init", "--stack", &deployed.name]).expect(0);
    let file = program.folder().join("vecferry.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let filled = written.replacen("# source = ", "source = \"snapshot\"\n# source = ", 1);
    let filled = format!("{filled}\n[restore]\nsource_database = \"postgres\"\n");
    std::fs::write(&file, filled).unwrap();

    let check = program.run(&["check", "--method", "delta"]).expect(0).stdout;
    assert!(check.contains("final-3k5") && check.contains("is not restored yet"), "{check}");
    let plan = program.run(&["plan"]).expect(0).stdout;
    assert!(plan.contains("delta") && plan.contains('$'), "{plan}");
    let offer = program.run(&["migrate", "--method", "delta", "--dry-run"]).expect(0).stdout;
    assert!(offer.contains("final-3k5"), "{offer}");
    assert_eq!(deployed.ours(), [0, 0, 0], "nothing is made by asking");

    program.run(&["migrate", "--method", "delta", "--yes"]).expect(0);
    let rows = deployed.stack.rows().await;
    let bots: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(bots, ["01CHANGED", "01GROWN", "01KEPT", "01NEW"]);
    assert_eq!(rows["01KEPT"].0, 80, "copied as they were");
    for bot in ["01CHANGED", "01GROWN", "01NEW"] {
        assert_eq!(rows[bot].2, 1, "{bot} was embedded by one transaction");
        let old =
            format!("SELECT count(*) FROM items WHERE botid = '{bot}' AND content LIKE 'old%'");
        assert_eq!(deployed.stack.target.query_one(&old).await.unwrap().get::<_, i64>(0), 0);
    }
    assert_eq!(deployed.stack.ecs.launches_by_bot().len(), 3, "the others cost nothing");
    let verified = program.run(&["verify", "--recall-bots", "0"]).expect(0);
    assert!(verified.stdout.contains("3 bots"), "{}{}", verified.stdout, verified.stderr);

    // An application that reads its database from a secret of its own.
    let before = json!({"host": "127.0.0.1", "port": deployed.old.port(), "dbname": "postgres",
        "username": "postgres", "password": "x", "engine": "postgres"});
    let secret = put_secret(moto().await, &before.to_string()).await.unwrap();
    let target = deployed.stack.target.name();
    program.run(&["cutover", "--yes", "--switch-secret", &secret]).expect(0);
    assert_eq!(place(&secret).await, (pair().await.target.port().into(), target.into()));

    program.run(&["cleanup", "--yes"]).expect(0);
    assert_eq!(deployed.ours(), [0, 0, 0]);
    assert_eq!(deployed.stack.rows().await, rows, "what was migrated stays");
    assert_eq!(deployed.rds.snapshots().len(), 1, "and so does the stack's own snapshot");
}
