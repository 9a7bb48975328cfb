//! The writer knows what was acknowledged through kills, fences and switches, and its ledger finds
//! whatever is planted against it.

use std::process::Command;
use std::time::Duration;

use vecferry_testkit::{
    Cluster, Database, FaultProxy, Kind, Ledger, Mix, Options, Outcome, Stop, Version, Writer,
    WriterOptions, pair,
};

/// Generous: the condition comes in a second on an idle machine.
const SOON: Duration = Duration::from_secs(120);

/// Refuses as a cutover's fence does.
const FENCE: &str = "
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'fenced' USING ERRCODE = 'VF001'; END $$;
CREATE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON items
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();";

fn everything(url: &str) -> WriterOptions {
    WriterOptions {
        side_table: Some("side".into()),
        mix: Mix { hold_open: 5, hold: Duration::from_millis(20), truncate: 5, ..Mix::default() },
        ..WriterOptions::new(url)
    }
}

async fn prepared(hint: &str) -> (Database, WriterOptions) {
    let database = Database::with_vector(&pair().await.source, hint).await.unwrap();
    let options = everything(database.url());
    database.batch(&options.tables()).await.unwrap();
    (database, options)
}

async fn clean(ledger: &Ledger, url: &str) {
    assert_eq!(ledger.check(url).await.unwrap(), [] as [String; 0]);
}

/// The one thing that is wrong.
async fn wrong(ledger: &Ledger, database: &Database) -> String {
    let mut violations = ledger.check(database.url()).await.unwrap();
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations.remove(0)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_a_durable_server_is_killed_again_and_again() {
    let cluster = Cluster::start(Version::Pg18, Options::new().durable()).unwrap();
    let database = Database::with_vector(&cluster, "killed").await.unwrap();
    let options = everything(database.url());
    database.batch(&options.tables()).await.unwrap();
    let writer = Writer::start(options).unwrap();
    for _ in 0..4 {
        assert!(writer.wait_for_acknowledged(200, SOON));
        cluster.stop(Stop::Immediate).unwrap();
        cluster.start_again().unwrap();
    }
    assert!(writer.wait_for_acknowledged(200, SOON));
    let ledger = writer.stop();
    clean(&ledger, database.url()).await;
    assert!(ledger.acknowledged() >= 1000 && ledger.rows() > 100, "{}", ledger.rows());
    assert!(ledger.unknown() + ledger.count(|outcome| outcome == Outcome::Lost) > 0);
}

#[tokio::test]
async fn every_planted_difference_is_found_and_named() {
    let (database, options) = prepared("planted").await;
    let writer = Writer::start(options).unwrap();
    assert!(writer.wait_for_acknowledged(1000, SOON));
    let ledger = writer.stop();
    clean(&ledger, database.url()).await;
    let mut kinds: Vec<Kind> = ledger.operations().iter().map(|one| one.kind).collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    let keys: Vec<(&str, &str)> = ledger.keys().collect();
    let (bot, key) = keys[keys.len() / 2];
    let (_, other) = keys[keys.len() / 2 + 1];
    let plants = [
        (format!("DELETE FROM items WHERE id = '{key}'"), "is missing"),
        (
            format!("UPDATE items SET content = content || '!' WHERE id = '{key}'"),
            "a content that was never written",
        ),
        (format!("UPDATE items SET source = '' WHERE id = '{key}'"), "a source that was never"),
        (
            format!(
                "UPDATE items SET embedding = (SELECT embedding FROM items WHERE id = '{other}')
                  WHERE id = '{key}'"
            ),
            "a vector that was never written",
        ),
        (
            format!(
                "INSERT INTO items SELECT '01EXTRA', botid, content, source, embedding
                   FROM items WHERE id = '{key}'"
            ),
            "is there but",
        ),
        (
            format!(
                "ALTER TABLE items DROP CONSTRAINT items_pkey;
                 INSERT INTO items SELECT * FROM items WHERE id = '{key}'"
            ),
            "is there twice",
        ),
        ("INSERT INTO side VALUES ('01EXTRA', 'x')".into(), "the side table: row 01EXTRA"),
    ];
    for (plant, what) in plants {
        let copy = Database::create(&pair().await.source, "planted_copy").await.unwrap();
        copy_database(&database, &copy, Version::Pg16);
        clean(&ledger, copy.url()).await;
        copy.batch(&plant).await.unwrap();
        let violation = wrong(&ledger, &copy).await;
        assert!(violation.contains(what), "{violation}");
        assert!(violation.contains("side table") || violation.contains(bot), "{violation}");
    }
    // A whole bot gone is a violation for each of its rows.
    database.batch(&format!("DELETE FROM items WHERE botid = '{bot}'")).await.unwrap();
    let gone = keys.iter().filter(|(owner, _)| *owner == bot).count();
    assert_eq!(ledger.check(database.url()).await.unwrap().len(), gone);
}

#[tokio::test]
async fn a_state_of_the_past_is_found_stale_whatever_part_of_a_row_it_is() {
    let (database, mut options) = prepared("stale").await;
    options.mix = Mix { content: 1, vector: 1, delete: 1, ..Mix::none() };
    let writer = Writer::start(options).unwrap();
    assert!(writer.wait_for_acknowledged(30, SOON));
    writer.pause().unwrap();
    database.batch("CREATE TABLE past AS TABLE items").await.unwrap();
    writer.resume();
    assert!(writer.wait_for_acknowledged(200, SOON));
    let ledger = writer.stop();
    clean(&ledger, database.url()).await;
    let victim = |condition: &str| {
        format!("SELECT min(p.id) FROM past p LEFT JOIN items i USING (id) WHERE {condition}")
    };
    let revert = |column: &str, condition: &str| {
        format!(
            "UPDATE items i SET {column} = p.{column} FROM past p
              WHERE p.id = i.id AND i.id = ({})",
            victim(condition)
        )
    };
    let back =
        format!("INSERT INTO items SELECT * FROM past WHERE id = ({})", victim("i.id IS NULL"));
    for (plant, what) in [
        (revert("content", "p.content <> i.content"), "has content of version"),
        (revert("embedding", "p.embedding <> i.embedding"), "has vector of version"),
        (back, "was deleted after version"),
    ] {
        database.batch("CREATE TABLE saved AS TABLE items").await.unwrap();
        database.batch(&plant).await.unwrap();
        let violation = wrong(&ledger, &database).await;
        assert!(violation.contains(what), "{violation}");
        let restore = "TRUNCATE items; INSERT INTO items TABLE saved; DROP TABLE saved";
        database.batch(restore).await.unwrap();
        clean(&ledger, database.url()).await;
    }
}

#[tokio::test]
async fn a_fenced_writer_goes_where_the_url_file_says_and_its_ledger_with_it() {
    let (source, mut options) = prepared("fenced").await;
    let target = Database::create(&pair().await.target, "switched").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    options.url_file = Some(file.clone());
    // The side table has no fence here, so it must be left alone.
    options.side_table = None;
    let writer = Writer::start(options).unwrap();
    assert!(writer.wait_for_acknowledged(200, SOON));
    source.batch(FENCE).await.unwrap();
    while writer.progress().refused == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Not paused: it goes on being refused while the rows are moved.
    copy_database(&source, &target, Version::Pg18);
    target.batch("DROP TRIGGER fence ON items").await.unwrap();
    std::fs::write(&file, format!("{}\n", target.url())).unwrap();
    assert!(writer.wait_for_redirect(1, SOON));
    assert!(writer.wait_for_acknowledged(200, SOON));
    assert!(writer.progress().database.ends_with(target.name()));
    let ledger = writer.stop();
    clean(&ledger, target.url()).await;
    // The same ledger against the side that was left knows what is not there.
    assert!(!ledger.check(source.url()).await.unwrap().is_empty());
    assert_eq!(ledger.refusals().into_keys().collect::<Vec<_>>(), ["VF001"]);
    let visits = ledger.visits();
    assert_eq!((visits.len(), ledger.downtimes().len()), (2, 1));
    assert!(visits[0].first_refused.unwrap() < visits[1].first_acknowledged.unwrap());
    assert!(ledger.downtimes()[0] > Duration::ZERO);
    assert!(!ledger.latencies(..visits[1].since).is_empty());
}

#[tokio::test]
async fn a_transaction_of_unknown_outcome_may_be_there_or_not_but_not_in_part() {
    let (database, mut options) = prepared("unknown").await;
    let server = format!("127.0.0.1:{}", pair().await.source.port());
    let proxy = FaultProxy::start(&server).unwrap();
    options.url = proxy.url(database.url());
    options.mix = Mix { replace_bot: 1, ..Mix::none() };
    let writer = Writer::start(options).unwrap();
    let replaced = |ledger: &Ledger| {
        let mut uncertain = ledger.uncertain().into_iter();
        uncertain.find(|one| one.without > 1).and_then(|one| one.bot)
    };
    // Cut at different moments until a cut has met a commit of rows in place of others.
    let mut cuts = 0;
    while replaced(&writer.pause().unwrap()).is_none() {
        writer.resume();
        assert!(writer.wait_for_acknowledged(3 + cuts % 5, SOON));
        proxy.cut_now();
        cuts += 1;
    }
    let ledger = writer.stop();
    wait_for_rest(&database).await;
    clean(&ledger, database.url()).await;
    let one = format!("(SELECT min(id) FROM items WHERE botid = '{}')", replaced(&ledger).unwrap());
    database.batch(&format!("DELETE FROM items WHERE id = {one}")).await.unwrap();
    let violation = wrong(&ledger, &database).await;
    assert!(violation.contains("is unknown, but the rows are neither"), "{violation}");
}

#[tokio::test]
async fn a_write_that_outlasts_the_patience_may_still_come_to_be() {
    let (database, mut options) = prepared("impatient").await;
    options.mix = Mix { insert: 1, insert_many: 1, content: 1, ..Mix::none() };
    options.side_table = None;
    options.patience = Duration::from_millis(500);
    let writer = Writer::start(options).unwrap();
    assert!(writer.wait_for_acknowledged(50, SOON));
    let mut blocker = database.connect().await.unwrap();
    let transaction = blocker.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE items").await.unwrap();
    while writer.progress().unknown < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    transaction.commit().await.unwrap();
    assert!(writer.wait_for_acknowledged(50, SOON));
    let ledger = writer.stop();
    wait_for_rest(&database).await;
    clean(&ledger, database.url()).await;
    assert!(ledger.uncertain().len() >= 4);
}

#[tokio::test]
async fn a_row_taken_from_under_the_writer_is_noticed_when_it_is_written_to() {
    let (database, mut options) = prepared("missed").await;
    options.mix = Mix { content: 1, ..Mix::none() };
    (options.connections, options.bots_per_connection, options.rows_per_bot) = (1, 1, 3);
    options.side_table = None;
    let writer = Writer::start(options).unwrap();
    assert!(writer.wait_for_acknowledged(20, SOON));
    let paused = writer.pause().unwrap();
    let (_, key) = paused.keys().next().unwrap();
    database.batch(&format!("DELETE FROM items WHERE id = '{key}'")).await.unwrap();
    writer.resume();
    let missed = |ledger: &Ledger| ledger.count(|outcome| outcome == Outcome::Missed);
    while missed(&writer.pause().unwrap()) == 0 {
        writer.resume();
        assert!(writer.wait_for_acknowledged(3, SOON));
    }
    let violations = writer.stop().check(database.url()).await.unwrap();
    let update = format!("an update of row {key}'s content met 0 rows where 1 were acknowledged");
    assert!(violations.iter().any(|violation| violation.contains(&update)), "{violations:?}");
    assert!(violations.iter().any(|violation| violation.contains("is missing")), "{violations:?}");
}

#[tokio::test]
async fn what_a_subscription_carries_over_is_what_the_ledger_says() {
    let (source, mut options) = prepared("published").await;
    let target = Database::with_vector(&pair().await.target, "subscribed").await.unwrap();
    target.batch(&options.tables()).await.unwrap();
    source.batch("CREATE PUBLICATION everything FOR TABLE items, side").await.unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION {} CONNECTION '{}' PUBLICATION everything
           WITH (binary = true, copy_data = false, streaming = parallel, origin = none)",
        target.name(),
        source.url()
    );
    target.batch(&subscribe).await.unwrap();
    // Some transactions larger than one statement of the writer takes.
    (options.mix.transaction, options.mix.transaction_rows) = (2, 700);
    let writer = Writer::start(options).unwrap();
    assert!(writer.wait_for_acknowledged(1500, SOON));
    let ledger = writer.stop();
    clean(&ledger, source.url()).await;
    // Until all is applied the same check tells what is not there yet.
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let violations = ledger.check(target.url()).await.unwrap();
        if violations.is_empty() {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{} left: {}",
            violations.len(),
            violations[0]
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ledger.unknown() + ledger.refused(), 0);
}

/// A server may still work for a connection that is gone.
async fn wait_for_rest(database: &Database) {
    let working = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'vecferry-writer'";
    while database.query_one(working).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All that is in a database, by the dump and psql of a version that fits both.
fn copy_database(from: &Database, to: &Database, version: Version) {
    let status = Command::new("bash")
        .args(["-c", r#"set -eo pipefail; "$B/pg_dump" -d "$S" | "$B/psql" -Xqd "$T" >/dev/null"#])
        .env("B", version.bin_dir().unwrap())
        .env("S", from.url())
        .env("T", to.url())
        .status()
        .unwrap();
    assert!(status.success());
}
