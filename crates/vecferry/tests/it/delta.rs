//! `migrate --method delta` as an operator runs it: a stack whose documents and bots have changed since its source was
//! taken.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use vecferry_testkit::chat::{ChatBot, Release};
use vecferry_testkit::ecs::{Fault, Faults};
use vecferry_testkit::{Database, Version, pair};

use crate::migrating::{Migrating, Parts};
use crate::program::Program;
use crate::stack::{Stack, text};

const DELTA: [&str; 9] = [
    "migrate",
    "--method",
    "delta",
    "--yes",
    "--json",
    "--no-check",
    "--no-estimate",
    "--part-size",
    "64KiB",
];

/// A page that is never read: its rows are kept.
const PAGE: &str = "https://wiki.example.com/rules";

/// The source, the stack, and the time between them.
struct Old {
    stack: Stack,
    source: Database,
    taken_at: Timestamp,
}

/// What a database holds of each bot, byte by byte.
async fn digests(database: &Database) -> BTreeMap<String, String> {
    let sql = "SELECT COALESCE(rtrim(botid), 'nobody'), count(*) || ' ' || md5(string_agg(t::text, '' ORDER BY id)) \
               FROM items t GROUP BY 1";
    let session = database.connect().await.unwrap();
    let rows = session.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

impl Old {
    /// A stack as it was when its source was taken, and what has happened since.
    async fn start(faults: Faults) -> Old {
        let stack = Stack::start(faults).await;
        let source = Database::with_vector(&pair().await.source, "old").await.unwrap();
        let setup = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, \
                     embedding vector(1024)); CREATE INDEX idx_items_botid ON items (botid);";
        source.batch(setup).await.unwrap();
        let old = Old { stack, source, taken_at: Timestamp::UNIX_EPOCH };
        for bot in ["01KEPT", "01CHANGED", "01ADDED", "01GONE", "01LOST"] {
            for file in ["a.txt", "b ü.txt"] {
                old.upload(bot, file, 0).await;
                old.rows(bot, &old.address(bot, file)).await;
            }
        }
        old.rows("01WEB", PAGE).await;
        old.rows("01DELETED", "s3://x/u/01DELETED/documents/a.txt").await;
        old.rows("01BARE", "s3://x/u/01BARE/documents/a.txt").await;
        old.change().await
    }

    /// What has happened since.
    async fn change(mut self) -> Old {
        let bot = |id: &str, files: &[&str]| ChatBot::new("u", id).files(files);
        let both = &["a.txt", "b ü.txt"][..];
        for bot in [
            bot("01KEPT", both),
            bot("01CHANGED", both),
            bot("01ADDED", &["a.txt", "b ü.txt", "c.txt"]),
            bot("01GONE", &["a.txt"]),
            bot("01LOST", both),
            bot("01NEW", &["a.txt"]),
            bot("01BARE", &[]),
            ChatBot::new("u", "01WEB").pages(&[PAGE]),
        ] {
            self.stack.table.put(&bot.item(Release::V1_4)).await.unwrap();
        }
        self.stack.bucket.delete("u/01GONE/documents/b ü.txt").await.unwrap();
        self.stack.bucket.delete("u/01LOST/documents/b ü.txt").await.unwrap();
        // The store tells whole seconds: the source is taken in the next one, and what is written until then is written
        // again.
        self.taken_at = Timestamp::from_second(Timestamp::now().as_second() + 1).unwrap();
        let mut written = Timestamp::UNIX_EPOCH;
        while written < self.taken_at {
            written = Timestamp::now();
            self.upload("01CHANGED", "b ü.txt", 7).await;
        }
        self.upload("01ADDED", "c.txt", 2).await;
        self.upload("01NEW", "a.txt", 0).await;
        self
    }

    fn address(&self, bot: &str, file: &str) -> String {
        format!("s3://{}/u/{bot}/documents/{file}", self.stack.bucket.name())
    }

    async fn upload(&self, bot: &str, file: &str, number: usize) {
        self.stack.bucket.upload("u", bot, file, text(bot, number)).await.unwrap();
    }

    async fn rows(&self, bot: &str, source: &str) {
        let sql = format!(
            "INSERT INTO items SELECT left(md5('{source}' || g), 26), '{bot}', repeat('old text ' || g, 20), '{source}', \
             array_fill(g::real, ARRAY[1024])::vector FROM generate_series(1, 30) g"
        );
        self.source.batch(&sql).await.unwrap();
    }

    fn program(&self) -> Program {
        self.timeless().set("VECFERRY_SOURCE_TIME", &self.taken_at.to_string())
    }

    /// The same, not told when the source was as it is.
    fn timeless(&self) -> Program {
        let programs = Version::Pg18.bin_dir().unwrap();
        self.stack
            .program()
            .set("VECFERRY_SOURCE", self.source.url())
            .set("VECFERRY_PG_BIN_DIR", programs.to_str().unwrap())
    }

    /// Everything is as it must be, whatever happened on the way.
    async fn assert_done(&self, what: &str) {
        let (source, target) = (digests(&self.source).await, digests(&self.stack.target).await);
        for bot in ["01KEPT", "01LOST", "01WEB"] {
            assert_eq!(source[bot], target[bot], "{what}: {bot} keeps what was copied");
        }
        let rows = self.stack.rows().await;
        let bots: Vec<&str> = rows.keys().map(String::as_str).collect();
        let expected = ["01ADDED", "01CHANGED", "01GONE", "01KEPT", "01LOST", "01NEW", "01WEB"];
        assert_eq!(bots, expected, "{what}");
        for bot in ["01ADDED", "01CHANGED", "01GONE", "01NEW"] {
            assert_eq!(rows[bot].2, 1, "{what}: {bot} was written by one transaction");
            let sql =
                format!("SELECT count(*) FROM items WHERE botid = '{bot}' AND content LIKE 'old%'");
            let old = self.stack.target.query_one(&sql).await.unwrap().get::<_, i64>(0);
            assert_eq!(old, 0, "{what}: {bot}");
            let status = self.stack.table.text("u", bot, "SyncStatus").await.unwrap();
            assert_eq!(status.as_deref(), Some("SUCCEEDED"), "{what}: {bot}");
        }
    }
}

impl Old {
    /// Takes rows of a bot that was embedded, as an accident would, and verifies.
    async fn assert_loss_is_found(&self, program: &Program) {
        let target = &self.stack.target;
        let rows = self.stack.rows().await["01NEW"].0;
        target
            .batch("CREATE TABLE aside AS SELECT * FROM items WHERE botid = '01NEW'")
            .await
            .unwrap();
        target.batch("DELETE FROM items WHERE botid = '01NEW'").await.unwrap();
        for how in [&["--recall-bots", "0"][..], &["--recorded"], &["--quick"]] {
            let verified = program.run(&[&["verify"], how].concat()).expect(1);
            let lost = format!("0 rows, {rows} when it was proven");
            for part in ["embedded bot   on the target", "01NEW", &lost, "the target differs from"]
            {
                assert!(verified.stdout.contains(part), "{part} is not in\n{}", verified.stdout);
            }
            let verdict = program.run(&[&["verify", "--json"], how].concat()).expect(1).json();
            assert_eq!((&verdict["answer"], &verdict["version"]), (&"differs".into(), &1.into()));
            assert_eq!(verdict["content"]["matches"], true);
            let embedded = &verdict["embedded"];
            let numbers = ["bots", "removed", "waiting", "running"].map(|key| &embedded[key]);
            assert_eq!(numbers, [4, 2, 0, 0], "{embedded}");
            assert_eq!(embedded["differing"][0]["bot"], "01NEW", "{embedded}");
            assert_eq!(embedded["differing"][0]["recorded_rows"], rows, "{embedded}");
        }
        target.batch("INSERT INTO items TABLE aside; DROP TABLE aside").await.unwrap();
        program.run(&["verify", "--quick"]).expect(0);
    }
}

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[tokio::test]
async fn only_what_changed_since_the_source_was_taken_is_embedded_anew() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    let shown = program.run(&["migrate", "--method", "delta", "--dry-run"]).expect(0);
    for part in [
        "added: c.txt",
        "changed: b ü.txt",
        "30 rows without a document:",
        "it has no rows",
        "the bot was deleted",
        "the bot has no documents any more",
        "removed     60 rows of 2 bots, on the target only",
        "1 bot kept with documents on the web",
        "kept as copied",
        "bots        4 of DynamoDB",
    ] {
        assert!(shown.stdout.contains(part), "{part} is not in\n{}", shown.stdout);
    }
    let web = ["migrate", "--method", "delta", "--dry-run", "--json", "--web", "reembed"];
    let events = program.run(&web).expect(0).stdout;
    let compared: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!((&compared["event"], &compared["reembed"]), (&"delta_compared".into(), &5.into()));
    assert_eq!(compared["reasons"]["web"], 1);
    assert!(!events.contains("c.txt"), "documents' names are in no event");
    assert_eq!(old.stack.ecs.launched().len(), 0, "nothing is started");
    let dear = [&DELTA[..], &["--price", "100000", "--max-cost", "0.01"]].concat();
    assert!(program.run(&dear).expect(2).stderr.contains("--max-cost"));
    let nobody = program.run(&["migrate", "--method", "delta"]).expect(2);
    assert!(nobody.stderr.contains("embed 4 bots anew"), "{}", nobody.stderr);
    let untouched = "SELECT to_regnamespace('vecferry') IS NULL AND NOT EXISTS (SELECT FROM items)";
    assert!(old.stack.target.query_one(untouched).await.unwrap().get::<_, bool>(0));

    let (code, events, stderr) = Migrating::start_with(&program, &DELTA).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    old.assert_done("at once").await;
    let compared = of(&events, "delta_compared");
    let phases: Vec<&Value> = compared.iter().map(|event| &event["phase"]).collect();
    assert_eq!(phases, ["schema", "embedding"], "before the copy and after it");
    assert_eq!((&compared[1]["keep"], &compared[1]["keep_missing"]), (&3.into(), &1.into()));
    assert_eq!(of(&events, "delta_settled")[0]["rows_removed"], 60);
    assert_eq!(old.stack.ecs.launches_by_bot().len(), 4);

    let verified = program.run(&["verify", "--recall-bots", "0"]).expect(0);
    for part in [
        "left out of the rows are 4 bots chosen to be embedded anew and 2 bots whose rows were removed",
        " of 4 proven bots, every vector looked at; 2 bots removed",
    ] {
        assert!(verified.stdout.contains(part), "{part} is not in\n{}", verified.stdout);
    }
    program.run(&["verify", "--recorded", "--recall-bots", "0"]).expect(0);
    old.assert_loss_is_found(&program).await;
    let status = program.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["method"], &status["phase"]), (&"delta".into(), &"done".into()));
    assert_eq!(status["bots"]["proven"], 4);
    let listed = program.run(&["bots", "--json"]).expect(0).json();
    let proven = listed["bots"].as_array().unwrap().iter().filter(|bot| bot["state"] == "proven");
    assert_eq!(proven.count(), 4);
    let done = program.run(&["migrate"]).expect(0);
    assert!(done.stderr.contains("is complete; nothing to do"), "{}", done.stderr);
    let spoil = "UPDATE items SET content = 'x' WHERE botid = '01WEB'";
    old.stack.target.batch(spoil).await.unwrap();
    program.run(&["verify", "--recall-bots", "0"]).expect(1);
}

#[tokio::test]
async fn a_file_replaced_by_a_far_bigger_one_is_in_the_offer_and_in_what_it_may_cost() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    let dry = ["migrate", "--method", "delta", "--dry-run", "--json", "--price", "1"];
    let tokens = || {
        let events = program.run(&dry).expect(0).stdout;
        let offer: Value = serde_json::from_str(events.lines().nth(1).unwrap()).unwrap();
        assert_eq!(offer["event"], "offer");
        assert_eq!(offer["estimate"]["measured"], 3, "01NEW has no rows");
        offer["estimate"]["tokens"].as_u64().unwrap()
    };
    let before = tokens();
    let text = text("01CHANGED", 7).repeat(100);
    let chars = text.len() as u64;
    old.stack.bucket.upload("u", "01CHANGED", "b ü.txt", text).await.unwrap();
    let after = tokens();
    assert!(after > before + chars / 5, "{before}, with {chars} characters more {after}");
    let limit = (before as f64 * 2.0 / 1e6).to_string();
    let dear = [&DELTA[..], &["--price", "1", "--max-cost", &limit]].concat();
    assert!(program.run(&dear).expect(2).stderr.contains("more than --max-cost"));
    assert_eq!(old.stack.ecs.launched().len(), 0, "nothing is started");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said_once_before_anything_is_offered() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    for method in ["delta", "reembed"] {
        let wrong =
            ["migrate", "--method", method, "--dry-run", "--bucket", "no-such-bucket-delta"];
        let refused = program.run(&wrong).expect(5);
        assert_eq!(refused.stdout, "", "{method}: nothing is offered");
        for part in ["bucket no-such-bucket-delta", "NoSuchBucket", "check --bucket"] {
            assert!(refused.stderr.contains(part), "{part} is not in\n{}", refused.stderr);
        }
        let check = ["check", "--method", method, "--json", "--bucket", "no-such-bucket-delta"];
        let report = program.run(&check).expect(1).json();
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["check"] == "document bucket").unwrap();
        assert_eq!(found["severity"], "blocker");
    }
}

#[tokio::test]
async fn a_dry_run_ends_as_the_run_would_and_changes_nothing() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    let count = "SELECT count(*) FROM items";
    let rows = async || old.stack.target.query_one(count).await.unwrap().get::<_, i64>(0);
    let copy = program.run(&["migrate", "--method", "copy", "--dry-run"]).expect(0);
    assert!(copy.stdout.contains("this would copy "), "{}", copy.stdout);
    let json = program.run(&["migrate", "--method", "copy", "--dry-run", "--json"]).expect(0);
    assert_eq!(json.json()["migration"], Value::Null);
    assert_eq!(rows().await, 0, "nothing was copied");
    let row = "INSERT INTO items (id, botid, content, source) VALUES ('X', '01KEPT', 'x', 'x')";
    old.stack.target.batch(row).await.unwrap();
    for method in ["delta", "copy"] {
        let dry = program.run(&["migrate", "--method", method, "--dry-run"]).expect(1);
        let real = program.run(&["migrate", "--method", method, "--yes"]).expect(1);
        for run in [dry, real] {
            let said = run.stderr.contains("rows are in public.items on the target already");
            assert!(said, "{method}: {}", run.stderr);
        }
    }
    let replaced = ["migrate", "--method", "copy", "--existing", "replace", "--dry-run"];
    let replaced = program.run(&replaced).expect(0).stdout;
    assert!(replaced.contains("replace rows in 1 table of the target and copy"), "{replaced}");
    assert_eq!(rows().await, 1);
}

#[tokio::test]
async fn a_bot_that_loses_every_document_keeps_its_copied_rows_and_is_told_how_to_end() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    let web = ["--web", "reembed", "--lost-documents", "accept"];
    let web = [&DELTA[..], &web].concat();
    let (code, events, stderr) = Migrating::start_with(&program, &web).finish();
    assert_eq!(code, Some(5), "{events:#?}\n{stderr}");
    let failed = of(&events, "bot_failed");
    let [failed] = failed[..] else { panic!("{events:#?}") };
    assert_eq!(failed["bot"]["id"], "01WEB");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("no document of the bot is left"), "{reason}");
    assert!(stderr.contains("--lost-documents does not apply"), "{stderr}");
    let (source, target) = (digests(&old.source).await, digests(&old.stack.target).await);
    assert_eq!(source["01WEB"], target["01WEB"], "its copied rows stay");
    // As the hint says: its documents are removed in the application.
    old.stack.table.put(&ChatBot::new("u", "01WEB").item(Release::V1_4)).await.unwrap();
    let (code, events, stderr) = Migrating::start_with(&program, &web).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    let status = program.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["phase"], "done");
}

#[tokio::test]
async fn a_plan_compares_bots_as_the_delta_would_and_says_what_it_could_not_read() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    let planned = program.run(&["plan"]).expect(0).stdout;
    // What is recommended depends on what other tests write on the source meanwhile.
    assert!(planned.contains("4 of 7 bots changed"), "{planned}");
    let alone = program.run(&["plan", "--method", "delta"]).expect(0).stdout;
    assert!(alone.contains("the documents of the 4 of 7 bots that changed anew"), "{alone}");
    let changed = |program: &Program, more: &[&str]| {
        let plan = program.run(&[&["plan", "--json"], more].concat()).expect(0).json();
        let methods = plan["methods"].as_array().unwrap();
        let delta = methods.iter().find(|one| one["method"] == "delta").unwrap();
        (plan["changed"].clone(), delta["price"]["note"].as_str().unwrap().to_owned())
    };
    let (four, _) = changed(&program, &[]);
    // What the run would pay for: the same bots, the same tokens.
    let offered = program.run(&["migrate", "--method", "delta", "--dry-run", "--json"]).expect(0);
    let offer: Value = serde_json::from_str(offered.stdout.lines().last().unwrap()).unwrap();
    for what in ["bots", "documents", "tokens"] {
        assert_eq!(four[what], offer["estimate"][what], "{what}: {offer}");
    }
    assert_eq!(changed(&program, &["--web", "reembed"]).0["bots"], 5);

    let never = changed(&old.timeless(), &["--temporary-cluster"]);
    assert!(never.0.is_null() && never.1.contains("not known (--source-time does"), "{never:?}");
    let some = changed(&program, &["--bots", "01NEW"]);
    assert!(some.0.is_null() && some.1.contains("--bots narrows the plan"), "{some:?}");
    program.write("bots.toml", "[[bots]]\nid = 'stranger'\ntitle = 'S'\nfolders = ['docs']\n");
    let mut command =
        program.command(&["plan", "--json", "--bot-file", "bots.toml", "--runner", "local"]);
    let output = command.env_remove("VECFERRY_BOT_TABLE").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("none of the 8 bots that have rows on the source"), "{stdout}");
    assert_eq!((old.stack.model.seen().calls, old.stack.ecs.launched().len()), (0, 0));
    let untouched = "SELECT to_regnamespace('vecferry') IS NULL AND NOT EXISTS (SELECT FROM items)";
    assert!(old.stack.target.query_one(untouched).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn killed_after_any_event_a_delta_ends_with_the_same_content_and_copies_no_part_twice() {
    let faults = Faults { seed: 5, shares: vec![(Fault::Throttle, 0.1)], ..Faults::default() };
    let old = Old::start(faults).await;
    let program = old.program();
    let (mut kills, mut parts) = (0, Parts::default());
    let rest = loop {
        let mut run = Migrating::start_with(&program, &DELTA);
        // One event further each time, so that every run dies somewhere else.
        let reached = (0..=kills + 1).all(|_| run.next().is_some());
        if !reached {
            break run.finish();
        }
        parts.add(&run.kill(), &format!("kill {kills}"));
        kills += 1;
        assert!(kills < 200, "the run never ends");
    };
    assert_eq!(rest.0, Some(0), "{:#?}\n{}", rest.1, rest.2);
    assert!(kills >= 10, "killed {kills} times");
    old.assert_done(&format!("killed {kills} times")).await;
    program.run(&["verify", "--recall-bots", "0"]).expect(0);
    for (bot, launches) in old.stack.ecs.launches_by_bot() {
        assert!(launches <= 2, "{bot} was launched {launches} times");
    }
}

#[tokio::test]
async fn a_delta_goes_on_with_its_own_terms_and_restart_begins_again() {
    let old = Old::start(Faults::default()).await;
    let program = old.program();
    let mut run = Migrating::start_with(&program, &DELTA);
    run.until(|event| event["event"] == "part_finished");
    run.kill();
    let other = program.run(&["migrate", "--source-time", "2020-01-01T00:00:00Z"]).expect(2);
    assert!(other.stderr.contains("was begun with source time"), "{}", other.stderr);
    let web = program.run(&["migrate", "--web", "reembed"]).expect(2);
    assert!(web.stderr.contains("web keep, and now it is"), "{}", web.stderr);
    let status = program.run(&["status"]).expect(0);
    assert!(status.stdout.contains("(delta)"), "{}", status.stdout);
    for (more, said) in
        [(["--state", "x.db"], "--state does not fit"), (["--bots", "x"], "--bots does not fit")]
    {
        let refused = program.run(&[&DELTA[..], &more].concat()).expect(2);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    // Without a word about method and time it goes on; what changes meanwhile is said.
    old.stack.table.delete("u", "01KEPT").await.unwrap();
    let quiet = old.timeless();
    let (code, events, stderr) = Migrating::start_with(&quiet, &DELTA).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    assert_eq!(of(&events, "delta_settled")[0]["rows_removed"], 120);
    assert!(!old.stack.rows().await.contains_key("01KEPT"));

    let mut item = ChatBot::new("u", "01KEPT").files(&["a.txt"]).item(Release::V1_4);
    item["EmbeddingParams"]["M"]["chunk_size"] = serde_json::json!({"N": "0"});
    old.stack.table.put(&item).await.unwrap();
    let odd = program.run(&[&DELTA[..], &["--restart"]].concat()).expect(2);
    assert!(odd.stderr.contains("--skip-odd"), "{}", odd.stderr);
    let again = [&DELTA[..], &["--restart", "--existing", "replace", "--skip-odd"]].concat();
    let (code, events, stderr) = Migrating::start_with(&program, &again).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    assert_eq!(of(&events, "delta_compared")[1]["undecided"], 1);
    let rows = old.stack.rows().await;
    assert_eq!(rows["01KEPT"].0, 60, "nobody knows whether it exists: its rows stay");
}

#[tokio::test]
async fn a_settled_delta_refuses_another_registry_before_anything_of_it_looks_deleted() {
    let old = Old::start(Faults::default()).await;
    let mut run = Migrating::start_with(&old.program(), &DELTA);
    run.until(|event| event["event"] == "delta_settled");
    run.kill();
    let rows = old.stack.target.query_one("SELECT count(*) FROM items").await.unwrap();
    let program = old.program();
    let early = program.run(&["verify", "--recall-bots", "0"]).expect(1).stdout;
    for part in [
        "4 bots are not embedded yet: `vecferry migrate`",
        "could not be proven to match",
        "next: vecferry migrate, then",
    ] {
        assert!(early.contains(part), "{part} is not in\n{early}");
    }
    program.write("bots.toml", "[[bots]]\nid = '01KEPT'\ntitle = 'K'\nfolders = ['docs']\n");
    let other = [&DELTA[..], &["--bot-file", "bots.toml", "--runner", "local"]].concat();
    let mut command = program.command(&other);
    let output = command.env_remove("VECFERRY_BOT_TABLE").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("was begun otherwise: registry: recorded is"), "{stderr}");
    let now = old.stack.target.query_one("SELECT count(*) FROM items").await.unwrap();
    assert!(now.get::<_, i64>(0) >= rows.get::<_, i64>(0), "nothing was removed");
    let (code, events, stderr) = Migrating::start_with(&program, &DELTA).finish();
    assert_eq!(code, Some(0), "{events:#?}\n{stderr}");
    old.assert_done("with its own registry again").await;
}

#[tokio::test]
async fn a_delta_without_a_time_or_with_another_registry_is_refused_before_anything_is_done() {
    let old = Old::start(Faults::default()).await;
    let refused = old.timeless().run(&["migrate", "--method", "delta", "--yes"]).expect(2);
    assert!(refused.stderr.contains("--source-time"), "{}", refused.stderr);
    let tomorrow = old.timeless().set("VECFERRY_SOURCE_TIME", "2999-01-01T00:00:00Z");
    let refused = tomorrow.run(&["migrate", "--method", "delta", "--yes"]).expect(2);
    assert!(refused.stderr.contains("yet to come"), "{}", refused.stderr);
    let program = old.program();
    program.write("bots.toml", "[[bots]]\nid = 'stranger'\ntitle = 'S'\nfolders = ['docs']\n");
    let local = [&DELTA[..], &["--bot-file", "bots.toml", "--runner", "local"]].concat();
    let mut command = program.command(&local);
    let output = command.env_remove("VECFERRY_BOT_TABLE").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("none of the 8 bots that have rows on the source"), "{stderr}");
}
