//! Staged rows and the swap, on real servers: what is written where, what a reader sees, and what is left after every
//! way a run can end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;
use vecferry_core::Error;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::QualifiedName;
use vecferry_embed::document::{Lost, Reason};
use vecferry_embed::stage::{
    Batch, Begun, Chunk, Keep, LostDocument, Making, Patience, Place, Record, Stage,
};
use vecferry_testkit::{Cluster, Database, FaultProxy, pair};

pub(crate) const BOT: &str = "01HXBOT0000000000000000001";
const ITEMS: &str = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, \
     embedding vector(4)); CREATE INDEX ON items (botid)";

async fn database(cluster: &Cluster, tables: &str) -> Database {
    let database = Database::with_vector(cluster, "stage").await.unwrap();
    database.batch(tables).await.unwrap();
    database
}

fn place(url: &str) -> Place {
    Place {
        target: url.parse().unwrap(),
        knowledge: Knowledge::default(),
        migration: "m1".into(),
        bot: BOT.into(),
        patience: Patience { lock: Duration::from_millis(300), ..Patience::default() },
    }
}

fn making() -> Making {
    Making { fingerprint: "hash/4 1000/200".into(), dimensions: 4, chunk_chars: 1000 }
}

fn chunks(document: u32, name: &str, count: u32) -> Vec<Chunk> {
    (0..count)
        .map(|ordinal| Chunk {
            document,
            ordinal,
            content: format!("{name} part {ordinal}"),
            vector: vec![document as f32, ordinal as f32, 0.5, -1.25],
        })
        .collect()
}

/// A whole document in one batch.
fn whole(number: u32, source: &str, text: &str, count: u32) -> Batch {
    Batch {
        begun: vec![Begun { number, source: source.into(), version: Some("v1".into()) }],
        chunks: chunks(number, text, count),
        finished: vec![(number, count)],
        lost: Vec::new(),
    }
}

fn record<'a>(token: &'a str, documents: u32, lost: &'a [LostDocument]) -> Record<'a> {
    Record { token, exec_id: "task-1", model: "hash", documents, reused: 1, tokens: 17, lost }
}

async fn texts(database: &Database, sql: &str) -> Vec<String> {
    let session = database.connect().await.unwrap();
    session.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn rows(database: &Database) -> Vec<String> {
    texts(
        database,
        "SELECT trim(source) || ' | ' || content || ' | ' || embedding::text FROM items ORDER BY 1",
    )
    .await
}

async fn number(database: &Database, sql: &str) -> i64 {
    database.query_one(sql).await.unwrap().get(0)
}

async fn staged(database: &Database) -> i64 {
    number(
        database,
        "SELECT (SELECT count(*) FROM vecferry.staged_document) + (SELECT count(*) FROM vecferry.staged_chunk_vector_4)",
    )
    .await
}

/// Waits for what another session will make true; the test's own time limit bounds it.
async fn until(database: &Database, sql: &str) {
    let session = database.connect().await.unwrap();
    while !session.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_replaces_the_bots_rows_and_nobody_elses_in_one_transaction() {
    for cluster in [&pair().await.source, &pair().await.target] {
        let database = database(cluster, ITEMS).await;
        let old = "INSERT INTO items SELECT lpad(g::text, 26, '0'), CASE WHEN g < 5 THEN '01HXBOT0000000000000000001' \
                   ELSE 'other' END, 'old ' || g, 's' || g, '[1,2,3,4]' FROM generate_series(1, 9) g";
        database.batch(old).await.unwrap();
        let (mut stage, kept) = Stage::open(place(database.url()), making()).await.unwrap();
        assert!(kept.is_empty());
        stage.write(&whole(0, "s3://b/a", "a", 3)).await.unwrap();
        let mut second = whole(1, "s3://b/b", "b", 2);
        let rest = second.chunks.split_off(1);
        second.finished.clear();
        stage.write(&second).await.unwrap();
        let last = Batch { chunks: rest, finished: vec![(1, 2)], ..Batch::default() };
        stage.write(&last).await.unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM items").await, 9);
        let swapped = stage.swap(Keep::Nothing, 5, &record("t1", 2, &[])).await.unwrap();
        assert_eq!(swapped, 5);
        let new =
            "SELECT content FROM items WHERE botid = '01HXBOT0000000000000000001' ORDER BY id";
        let made = texts(&database, new).await;
        assert_eq!(made, ["a part 0", "a part 1", "a part 2", "b part 0", "b part 1"]);
        assert!(rows(&database).await.contains(&"s3://b/b | b part 1 | [1,1,0.5,-1.25]".into()));
        assert_eq!(number(&database, "SELECT count(*) FROM items WHERE botid = 'other'").await, 5);
        let transactions =
            "SELECT count(DISTINCT xmin::text) FROM items WHERE content LIKE '%part%'";
        assert_eq!(number(&database, transactions).await, 1);
        assert_eq!(staged(&database).await, 0);
        let result = "SELECT format('%s %s %s %s %s %s %s %s', token, exec_id, model, dimensions, swapped, rows, \
                      documents, tokens) FROM vecferry.bot_result";
        assert_eq!(texts(&database, result).await, ["t1 task-1 hash 4 t 5 2 17"]);
        let recorded = stage.swapped("t1").await.unwrap().unwrap();
        assert_eq!((recorded.rows, recorded.documents, recorded.tokens), (5, 2, 17));
        assert_eq!(stage.swapped("t2").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_old_rows_or_new_ones_and_never_a_mixture() {
    let database = database(&pair().await.target, ITEMS).await;
    let mut reading = JoinSet::new();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let reader = database.connect().await.unwrap();
    let seed = format!(
        "INSERT INTO items SELECT lpad(g::text, 26, '0'), '{BOT}', 'round 0 part ' || g, 's', '[1,2,3,4]' \
         FROM generate_series(0, 199) g"
    );
    database.batch(&seed).await.unwrap();
    reading.spawn(async move {
        let sql = format!(
            "SELECT count(*), count(DISTINCT split_part(content, ' ', 2)), min(content) FROM items WHERE botid = '{BOT}'"
        );
        let mut seen = BTreeSet::new();
        while stopped.has_changed().is_ok_and(|changed| !changed) {
            let row = reader.query_one(&sql, &[]).await.unwrap();
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (200, 1));
            seen.insert(row.get::<_, String>(2));
        }
        stopped.mark_unchanged();
        seen
    });
    for round in 1..=12 {
        let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
        stage.write(&whole(0, "s", &format!("round {round}"), 200)).await.unwrap();
        let token = format!("t{round}");
        stage.swap(Keep::Nothing, 200, &record(&token, 1, &[])).await.unwrap();
    }
    stop.send(true).unwrap();
    let seen = reading.join_next().await.unwrap().unwrap();
    assert!(seen.len() > 1, "the reader saw only {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_died_leaves_its_complete_documents_and_nothing_else() {
    let database = database(&pair().await.target, ITEMS).await;
    let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
    stage.write(&whole(0, "a", "a", 3)).await.unwrap();
    let mut half = whole(1, "b", "b", 3);
    half.finished.clear();
    half.lost.push(("c".into(), Lost::new(Reason::Missing, "status 404")));
    stage.write(&half).await.unwrap();
    drop(stage);
    let (mut stage, kept) = Stage::open(place(database.url()), making()).await.unwrap();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!((kept["a"].version.as_deref(), kept["a"].chunks), (Some("v1"), 3));
    assert_eq!(staged(&database).await, 4);
    stage.write(&whole(0, "b", "b", 1)).await.unwrap();
    stage.discard(&["a".into()]).await.unwrap();
    stage.swap(Keep::Nothing, 1, &record("t", 1, &[])).await.unwrap();
    assert_eq!(rows(&database).await, ["b | b part 0 | [0,0,0.5,-1.25]"]);
    drop(stage);
    let mut other = making();
    other.fingerprint = "another model".into();
    let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
    stage.write(&whole(0, "a", "a", 3)).await.unwrap();
    drop(stage);
    let (_stage, kept) = Stage::open(place(database.url()), other).await.unwrap();
    assert!(kept.is_empty());
    assert_eq!(staged(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_is_one_runs_at_a_time() {
    let database = database(&pair().await.target, ITEMS).await;
    let (stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
    let Err(Error::Refused { what, .. }) = Stage::open(place(database.url()), making()).await
    else {
        panic!("two runs of one bot");
    };
    assert_eq!(what, format!("another run is at work on bot {BOT}"));
    let mut another = place(database.url());
    another.bot = "01HXBOT0000000000000000002".into();
    Stage::open(another, making()).await.unwrap();
    drop(stage);
    let patient = Patience { lock: Duration::from_secs(60), ..Patience::default() };
    Stage::open(Place { patience: patient, ..place(database.url()) }, making()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_prepare_an_empty_target_at_once() {
    let database = database(&pair().await.target, ITEMS).await;
    let mut workers = JoinSet::new();
    for bot in 0..12 {
        let place = Place { bot: format!("bot{bot}"), ..place(database.url()) };
        workers.spawn(async move {
            let (mut stage, _) = Stage::open(place, making()).await.unwrap();
            stage.write(&whole(0, "a", "a", 2)).await.unwrap();
            stage.swap(Keep::Nothing, 2, &record("t", 1, &[])).await.unwrap();
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    assert_eq!(number(&database, "SELECT count(DISTINCT botid) FROM items").await, 12);
}

const KILL: &str = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
     WHERE application_name = 'vecferry worker' AND datname = current_database()";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_costs_nothing_that_was_staged() {
    let database = database(&pair().await.target, ITEMS).await;
    let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
    let mut half = whole(0, "a", "a", 4);
    let rest = half.chunks.split_off(2);
    half.finished.clear();
    stage.write(&half).await.unwrap();
    database.batch(KILL).await.unwrap();
    stage.write(&Batch { chunks: rest, finished: vec![(0, 4)], ..Batch::default() }).await.unwrap();
    database.batch(KILL).await.unwrap();
    stage.swap(Keep::Nothing, 4, &record("t", 1, &[])).await.unwrap();
    assert_eq!(rows(&database).await.len(), 4);
    database.batch(KILL).await.unwrap();
    stage.record_failure(&record("later", 0, &[])).await.unwrap();
    // A swap that is proven stays proven.
    let result = "SELECT token || swapped::text FROM vecferry.bot_result";
    assert_eq!(texts(&database, result).await, ["ttrue"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_replaced_while_it_was_cut_off_gives_way() {
    let database = database(&pair().await.target, ITEMS).await;
    let (mut first, _) = Stage::open(place(database.url()), making()).await.unwrap();
    first.write(&whole(0, "a", "first", 2)).await.unwrap();
    database.batch(KILL).await.unwrap();
    {
        let (mut second, kept) = Stage::open(place(database.url()), making()).await.unwrap();
        assert_eq!(kept.len(), 1);
        second.write(&whole(0, "b", "second", 1)).await.unwrap();
        second.swap(Keep::Nothing, 3, &record("second", 2, &[])).await.unwrap();
    }
    let Err(Error::Refused { what, .. }) = first.write(&whole(1, "c", "first", 2)).await else {
        panic!("a replaced run went on");
    };
    assert!(what.contains("another run took over"), "{what}");
    assert!(first.swap(Keep::Nothing, 2, &record("first", 1, &[])).await.is_err());
    assert_eq!(rows(&database).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_out_and_not_repeated() {
    let database = database(&pair().await.target, ITEMS).await;
    // A commit that waits until the test lets it go on.
    let gate = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                  PERFORM pg_catalog.pg_advisory_xact_lock(7); RETURN NULL; END $$; \
                CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED \
                  FOR EACH ROW EXECUTE FUNCTION wait()";
    database.batch(gate).await.unwrap();
    let address = format!("127.0.0.1:{}", pair().await.target.port());
    let proxy = FaultProxy::start(&address).unwrap();
    let holder = database.connect().await.unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let (mut stage, _) = Stage::open(place(&proxy.url(database.url())), making()).await.unwrap();
    stage.write(&whole(0, "a", "a", 3)).await.unwrap();
    let mut swapping = JoinSet::new();
    swapping.spawn(async move { stage.swap(Keep::Nothing, 3, &record("t", 1, &[])).await });
    let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 7 \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    until(&database, waiting).await;
    proxy.hold();
    holder.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    until(&database, "SELECT EXISTS (SELECT FROM vecferry.bot_result WHERE swapped)").await;
    let before = texts(&database, "SELECT DISTINCT xmin::text FROM items").await;
    proxy.cut_now();
    proxy.release();
    let swapped = swapping.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(swapped, 3);
    assert_eq!(texts(&database, "SELECT DISTINCT xmin::text FROM items").await, before);
    assert_eq!(rows(&database).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_holds_are_waited_for_and_then_swapped() {
    let database = database(&pair().await.target, ITEMS).await;
    database
        .batch(&format!("INSERT INTO items VALUES ('x', '{BOT}', 'old', 's', '[1,2,3,4]')"))
        .await
        .unwrap();
    let patience = Patience { rows: Duration::from_millis(50), tries: 1000, ..Patience::default() };
    let place = Place { patience, ..place(database.url()) };
    let (mut stage, _) = Stage::open(place, making()).await.unwrap();
    stage.write(&whole(0, "a", "a", 1)).await.unwrap();
    let holder = database.connect().await.unwrap();
    holder.batch_execute("BEGIN; SELECT FROM items FOR UPDATE").await.unwrap();
    let mut swapping = JoinSet::new();
    swapping.spawn(async move { stage.swap(Keep::Nothing, 1, &record("t", 1, &[])).await });
    let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' \
                   AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))";
    until(&database, waiting).await;
    until(&database, &waiting.replace("EXISTS", "NOT EXISTS")).await;
    holder.batch_execute("COMMIT").await.unwrap();
    swapping.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(rows(&database).await, ["a | a part 0 | [0,0,0.5,-1.25]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_of_lost_documents_stay_where_that_is_asked_for() {
    for (keep, expected) in [
        (Keep::Nothing, vec!["a part 0"]),
        (Keep::Lost, vec!["a part 0", "old b"]),
        (Keep::AllButStaged, vec!["a part 0", "old", "old b", "old c"]),
    ] {
        let database = database(&pair().await.target, ITEMS).await;
        let old = format!(
            "INSERT INTO items SELECT lpad(s, 26, '0'), '{BOT}', 'old ' || s, s, '[1,2,3,4]' FROM unnest('{{a,b,c}}'::text[]) s; \
             INSERT INTO items VALUES ('z', '{BOT}', 'old', NULL, NULL)"
        );
        database.batch(&old).await.unwrap();
        let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
        stage.write(&whole(0, "a", "a", 1)).await.unwrap();
        let lost =
            [LostDocument { source: "b".into(), lost: Lost::new(Reason::Missing, "status 404") }];
        stage.swap(keep, 1, &record("t", 1, &lost)).await.unwrap();
        let left = texts(&database, "SELECT content FROM items ORDER BY content").await;
        assert_eq!(left, expected, "{keep:?}");
        let recorded = "SELECT lost::text FROM vecferry.bot_result";
        let recorded: serde_json::Value =
            serde_json::from_str(&texts(&database, recorded).await[0]).unwrap();
        let one = serde_json::json!([{"source": "b", "reason": "missing", "detail": "status 404"}]);
        assert_eq!(recorded, one);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_other_shapes_are_filled_too() {
    let tables = "CREATE SCHEMA kb; \
        CREATE TABLE kb.passages (no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bot uuid NOT NULL, \
          body varchar(2000) NOT NULL, origin text NOT NULL, vec halfvec(4) NOT NULL, \
          size int GENERATED ALWAYS AS (length(body)) STORED, at timestamptz NOT NULL DEFAULT now()); \
        CREATE TABLE one_bot (key uuid PRIMARY KEY, body text, origin text, vec vector)";
    let database = database(&pair().await.target, tables).await;
    let named = |schema: &str, name: &str, id: &str, bot: Option<&str>| Knowledge {
        table: QualifiedName::new(schema, name),
        id: id.into(),
        bot: bot.map(str::to_owned),
        content: "body".into(),
        source: "origin".into(),
        embedding: "vec".into(),
        ..Knowledge::default()
    };
    for (knowledge, bot) in [
        (named("kb", "passages", "no", Some("bot")), "018f3a2c-7f1e-7c00-8000-000000000001"),
        (named("public", "one_bot", "key", None), "the bot"),
    ] {
        let place = Place { knowledge, bot: bot.into(), ..place(database.url()) };
        for round in 0..2 {
            let (mut stage, _) = Stage::open(place.clone(), making()).await.unwrap();
            stage.write(&whole(0, "a", "a", 3)).await.unwrap();
            let token = format!("t{round}");
            stage.swap(Keep::Nothing, 3, &record(&token, 1, &[])).await.unwrap();
        }
    }
    let halves = "SELECT format('%s %s %s', vec, size, bot) FROM kb.passages ORDER BY no";
    assert_eq!(
        texts(&database, halves).await[1],
        "[0,1,0.5,-1.25] 8 018f3a2c-7f1e-7c00-8000-000000000001"
    );
    let uuids = "SELECT count(*) FROM one_bot WHERE substr(key::text, 15, 1) = '7'";
    assert_eq!(number(&database, uuids).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_before_anything_is_written() {
    let role = format!("reader_{}", std::process::id());
    let tables = format!(
        "{ITEMS}; CREATE VIEW look AS SELECT * FROM items; CREATE ROLE {role} LOGIN; GRANT SELECT ON items TO {role}; \
         CREATE TABLE short (id char(10) PRIMARY KEY, botid char(26), content text, source text, embedding vector(4)); \
         CREATE TABLE bots (id text PRIMARY KEY, botid char(8), content text, source text, embedding vector(4))"
    );
    let database = database(&pair().await.target, &tables).await;
    let refusal = |place: Place, making: Making| async move {
        match Stage::open(place, making).await {
            Ok(_) => panic!("it was not refused"),
            Err(error) => error.to_string(),
        }
    };
    let of = |name: &str| {
        let table = QualifiedName::new("public", name);
        Place { knowledge: Knowledge { table, ..Knowledge::default() }, ..place(database.url()) }
    };
    let wide = Making { dimensions: 8, ..making() };
    let said = refusal(of("items"), wide).await;
    assert!(said.contains("takes 4 dimensions and the model gives 8"), "{said}");
    for (name, words) in [
        ("nowhere", "there is no such table"),
        ("look", "it is not a table"),
        ("short", "no id can be made"),
        ("bots", "cuts 01HXBOT0000000000000000001 short"),
    ] {
        let said = refusal(of(name), making()).await;
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(
        number(&database, "SELECT count(*) FROM pg_namespace WHERE nspname = 'vecferry'").await,
        0
    );
    // A role that may read the table and nothing else, where the schema is there already.
    Stage::open(of("items"), making()).await.unwrap();
    let grant = format!(
        "GRANT ALL ON SCHEMA vecferry TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA vecferry TO {role}"
    );
    database.batch(&grant).await.unwrap();
    let url = database.url().replacen("://", "://x@", 1);
    let url = format!("postgresql://{role}@{}", url.rsplit_once('@').unwrap().1);
    let said = refusal(Place { target: url.parse().unwrap(), ..of("items") }, making()).await;
    assert!(said.contains("cannot write public.items"), "{said}");
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_are_rounded_as_the_server_rounds_them() {
    let database = database(
        &pair().await.target,
        "CREATE TABLE items (id text PRIMARY KEY, botid text, content text, source text, embedding halfvec(4))",
    )
    .await;
    let numbers: Vec<f32> =
        (0..400).map(|step| ((step as f32) * 0.731).sin() * 10f32.powi(step % 13 - 8)).collect();
    let mut batch = whole(0, "a", "a", 100);
    for (chunk, four) in batch.chunks.iter_mut().zip(numbers.chunks(4)) {
        chunk.vector = four.to_vec();
    }
    let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
    stage.write(&batch).await.unwrap();
    stage.swap(Keep::Nothing, 100, &record("t", 1, &[])).await.unwrap();
    let session = database.connect().await.unwrap();
    for chunk in &batch.chunks {
        let sql = "SELECT embedding::text = ($1::text)::vector::halfvec::text FROM items WHERE content = $2";
        let text = format!("{:?}", chunk.vector);
        let same: bool = session.query_one(sql, &[&text, &chunk.content]).await.unwrap().get(0);
        assert!(same, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_16_bits_make_zero_is_not_staged() {
    let halves = ITEMS.replace("vector(4)", "halfvec(4)");
    for (tables, refused) in [(halves.as_str(), true), (ITEMS, false)] {
        let database = database(&pair().await.target, tables).await;
        let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
        let mut batch = whole(0, "a", "a", 2);
        batch.chunks[1].vector = vec![1e-9, 0.0, -1e-20, 0.0];
        let written = stage.write(&batch).await;
        assert_eq!(written.is_err(), refused, "{written:?}");
        if let Err(error) = written {
            assert_eq!(error.to_string(), "embedding model: cannot stage its vectors");
            assert_eq!(error.class(), vecferry_core::Class::Operator);
            let documents = "SELECT count(*) FROM vecferry.staged_document";
            assert_eq!(number(&database, documents).await, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_bot_that_is_gone_are_taken_back() {
    let database = database(&pair().await.target, ITEMS).await;
    let (mut stage, _) = Stage::open(place(database.url()), making()).await.unwrap();
    stage.write(&whole(0, "a", "a", 2)).await.unwrap();
    stage.swap(Keep::Nothing, 2, &record("t", 1, &[])).await.unwrap();
    stage.withdraw().await.unwrap();
    assert_eq!(rows(&database).await.len(), 0);
    assert_eq!(number(&database, "SELECT count(*) FROM vecferry.bot_result").await, 0);
    stage.write(&whole(1, "b", "b", 2)).await.unwrap();
    stage.abandon().await.unwrap();
    assert_eq!(staged(&database).await, 0);
}
