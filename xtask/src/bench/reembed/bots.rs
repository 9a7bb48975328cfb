//! Many bots through ECS: tasks that write a bot's rows as the application's own worker does, on a service that
//! throttles a tenth of the calls, has no room for some, and lets some tasks die before they run.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vecferry_testkit::chat::{ChatBot, ChatTable, Release};
use vecferry_testkit::ecs::{self, Ecs, EcsOptions, Fault, Faults, Launched, TaskInput};
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
    let ecs = start_ecs(arguments, &workers)?;
    eprintln!("{} bots at {} launches a second", arguments.bots, arguments.rate);
    let mut command = command(arguments, vecferry, (&pair, &dynamo, &ecs));
    command.args(["--target", target.url(), "--bot-table", workers.table.name()]);
    let output = command.output().context("run vecferry")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seconds = between(&output.stdout)?;
    let sql = "SELECT count(DISTINCT botid), count(*) FROM items";
    let row = runtime.block_on(target.query_one(sql))?;
    let (bots, rows): (i64, i64) = (row.get(0), row.get(1));
    ensure!(bots as usize == arguments.bots && rows == 2 * bots, "{bots} bots with {rows} rows");
    let (calls, accepted) = (ecs.calls()["RunTask"], ecs.tasks().len());
    // What every bot's one task would take if nothing ever failed.
    let bound = arguments.bots as f64 / arguments.rate;
    let most = most_in_a_second(&ecs.launched());
    let lines = format!(
        "| {} bots through ECS, {} launches a second | |\n| --- | ---: |\n| calls of RunTask | {calls} |\n| tasks \
         that were accepted | {accepted} |\n| most that started within a second | {most} |\n| the rate's own bound \
         | {bound:.1} s |\n| vecferry | {seconds:.1} s |\n\n{:.3} of the bound; every bot proven, {rows} rows, none \
         doubled.\n\n",
        arguments.bots,
        arguments.rate,
        seconds / bound,
    );
    let figure = json!({
        "bots": bots, "calls": calls, "accepted": accepted, "most_in_a_second": most, "rate": arguments.rate,
        "lost": arguments.lost, "bound_seconds": bound, "seconds": seconds, "of_bound": seconds / bound,
    });
    Ok((figure, lines))
}

/// ECS that throttles a tenth of the calls, and fails some launches and tasks.
fn start_ecs(arguments: &ReembedArguments, workers: &Arc<Workers>) -> Result<Ecs> {
    let shares = vec![
        (Fault::Throttle, 0.10),
        (Fault::capacity(), 0.02),
        (Fault::no_interface(), 0.02),
        (Fault::Vanish, arguments.lost),
    ];
    let shared = workers.clone();
    let program = ecs::Program::future(move |input| {
        let workers = shared.clone();
        async move { work(&workers, input).await.map_or(1, |()| 0) }
    });
    let options = EcsOptions {
        faults: Faults { seed: 1, shares, ..Faults::default() },
        ..EcsOptions::new(program)
    };
    Ok(Ecs::start(options)?)
}

fn command(
    arguments: &ReembedArguments,
    vecferry: &Path,
    (pair, dynamo, ecs): (&Pair, &Dynamo, &Ecs),
) -> Command {
    let mut command = Command::new(vecferry);
    command.current_dir(pair.target.folder()).envs(dynamo.environment());
    command
        .env("AWS_ENDPOINT_URL_ECS", ecs.url())
        .env("AWS_ENDPOINT_URL_SERVICE_QUOTAS", ecs.url());
    command.args(["migrate", "--method", "reembed", "--yes", "--json", "--quiet"]);
    command.args(["--runner", "ecs", "--cluster", "chat", "--task-definition", "embedding:1"]);
    command.args(["--subnets", "subnet-1", "--poll", "1s", "--in-flight", "500"]);
    command.args(["--launch-rate", &arguments.rate.to_string()]);
    command
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

/// Most programs that were started within one second.
fn most_in_a_second(launched: &[Launched]) -> usize {
    let mut times: Vec<SystemTime> = launched.iter().map(|launched| launched.at).collect();
    times.sort_unstable();
    let until = |from: SystemTime| times.partition_point(|at| *at < from + Duration::from_secs(1));
    times.iter().enumerate().map(|(at, from)| until(*from) - at).max().unwrap_or(0)
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
