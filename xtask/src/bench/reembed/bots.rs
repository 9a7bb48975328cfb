//! Many bots through ECS: tasks that write a bot's rows as the application's own worker does, on a service that
//! throttles and loses some of them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vecferry_testkit::chat::{ChatBot, ChatTable, Release};
use vecferry_testkit::ecs::{self, Ecs, EcsOptions, Fault, Faults, TaskInput};
use vecferry_testkit::{Database, Dynamo, Options, Pair, Session};

use super::ReembedArguments;

/// Items that DynamoDB takes in one write.
const ITEMS: usize = 25;

/// Sessions of the tasks together.
const SESSIONS: usize = 4;

const TABLE: &str = "CREATE EXTENSION vector; CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), \
    content text, source text, embedding vector(1024)); CREATE INDEX ON items (botid)";

/// What tasks share.
struct Workers {
    sessions: Vec<Mutex<Session>>,
    table: ChatTable,
}

/// Runs the bots and measures; the figure, and its lines for people.
pub(super) fn measure(arguments: &ReembedArguments, vecferry: &Path) -> Result<(Value, String)> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let pair = Pair::start(&Options::new()).context("start the clusters")?;
    let dynamo = Dynamo::start().context("start DynamoDB")?;
    let (target, workers) = runtime.block_on(prepare(arguments, &pair, &dynamo))?;
    let workers = Arc::new(workers);
    let shares = vec![(Fault::Throttle, 0.10), (Fault::Vanish, 0.03), (Fault::capacity(), 0.02)];
    let shared = workers.clone();
    let program = ecs::Program::future(move |input| {
        let workers = shared.clone();
        async move { work(&workers, input).await.map_or(1, |()| 0) }
    });
    let options = EcsOptions {
        faults: Faults { seed: 1, shares, ..Faults::default() },
        ..EcsOptions::new(program)
    };
    let ecs = Ecs::start(options)?;
    let rate = arguments.rate.to_string();
    let mut command = Command::new(vecferry);
    command.current_dir(pair.target.folder()).envs(dynamo.environment());
    command
        .env("AWS_ENDPOINT_URL_ECS", ecs.url())
        .env("AWS_ENDPOINT_URL_SERVICE_QUOTAS", ecs.url());
    command.args([
        "migrate",
        "--method",
        "reembed",
        "--yes",
        "--runner",
        "ecs",
        "--cluster",
        "chat",
    ]);
    command.args(["--task-definition", "embedding:1", "--subnets", "subnet-1", "--poll", "1s"]);
    command.args(["--target", target.url(), "--bot-table", workers.table.name()]);
    command.args(["--launch-rate", &rate, "--in-flight", "500", "--json", "--quiet"]);
    eprintln!("{} bots at {rate} launches a second", arguments.bots);
    let output = command.output().context("run vecferry")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seconds = between(&output.stdout)?;
    let sql = "SELECT count(DISTINCT botid), count(*) FROM items";
    let row = runtime.block_on(target.query_one(sql))?;
    let (bots, rows): (i64, i64) = (row.get(0), row.get(1));
    ensure!(bots as usize == arguments.bots && rows == 2 * bots, "{bots} bots with {rows} rows");
    let launched = ecs.launched().len();
    let bound = launched as f64 / arguments.rate;
    let lines = format!(
        "| {} bots through ECS | |\n| --- | ---: |\n| launches that ran | {launched} |\n| the rate's own bound | \
         {bound:.1} s |\n| vecferry | {seconds:.1} s |\n\n{:.3} of the bound; every bot proven, {rows} rows, none \
         doubled.\n\n",
        arguments.bots,
        seconds / bound,
    );
    let figure = json!({
        "bots": bots, "launches": launched, "rate": arguments.rate, "bound_seconds": bound, "seconds": seconds,
        "of_bound": seconds / bound,
    });
    Ok((figure, lines))
}

/// Seconds from the first launch's leave to the last proof. Listing the bots comes before it.
fn between(events: &[u8]) -> Result<f64> {
    let at = |name: &str| -> Result<jiff::Timestamp> {
        let mut events = serde_json::Deserializer::from_slice(events).into_iter::<Value>();
        let event = events.find_map(|event| event.ok().filter(|event| event["event"] == name));
        let event = event.with_context(|| format!("no event {name}"))?;
        Ok(event["at"].as_str().context("an event without a time")?.parse()?)
    };
    Ok(at("reembed_finished")?.duration_since(at("reembed_started")?).as_secs_f64())
}

async fn prepare(
    arguments: &ReembedArguments,
    pair: &Pair,
    dynamo: &Dynamo,
) -> Result<(Database, Workers)> {
    let target = Database::create(&pair.target, "bots").await?;
    target.batch(TABLE).await?;
    let table = ChatTable::create_in(dynamo).await?;
    let items: Vec<Value> = (0..arguments.bots)
        .map(|n| ChatBot::new(&format!("user{:03}", n % 500), &format!("{n:026}")))
        .map(|bot| bot.pages(&["https://example.com/"]).item(Release::V1_4))
        .collect();
    for some in items.chunks(ITEMS) {
        table.put_all(some).await?;
    }
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Mutex::new(target.connect().await?));
    }
    Ok((target, Workers { sessions, table }))
}

/// One bot, as the application's own worker: RUNNING, its rows in one transaction, SUCCEEDED.
async fn work(workers: &Workers, input: TaskInput) -> Result<()> {
    let keys: Value = serde_json::from_str(input.environment.get("EVENT").context("no EVENT")?)?;
    let owner = keys["PK"]["S"].as_str().context("no PK")?;
    let bot = keys["SK"]["S"].as_str().and_then(|key| key.rsplit('#').next()).context("no SK")?;
    let turn = bot.bytes().map(usize::from).sum::<usize>() % SESSIONS;
    let session = workers.sessions[turn].lock().await;
    let sql = format!(
        "BEGIN; DELETE FROM items WHERE botid = '{bot}'; \
         INSERT INTO items SELECT left(md5('{}' || n), 26), '{bot}', 'text', 'https://example.com/', \
           array_fill(1.0::float4, ARRAY[1024])::vector FROM generate_series(1, 2) n; COMMIT",
        input.id
    );
    session.batch_execute(&sql).await?;
    drop(session);
    let done = [("SyncStatus", "SUCCEEDED"), ("LastExecId", input.id.as_str())];
    workers.table.set(owner, bot, &done).await?;
    Ok(())
}
