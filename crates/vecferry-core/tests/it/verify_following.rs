//! What verify says while a source in use is followed: lag is never a difference, and a difference never lag.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::QualifiedName;
use vecferry_core::policy::{Clusters, Policy};
use vecferry_core::report::Event;
use vecferry_core::status::status;
use vecferry_core::verify::content::{Standing, TableContent};
use vecferry_core::verify::{Answer, Options, Verdict, verify, verify_recorded};
use vecferry_core::{Error, Result};
use vecferry_testkit::{Database, Session, pair};

use crate::fixture::{Recorder, clusters, count, items};
use crate::follow::{follow, following};

/// How long a condition may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A source that is followed.
struct Followed {
    source: Database,
    target: Database,
    clusters: Clusters,
    policy: Policy,
    options: Options,
}

impl Followed {
    async fn items(hint: &str) -> Followed {
        let pair = pair().await;
        let source = items(&pair.source, hint, 2000).await;
        let target = Database::create(&pair.target, hint).await.unwrap();
        Followed::begin(source, target).await
    }

    async fn begin(source: Database, target: Database) -> Followed {
        Followed::begin_with(source, target, following()).await
    }

    async fn begin_with(source: Database, target: Database, policy: Policy) -> Followed {
        let clusters = clusters(&source, &target);
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        let options = Options { recall_bots: 0, ..Options::default() };
        Followed { source, target, clusters, policy, options }
    }

    async fn verify(&self) -> Verdict {
        self.verify_told(&Recorder::default()).await.unwrap()
    }

    async fn verify_told(&self, recorder: &Recorder) -> Result<Verdict> {
        let cancel = CancellationToken::new();
        verify(&self.clusters, &self.policy, &self.options, recorder, &cancel).await
    }

    /// Verifies while `holder` keeps apply waiting, and has it let go once verify waits for it.
    async fn verify_until_released(&self, holder: &Session) -> Verdict {
        let recorder = Recorder::default();
        let release = async {
            let waiting = |event: &Event| matches!(event, Event::Verifying { what, .. } if what == "what is under way");
            let rounds = || recorder.events().iter().filter(|event| waiting(event)).count();
            until(async || rounds() > 0).await;
            // Time enough to go on without waiting; nothing can be applied in it.
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert_eq!(rounds(), 1, "verify goes on before the target has applied what it must");
            holder.batch_execute("COMMIT").await.unwrap();
        };
        let (verdict, ()) = tokio::join!(self.verify_told(&recorder), release);
        verdict.unwrap()
    }

    /// The name of publication, slot and subscription.
    async fn link(&self) -> String {
        let sql = "SELECT subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
                   WHERE d.datname = current_database()";
        self.target.query_one(sql).await.unwrap().get(0)
    }

    /// Alters a row of the target that the source does not have so.
    async fn corrupt(&self, sql: &str) {
        self.target.batch(&format!("SET session_replication_role = replica; {sql}")).await.unwrap();
    }

    /// Waits until the target has the row that is written to the source now.
    async fn catch_up(&self, id: &str) {
        let insert = format!("INSERT INTO items (id, botid) VALUES ('{id}', 'marker')");
        self.source.batch(&insert).await.unwrap();
        let sql = format!("SELECT count(*) FROM items WHERE id = '{id}'");
        until(async || count(&self.target, &sql).await == 1).await;
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < DEADLINE, "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes in a task of its own until it is stopped.
struct Writer {
    tasks: JoinSet<u64>,
    stop: CancellationToken,
}

impl Writer {
    /// Runs what `sql` gives for 1, 2, 3, …, one transaction each, a few hundred in a second at most.
    async fn begin(
        database: &Database,
        sql: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Writer {
        let session = database.connect().await.unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(async move {
            let mut written = 0;
            while !stopped.is_cancelled() {
                written += 1;
                session.batch_execute(&sql(written)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            written
        });
        Writer { tasks, stop }
    }

    /// Of bots 0 to 3: updates, inserts and deletes.
    async fn of_four_bots(database: &Database) -> Writer {
        Writer::begin(database, |n| {
            let (bot, id) = (n % 4, n * 7919 % 2000);
            match n % 5 {
                0 => format!("INSERT INTO items (id, botid, embedding) VALUES ('w{n}', 'bot{bot}', '[1,2,3,4,5,6,7,{n}]')"),
                1 => format!("DELETE FROM items WHERE id = 'w{}'", n.saturating_sub(11)),
                _ => format!("UPDATE items SET content = 'written {n}' WHERE id = lpad('{id}', 26, '0') AND botid = 'bot{bot}'"),
            }
        })
        .await
    }

    async fn end(mut self) -> u64 {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

fn table<'a>(verdict: &'a Verdict, name: &str) -> &'a TableContent {
    verdict.content.tables.iter().find(|table| table.table == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_in_use_matches_by_digest_and_by_count() {
    let mut followed = Followed::items("versee_in_use").await;
    let writer = Writer::of_four_bots(&followed.source).await;
    for quick in [false, true] {
        followed.options.quick = quick;
        // A bot that is written to all the time may take more than one attempt to be caught at rest.
        let mut last = None;
        for _ in 0..5 {
            let verdict = followed.verify().await;
            assert_ne!(verdict.answer, Answer::Differs, "{verdict:#?}");
            assert!(verdict.following);
            let matches = verdict.matches;
            last = Some(verdict);
            if matches {
                break;
            }
        }
        assert!(last.as_ref().is_some_and(|verdict| verdict.matches), "{last:#?}");
    }
    assert!(writer.end().await > 0);
    let json = serde_json::to_value(followed.verify().await).unwrap();
    assert_eq!((&json["following"], &json["answer"]), (&true.into(), &"matches".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_altered_on_the_target_alone_is_named_although_others_are_written() {
    let followed = Followed::items("versee_altered").await;
    let writer = Writer::of_four_bots(&followed.source).await;
    let id = format!("{:0>26}", 12);
    followed.corrupt(&format!("UPDATE items SET content = 'lost' WHERE id = '{id}'")).await;
    let verdict = followed.verify().await;
    assert!(writer.end().await > 0);
    assert_eq!(verdict.answer, Answer::Differs, "{verdict:#?}");
    let items = table(&verdict, "public.items");
    let proven: Vec<_> = items
        .bots_differing
        .iter()
        .filter(|bot| bot.proven)
        .map(|bot| (bot.bot.as_str(), bot.standing, bot.read_again))
        .collect();
    assert_eq!(proven, [("bot5", Standing::Changed, 2)]);
    let found = items.rows_differing.clone().unwrap();
    assert_eq!((found.missing, found.extra, found.changed), (0, 0, 1), "{found:#?}");
    assert_eq!(
        (found.first[0].key.clone(), found.first[0].columns.clone()),
        (vec![id], vec!["content".into()])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_too_many_in_a_bot_that_is_written_is_never_called_equal() {
    let mut followed = Followed::items("versee_extra").await;
    let writer = Writer::of_four_bots(&followed.source).await;
    followed.corrupt("INSERT INTO items (id, botid) VALUES ('extra', 'bot1')").await;
    for quick in [false, true] {
        followed.options.quick = quick;
        let verdict = followed.verify().await;
        assert_ne!(verdict.answer, Answer::Matches, "{verdict:#?}");
    }
    writer.end().await;
    followed.options.quick = false;
    let verdict = followed.verify().await;
    let found = table(&verdict, "public.items").rows_differing.clone().unwrap();
    assert_eq!(
        (verdict.answer, found.extra, found.first[0].key.concat()),
        (Answer::Differs, 1, "extra".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_apply_is_stopped_nothing_is_claimed_and_the_reason_is_said() {
    let mut followed = Followed::items("versee_stopped").await;
    let link = followed.link().await;
    followed.target.batch(&format!("ALTER SUBSCRIPTION {link} DISABLE")).await.unwrap();
    followed
        .source
        .batch("UPDATE items SET content = 'on its way' WHERE botid = 'bot2'")
        .await
        .unwrap();
    let verdict = followed.verify().await;
    assert_eq!(verdict.answer, Answer::NotProven, "{verdict:#?}");
    assert!(!verdict.matches && verdict.following);
    let said = &verdict.not_proven[0];
    assert!(said.contains(&link) && said.contains("stopped") && said.contains("1 bot"), "{said}");
    let items = table(&verdict, "public.items");
    assert!(!items.proven && items.rows_differing.is_none());
    assert_eq!(items.bots_differing.len(), 1);
    // A difference that has nothing to do with it cannot be proven either, because nothing is known to be applied.
    followed.options.quick = true;
    assert!(followed.verify().await.matches, "counts are the same");
    followed.options.quick = false;
    followed.target.batch(&format!("ALTER SUBSCRIPTION {link} ENABLE")).await.unwrap();
    assert!(followed.verify().await.matches, "it is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_that_waits_for_a_lock_is_waited_for() {
    let followed = Followed::items("versee_delayed").await;
    let holder = followed.target.connect().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE items IN SHARE MODE").await.unwrap();
    let change = "UPDATE items SET content = 'late' WHERE botid IN ('bot1', 'bot2'); DELETE FROM items WHERE botid = 'bot3'";
    followed.source.batch(change).await.unwrap();
    let verdict = followed.verify_until_released(&holder).await;
    assert!(verdict.matches, "{verdict:#?}");
    let items = table(&verdict, "public.items");
    assert!(items.bots_read_again == 3 && items.read_again >= 1, "{items:#?}");
    assert!(verdict.waited_seconds > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_without_end_is_ended_and_proves_nothing() {
    let mut followed = Followed::items("versee_patience").await;
    let holder = followed.target.connect().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE items IN SHARE MODE").await.unwrap();
    followed.source.batch("DELETE FROM items WHERE botid = 'bot3'").await.unwrap();
    followed.options.apply_wait = Duration::from_millis(300);
    let verdict = followed.verify().await;
    assert_eq!(verdict.answer, Answer::NotProven, "{verdict:#?}");
    assert!(verdict.not_proven[0].contains("did not get there"), "{:?}", verdict.not_proven);
    holder.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_never_rests_is_never_called_different() {
    let mut followed = Followed::items("versee_restless").await;
    // The same two states over and over: content that changes back must not look like content that rests.
    let writer = Writer::begin(&followed.source, |n| {
        format!(
            "BEGIN; DELETE FROM items WHERE botid = 'bot3'; INSERT INTO items (id, botid, content, embedding) \
             SELECT 'r' || g, 'bot3', 'state {}', '[1,2,3,4,5,6,7,8]' FROM generate_series(1, {}) g; COMMIT",
            n % 2,
            20 + n % 2
        )
    })
    .await;
    for quick in [false, true, false] {
        followed.options.quick = quick;
        let verdict = followed.verify().await;
        assert_ne!(verdict.answer, Answer::Differs, "{verdict:#?}");
        let items = table(&verdict, "public.items");
        assert!(items.rows_differing.is_none());
        if verdict.answer == Answer::NotProven {
            assert!(verdict.not_proven[0].contains("still changing"), "{:?}", verdict.not_proven);
        }
    }
    assert!(writer.end().await > 0);
    followed.options.quick = false;
    assert!(followed.verify().await.matches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_without_bots_and_rows_without_a_bot_are_read_again_too() {
    let pair = pair().await;
    let source = items(&pair.source, "versee_shapes", 500).await;
    source
        .batch(
            "CREATE TABLE settings (id int PRIMARY KEY, value text); INSERT INTO settings SELECT g, 'v' FROM generate_series(1, 50) g; \
             INSERT INTO items (id, botid) VALUES ('nobody', NULL)",
        )
        .await
        .unwrap();
    let target = Database::create(&pair.target, "versee_shapes").await.unwrap();
    let mut followed = Followed::begin(source, target).await;
    let holder = followed.target.connect().await.unwrap();
    for quick in [false, true] {
        followed.options.quick = quick;
        holder.batch_execute("BEGIN; LOCK TABLE items, settings IN SHARE MODE").await.unwrap();
        let change = format!(
            "INSERT INTO items (id) VALUES ('nobody {quick}'); UPDATE settings SET value = '{quick}' WHERE id < 9; \
             INSERT INTO settings VALUES ({}, 'more')",
            100 + i32::from(quick)
        );
        followed.source.batch(&change).await.unwrap();
        let verdict = followed.verify_until_released(&holder).await;
        assert!(verdict.matches, "{verdict:#?}");
        assert!(table(&verdict, "public.settings").read_again > 0);
        assert_eq!(table(&verdict, "public.items").bots_read_again, 1);
    }
    followed.options.quick = false;
    let corrupt = "UPDATE settings SET value = 'x' WHERE id = 3; \
                   UPDATE items SET content = 'x' WHERE id = 'nobody'";
    followed.corrupt(corrupt).await;
    let verdict = followed.verify().await;
    assert_eq!(verdict.answer, Answer::Differs);
    for (name, key) in [("public.settings", "3"), ("public.items", "nobody")] {
        let found = table(&verdict, name).rows_differing.clone().unwrap();
        assert_eq!((found.changed, found.first[0].key.concat()), (1, key.into()), "{found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_are_numbers_are_found_again_by_their_binary_form_and_by_their_text() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "versee_numbers").await.unwrap();
    source
        .batch(
            "CREATE TABLE notes (id int PRIMARY KEY, bot int, note text); \
             INSERT INTO notes SELECT g, g % 300, 'note' FROM generate_series(1, 900) g",
        )
        .await
        .unwrap();
    let target = Database::create(&pair.target, "versee_numbers").await.unwrap();
    let knowledge = Knowledge {
        table: QualifiedName::new("public", "notes"),
        bot: Some("bot".into()),
        ..Knowledge::default()
    };
    let policy = Policy { knowledge, ..following() };
    let mut followed = Followed::begin_with(source, target, policy).await;
    let holder = followed.target.connect().await.unwrap();
    for quick in [false, true] {
        followed.options.quick = quick;
        holder.batch_execute("BEGIN; LOCK TABLE notes IN SHARE MODE").await.unwrap();
        followed
            .source
            .batch("UPDATE notes SET bot = bot + 1000 WHERE id % 300 IN (1, 258)")
            .await
            .unwrap();
        let verdict = followed.verify_until_released(&holder).await;
        assert!(verdict.matches, "{verdict:#?}");
        assert_eq!(table(&verdict, "public.notes").bots_read_again, 4, "{verdict:#?}");
    }
    followed.corrupt("DELETE FROM notes WHERE id = 258").await;
    let verdict = followed.verify().await;
    let notes = table(&verdict, "public.notes");
    assert_eq!((verdict.answer, notes.bots_differing.len()), (Answer::Differs, 1), "{notes:#?}");
    assert_eq!((notes.bots_differing[0].source_rows, notes.bots_differing[0].target_rows), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_large_objects_and_the_fence_are_no_differences_while_following() {
    let pair = pair().await;
    let source = items(&pair.source, "versee_others", 100).await;
    source.batch("CREATE SEQUENCE numbers; SELECT nextval('numbers')").await.unwrap();
    let target = Database::create(&pair.target, "versee_others").await.unwrap();
    let followed = Followed::begin(source, target).await;
    followed
        .source
        .batch(
            "SELECT nextval('numbers') FROM generate_series(1, 100); SELECT lo_from_bytea(0, 'later'); \
             CREATE SCHEMA vecferry_fence; \
             CREATE FUNCTION vecferry_fence.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'fenced'; END$$; \
             CREATE TRIGGER vecferry_fence BEFORE UPDATE ON items FOR EACH STATEMENT EXECUTE FUNCTION vecferry_fence.refuse()",
        )
        .await
        .unwrap();
    let verdict = followed.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    let structure = verdict.structure.unwrap();
    assert!(
        structure.notes.iter().any(|note| note.contains("cutover sets them")),
        "{structure:#?}"
    );
    assert!(verdict.notes.iter().any(|note| note.contains("large objects")), "{:?}", verdict.notes);
    followed.target.batch("UPDATE vecferry.migration SET phase = 'done'").await.unwrap();
    let verdict = followed.verify().await;
    assert!(!verdict.following && verdict.notes[0].contains("was cut over"), "{:?}", verdict.notes);
    // The same is a difference once nothing is in progress.
    followed.target.batch("DELETE FROM vecferry.migration").await.unwrap();
    let verdict = followed.verify().await;
    assert_eq!((verdict.answer, verdict.following), (Answer::Differs, false));
    let differing = verdict.structure.unwrap().differences;
    assert!(differing.len() == 1 && differing[0].name == "public.numbers", "{differing:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_is_no_proof_once_changes_are_applied() {
    let followed = Followed::items("versee_recorded").await;
    let cancel = CancellationToken::new();
    let (policy, options) = (&followed.policy, &followed.options);
    let refused =
        verify_recorded(&followed.clusters.target, policy, options, &Recorder::default(), &cancel)
            .await;
    let Err(Error::Refused { what, hint, .. }) = refused else { panic!("{refused:?}") };
    assert!(what.contains("follows its source"), "{what}");
    assert!(hint.unwrap().contains("without --recorded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_cutover_the_source_is_the_one_that_lags() {
    let followed = Followed::items("versee_back").await;
    followed.catch_up("the last").await;
    turn_around(&followed).await;
    let writer = Writer::of_four_bots(&followed.target).await;
    let mut verdict = followed.verify().await;
    for _ in 0..4 {
        if !verdict.matches {
            assert_eq!(verdict.answer, Answer::NotProven, "{verdict:#?}");
            verdict = followed.verify().await;
        }
    }
    assert!(verdict.matches && verdict.following, "{verdict:#?}");
    let id = format!("{:0>26}", 13);
    let lose =
        format!("SET session_replication_role = replica; DELETE FROM items WHERE id = '{id}'");
    followed.source.batch(&lose).await.unwrap();
    let verdict = followed.verify().await;
    assert!(writer.end().await > 0);
    let found = table(&verdict, "public.items").rows_differing.clone().unwrap();
    assert_eq!(
        (verdict.answer, found.extra, found.missing + found.changed),
        (Answer::Differs, 1, 0)
    );
    assert_eq!(found.first[0].key, [id]);
}

/// What a cutover leaves behind: nothing flows from source to target any more, changes flow back, and the record says
/// that it is done.
async fn turn_around(followed: &Followed) {
    let Followed { source, target, clusters, .. } = followed;
    let (link, migration) =
        (followed.link().await, status(&clusters.target).await.unwrap().unwrap().migration);
    let back = format!("vecferry_{}_back", migration.replace('-', ""));
    for sql in [
        format!("ALTER SUBSCRIPTION {link} DISABLE"),
        format!("ALTER SUBSCRIPTION {link} SET (slot_name = NONE)"),
        format!("DROP SUBSCRIPTION {link}"),
        format!("CREATE PUBLICATION {back} FOR TABLE items"),
        format!("SELECT pg_create_logical_replication_slot('{back}', 'pgoutput')"),
        "UPDATE vecferry.migration SET phase = 'done'".to_owned(),
    ] {
        target.batch(&sql).await.unwrap();
    }
    let subscribe = format!(
        "CREATE SUBSCRIPTION {back} CONNECTION '{}' PUBLICATION {back} WITH (create_slot = false, slot_name = '{back}', copy_data = false)",
        target.url()
    );
    source.batch(&subscribe).await.unwrap();
}
