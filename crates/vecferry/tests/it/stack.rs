//! A deployed Bedrock Chat in small: its table and bucket in moto, an ECS whose tasks really run, a model, and a target
//! that the application's setup has prepared.

use std::collections::BTreeMap;

use vecferry_core::pg::Dsn;
use vecferry_testkit::bedrock::{Behaviour, StandIn};
use vecferry_testkit::chat::{ChatBot, ChatBucket, ChatTable, Release, put_secret};
use vecferry_testkit::ecs::{self, Ecs, EcsOptions, Faults};
use vecferry_testkit::{Database, Moto, moto, pair};

use crate::program::Program;

/// What the application's setup makes.
const SETUP: &str = "
CREATE EXTENSION vector;
CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, embedding vector(1024));
CREATE INDEX idx_items_botid ON items (botid);
";

/// Words for documents: enough that no two documents are alike.
const WORDS: [&str; 8] =
    ["harbour", "ledger", "quorum", "Zażółć", "東京の港", "salida", "compass", "시장"];

/// The stack.
pub(crate) struct Stack {
    moto: &'static Moto,
    pub(crate) table: ChatTable,
    pub(crate) bucket: ChatBucket,
    pub(crate) ecs: Ecs,
    pub(crate) model: StandIn,
    pub(crate) target: Database,
    /// ARN of the secret that says where the target is.
    pub(crate) secret: String,
}

impl Stack {
    /// A stack without bots, whose ECS misbehaves like this.
    pub(crate) async fn start(faults: Faults) -> Stack {
        let moto = moto().await;
        let target = Database::create(&pair().await.target, "stack").await.unwrap();
        target.batch(SETUP).await.unwrap();
        let model = StandIn::start(Behaviour::default()).unwrap();
        let (table, bucket) =
            (ChatTable::create(moto).await.unwrap(), ChatBucket::create(moto).await.unwrap());
        let dsn: Dsn = target.url().parse().unwrap();
        let secret = serde_json::json!({
            "dbname": dsn.database, "host": dsn.host, "port": dsn.port, "username": dsn.user,
            "password": "not asked for", "engine": "postgres",
        });
        let secret = put_secret(moto, &secret.to_string()).await.unwrap();
        let worker = [env!("CARGO_BIN_EXE_vecferry"), "worker"];
        let mut options = EcsOptions::new(ecs::Program::process(worker));
        options.faults = faults;
        options.environment.extend(aws(moto, &model));
        // What a Bedrock Chat container is given.
        let given = [
            ("TABLE_NAME", table.name().to_owned()),
            ("DOCUMENT_BUCKET", bucket.name().to_owned()),
            ("DB_SECRETS_ARN", secret.clone()),
            ("TABLE_ACCESS_ROLE_ARN", "arn:aws:iam::123456789012:role/table".to_owned()),
        ];
        options.environment.extend(given.map(|(name, value)| (name.to_owned(), value)));
        let ecs = Ecs::start(options).unwrap();
        Stack { moto, table, bucket, ecs, model, target, secret }
    }

    /// A bot with so many uploaded files, written by this release.
    pub(crate) async fn bot(&self, owner: &str, id: &str, files: usize, release: Release) {
        let names: Vec<String> = (0..files).map(|file| format!("notes {file}.txt")).collect();
        for (file, name) in names.iter().enumerate() {
            self.bucket.upload(owner, id, name, text(id, file)).await.unwrap();
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let bot = ChatBot::new(owner, id).files(&names);
        self.table.put(&bot.item(release)).await.unwrap();
    }

    /// The operator's program. Everything it needs is in the environment.
    pub(crate) fn program(&self) -> Program {
        let settings = [
            ("VECFERRY_TARGET", self.target.url().to_owned()),
            ("VECFERRY_BOT_TABLE", self.table.name().to_owned()),
            ("VECFERRY_BUCKET", self.bucket.name().to_owned()),
            ("VECFERRY_RUNNER", "ecs".to_owned()),
            ("VECFERRY_CLUSTER", "chat".to_owned()),
            ("VECFERRY_TASK_DEFINITION", "embedding:1".to_owned()),
            ("VECFERRY_SUBNETS", "subnet-1".to_owned()),
        ];
        settings
            .into_iter()
            .fold(self.bare_program(), |program, (name, value)| program.set(name, &value))
    }

    /// The operator's program that knows how AWS is reached, and nothing else.
    pub(crate) fn bare_program(&self) -> Program {
        let endpoints = [
            ("VECFERRY_POLL", "50ms".to_owned()),
            ("AWS_ENDPOINT_URL_ECS", self.ecs.url()),
            ("AWS_ENDPOINT_URL_SERVICE_QUOTAS", self.ecs.url()),
        ];
        let endpoints = endpoints.map(|(name, value)| (name.to_owned(), value));
        let all = aws(self.moto, &self.model).into_iter().chain(endpoints);
        all.fold(Program::new(), |program, (name, value)| program.set(&name, &value))
    }

    /// Rows of each bot on the target without their ids, as one digest; and by how many transactions they were written.
    pub(crate) async fn rows(&self) -> BTreeMap<String, (i64, String, i64)> {
        let sql = "SELECT rtrim(botid), count(*), md5(string_agg(content || source || COALESCE(embedding::text, ''), '' \
                     ORDER BY source, content)), count(DISTINCT xmin::text) FROM items GROUP BY 1";
        let session = self.target.connect().await.unwrap();
        let rows = session.query(sql, &[]).await.unwrap();
        let row = |row: tokio_postgres::Row| {
            (row.get::<_, String>(0), (row.get(1), row.get(2), row.get(3)))
        };
        rows.into_iter().map(row).collect()
    }
}

/// How to reach the doubles.
fn aws(moto: &Moto, model: &StandIn) -> Vec<(String, String)> {
    let own = moto.environment().into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain([("AWS_ENDPOINT_URL_BEDROCK_RUNTIME".to_owned(), model.url())]).collect()
}

/// A document of a few chunks.
pub(crate) fn text(bot: &str, file: usize) -> String {
    let sentence = |n: usize| {
        let word = WORDS[(n + file) % WORDS.len()];
        format!("Sentence {n} of document {file} of {bot} speaks of the {word}. ")
    };
    (0..60).map(sentence).collect()
}
