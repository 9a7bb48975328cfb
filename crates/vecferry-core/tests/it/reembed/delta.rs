//! A whole delta on real clusters: copied, compared, settled, embedded, verified; and killed on its way.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vecferry_core::bot::SyncStatus;
use vecferry_core::cleanup::cleanup;
use vecferry_core::cutover;
use vecferry_core::cutover::step::Direction;
use vecferry_core::delta::{
    Choice, Delta, Objects, Terms, WebPolicy, carry, compare, held, recorded, settle,
};
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::phase::Phase;
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::reembed::run;
use vecferry_core::reembed::select::Selection;
use vecferry_core::reembed::store::{Counts, MigrationStore, PostgresStore};
use vecferry_core::report::Summary;
use vecferry_core::status::status;
use vecferry_core::verify::{Answer, Options, Verdict, verify, verify_recorded};
use vecferry_core::{Error, Side};
use vecferry_testkit::{Database, pair};

use super::store::settings;
use super::world::{Act, Fuse, World, key};
use crate::fixture::{APP_SETUP, Recorder, clusters, count, policy};

/// Bots of the registry: two whose rows stay, one whose last embedding failed, one that is new.
const SCRIPT: &[(&str, &[Act])] = &[
    ("kept", &[]),
    ("kept2", &[]),
    ("failed", &[Act::Vanish, Act::WorkOwn]),
    ("fresh", &[Act::DieAfterSwap]),
];

/// Rows of the bots as the application had written them, 100 a bot in many transactions; of a bot that is deleted since,
/// and of nobody.
async fn source() -> Database {
    let source = Database::with_vector(&pair().await.source, "delta").await.unwrap();
    source.batch(APP_SETUP).await.unwrap();
    for (bot, name) in [
        ("'kept'", "kept"),
        ("'kept2'", "kept2"),
        ("'failed'", "failed"),
        ("'deleted'", "deleted"),
        ("NULL", "nobody"),
    ] {
        let fill = format!(
            "INSERT INTO items SELECT left(md5('{name}/' || g), 26), {bot}, repeat('text ' || g, 9), \
             'https://{name}/' || g % 2, ARRAY[g, 1, 2, 3, 4, 5, 6, 7]::real[]::vector FROM generate_series(1, 100) g"
        );
        source.batch(&fill).await.unwrap();
    }
    source
}

/// A delta between a source and a world's target.
struct Rig {
    source: Database,
    world: World,
}

impl Rig {
    async fn new(hint: &str) -> Rig {
        let world = World::of(&pair().await.target, hint, SCRIPT).await;
        let rig = Rig { source: source().await, world };
        rig.fail_one();
        rig
    }

    fn fail_one(&self) {
        self.world.registry.set("failed", SyncStatus::Failed, "no", "task-0");
        self.world.registry.set("kept", SyncStatus::Succeeded, "", "task-0");
    }

    fn clusters(&self) -> Clusters {
        clusters(&self.source, &self.world.target)
    }

    fn policy() -> Policy {
        Policy { method: Some(Method::Delta), part_bytes: 16 << 10, ..policy() }
    }

    fn terms() -> Terms {
        let taken_at = "2026-03-01T12:00:00.123456Z".parse().unwrap();
        Terms { taken_at, web: WebPolicy::Keep }
    }

    async fn copy(&self) -> Result<Summary, Error> {
        let options = RunOptions { terms: Some(Rig::terms()), ..RunOptions::default() };
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        migrate(&self.clusters(), &Rig::policy(), options, &recorder, &cancel).await
    }

    /// Compares as the program does.
    async fn compare(&self) -> Delta {
        let clusters = self.clusters();
        let earlier = recorded(&clusters.target).await.unwrap().unwrap();
        let registry = self.world.order().await.registry;
        let listing = registry.list().await.unwrap();
        let knowledge = Rig::policy().knowledge;
        let held = held::read(&clusters.source, Side::Source, &knowledge).await.unwrap();
        let mut delta = compare(&listing, &held, &Objects::new(), &earlier.terms);
        delta.refuse_stranger(&held, "r").unwrap();
        carry(&mut delta, &listing, &earlier.choices);
        delta
    }

    /// The rest of the delta; dies when the fuse has burnt down.
    async fn embed(&self, fuse: &Arc<Fuse>) -> Result<u64, Error> {
        let delta = self.compare().await;
        let target = self.clusters().target;
        let id = recorded(&target).await.unwrap().unwrap().id;
        let removed = settle(&target, &id, &settings(), &delta).await?;
        let store = Box::new(PostgresStore::of_delta(target));
        let mut order = self.world.order_with(store, fuse);
        order.selection = Selection::exactly(delta.chosen().map(|bot| bot.key.clone()));
        let summary = run(order, Arc::new(Recorder::default()), CancellationToken::new()).await?;
        assert_eq!(summary.counts, Counts { proven: 2, ..Counts::default() });
        assert_eq!(summary.migration, id, "one migration, one id");
        Ok(removed)
    }

    async fn verify(&self) -> Verdict {
        let policy = Rig::policy();
        let options = Options { recall_bots: 5, ..Options::default() };
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        verify(&self.clusters(), &policy, &options, &recorder, &cancel).await.unwrap()
    }

    async fn verify_recorded(&self) -> Verdict {
        let policy = Rig::policy();
        let options = Options { recall_bots: 0, ..Options::default() };
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        verify_recorded(&self.clusters().target, &policy, &options, &recorder, &cancel)
            .await
            .unwrap()
    }

    /// A bot that was embedded is found to differ after a change, which is undone again.
    async fn assert_found(&self, change: &str, bot: &str, said: &str) {
        let target = &self.world.target;
        target
            .batch("DROP TABLE IF EXISTS aside; CREATE TABLE aside AS TABLE items")
            .await
            .unwrap();
        target.batch(change).await.unwrap();
        for verdict in [self.verify().await, self.verify_recorded().await] {
            assert_eq!((verdict.matches, verdict.answer), (false, Answer::Differs), "{change}");
            assert!(verdict.content.matches, "{change}");
            let differing = verdict.embedded.unwrap().differing;
            assert_eq!(differing.len(), 1, "{differing:?}");
            assert_eq!(differing[0].bot, bot);
            assert!(differing[0].differences[0].starts_with(said), "{differing:?}");
        }
        let undo = "TRUNCATE items; INSERT INTO items TABLE aside; DROP TABLE aside";
        target.batch(undo).await.unwrap();
    }

    async fn assert_losses_are_found(&self) {
        let one = "botid = 'fresh' AND source LIKE '%0'";
        let lost = format!("DELETE FROM items WHERE {one}");
        self.assert_found(&lost, "fresh", "1 row, 2 when it was proven").await;
        let unsound = format!("UPDATE items SET embedding = NULL WHERE {one}");
        self.assert_found(&unsound, "fresh", "1 row without a vector").await;
        let back = "INSERT INTO items (id, botid) VALUES ('B1', 'deleted')";
        self.assert_found(back, "deleted", "1 row, though its rows were removed").await;
    }

    /// Every bot is as it must be, whatever happened on the way.
    async fn assert_done(&self, what: &str) {
        let digest = "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY id)) FROM items t \
                      WHERE botid LIKE 'kept%' OR botid IS NULL";
        let of = async |database: &Database| {
            let row = database.query_one(digest).await.unwrap();
            (row.get::<_, i64>(0), row.get::<_, String>(1))
        };
        assert_eq!(of(&self.source).await, of(&self.world.target).await, "{what}");
        for id in ["failed", "fresh"] {
            self.world.assert_embedded(id).await;
        }
        let rows = count(&self.world.target, "SELECT count(*) FROM items").await;
        assert_eq!(rows, 300 + 2 * 2, "{what}");
        let status = status(&self.clusters().target).await.unwrap().unwrap();
        assert_eq!((status.method.as_str(), status.phase), ("delta", Phase::Done), "{what}");
        assert_eq!(status.bots, Some(Counts { proven: 2, ..Counts::default() }), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_is_embedded_what_is_gone_is_removed_and_the_rest_is_the_sources() {
    let rig = Rig::new("delta").await;
    let summary = rig.copy().await.unwrap();
    assert_eq!(
        (summary.phase, summary.method, summary.rows),
        (Phase::Embedding, Method::Delta, 500)
    );
    let target = rig.clusters().target;
    let earlier = recorded(&target).await.unwrap().unwrap();
    assert_eq!((earlier.terms, earlier.phase), (Rig::terms(), Phase::Embedding));
    assert!(earlier.choices.is_empty());
    // Another method is refused, and the copy is not repeated.
    let reembed =
        run(rig.world.order().await, Arc::new(Recorder::default()), CancellationToken::new());
    let refused = reembed.await.unwrap_err().to_string();
    assert!(refused.contains("unfinished migration by delta"), "{refused}");
    let again = Recorder::default();
    let options = RunOptions::default();
    let cancel = CancellationToken::new();
    migrate(&rig.clusters(), &Rig::policy(), options, &again, &cancel).await.unwrap();
    assert_eq!(again.parts_finished(), 0);
    assert!(rig.verify_recorded().await.matches, "all of it is the source's so far");

    let delta = rig.compare().await;
    let chosen: Vec<&str> = delta.chosen().map(|bot| bot.key.id.as_str()).collect();
    assert_eq!(chosen, ["failed", "fresh"]);
    assert_eq!((delta.remove.len(), delta.rows_without_bot), (1, 100));
    let removed = rig.embed(&Arc::default()).await.unwrap();
    assert_eq!(removed, 100);
    rig.assert_done("at once").await;
    assert_eq!(rig.world.runner.started("kept"), 0);
    let choices = recorded(&target).await.unwrap().unwrap().choices;
    let expected =
        [("deleted", Choice::Remove), ("failed", Choice::Reembed), ("fresh", Choice::Reembed)];
    assert_eq!(choices, expected.map(|(bot, choice)| (bot.to_owned(), choice)));

    for verdict in [rig.verify().await, rig.verify_recorded().await] {
        assert!(verdict.matches, "{:#?} {:?}", verdict.content, verdict.notes);
        let note = "left out of the rows are 2 bots chosen to be embedded anew and 1 bot whose rows were removed";
        assert!(verdict.notes.iter().any(|said| said.contains(note)), "{:?}", verdict.notes);
        let bots = verdict.content.tables[0].bots;
        assert_eq!(bots, Some(3), "kept, kept2 and nobody");
        let embedded = verdict.embedded.unwrap();
        assert!(embedded.matches && embedded.vectors);
        assert_eq!((embedded.bots, embedded.rows, embedded.removed), (2, 4, 1));
    }
    // Nobody knows what the rows of those that are left out should say; of the others everything is known.
    let spoil = |bot: &str| format!("UPDATE items SET content = 'x' WHERE botid = '{bot}'");
    let target = &rig.world.target;
    target.batch(&spoil("failed")).await.unwrap();
    assert!(rig.verify().await.matches && rig.verify_recorded().await.matches);
    rig.assert_losses_are_found().await;
    target.batch(&spoil("kept2")).await.unwrap();
    for verdict in [rig.verify().await, rig.verify_recorded().await] {
        assert!(!verdict.matches);
        let differing = &verdict.content.tables[0].bots_differing;
        assert_eq!(differing.iter().map(|bot| bot.bot.as_str()).collect::<Vec<_>>(), ["kept2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_whose_turn_has_not_come_are_not_proven_and_those_that_failed_differ() {
    let rig = Rig::new("pending_delta").await;
    rig.copy().await.unwrap();
    let unsettled = rig.verify_recorded().await;
    assert!(
        unsettled.notes.iter().any(|note| note.contains("has not settled yet")),
        "{unsettled:?}"
    );
    let target = rig.clusters().target;
    let id = recorded(&target).await.unwrap().unwrap().id;
    settle(&target, &id, &settings(), &rig.compare().await).await.unwrap();
    // Killed here, before the first bot is recorded.
    for verdict in [rig.verify().await, rig.verify_recorded().await] {
        assert_eq!((verdict.matches, verdict.answer), (false, Answer::NotProven));
        assert!(verdict.not_proven[0].starts_with("2 bots are not embedded yet"), "{verdict:?}");
        let embedded = verdict.embedded.unwrap();
        assert_eq!((embedded.bots, embedded.waiting, embedded.removed), (0, 2, 1));
    }
    rig.embed(&Arc::default()).await.unwrap();
    let failed = "UPDATE vecferry.bot_state SET state = 'failed', reason = 'no', retryable = false \
                  WHERE bot = 'failed'";
    rig.world.target.batch(failed).await.unwrap();
    for verdict in [rig.verify().await, rig.verify_recorded().await] {
        assert_eq!(verdict.answer, Answer::Differs);
        let embedded = verdict.embedded.unwrap();
        assert_eq!((embedded.bots, embedded.failed.len(), embedded.differing.len()), (1, 1, 0));
        assert_eq!((&*embedded.failed[0].bot, &*embedded.failed[0].reason), ("failed", "no"));
    }
    // Nor is the application switched to it.
    rig.world.target.batch("DELETE FROM items WHERE botid = 'fresh'").await.unwrap();
    let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
    let options = cutover::Options::new(Direction::Cutover);
    let crossed =
        cutover::cross(&rig.clusters(), &Rig::policy(), &options, &recorder, &cancel).await;
    let crossed = crossed.unwrap();
    assert_eq!(crossed.end, cutover::End::Undone, "{crossed:#?}");
    let why = &crossed.stopped.unwrap().what;
    for part in ["bot fresh: 0 rows, 2 when it was proven", "bot failed is not embedded: no"] {
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_embedded_once_more_after_a_delta_are_told_by_the_newest_record() {
    let rig = Rig::new("delta_reembed").await;
    rig.copy().await.unwrap();
    rig.embed(&Arc::default()).await.unwrap();
    // `migrate --method reembed --bots kept`, as is told after a delta.
    let mut order = rig.world.order().await;
    order.selection = Selection::exactly([key("kept")]);
    run(order, Arc::new(Recorder::default()), CancellationToken::new()).await.unwrap();
    rig.world.assert_embedded("kept").await;
    for verdict in [rig.verify().await, rig.verify_recorded().await] {
        assert!(verdict.matches, "{:#?} {:?}", verdict.content, verdict.embedded);
        assert_eq!(verdict.content.tables[0].bots, Some(2), "kept2 and nobody");
        let embedded = verdict.embedded.unwrap();
        assert_eq!((embedded.bots, embedded.rows, embedded.removed), (3, 6, 1));
        let notes = verdict.notes.iter().filter(|note| note.contains("left out of the rows"));
        assert_eq!(notes.count(), 2, "{:?}", verdict.notes);
    }
    rig.assert_found("DELETE FROM items WHERE botid = 'kept'", "kept", "0 rows, 2").await;
    rig.assert_found("DELETE FROM items WHERE botid = 'fresh'", "fresh", "0 rows, 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_killed_at_any_step_of_its_embedding_is_continued_to_the_same_content() {
    let mut rig = Rig::new("killed_delta").await;
    let mut kills = 0;
    // Every third point: each life is a whole delta.
    for points in (1..).step_by(3) {
        rig.world.again(SCRIPT).await;
        rig.fail_one();
        rig.copy().await.unwrap();
        // Twice: the second life dies one point later than the first.
        let mut died = false;
        for points in [points, points + 1] {
            let fuse = Fuse::of(points);
            tokio::select! {
                ended = rig.embed(&fuse) => { ended.unwrap(); break }
                () = fuse.burnt() => died = true,
            }
        }
        if !died {
            break;
        }
        kills += 1;
        let finished = recorded(&rig.clusters().target).await.unwrap().unwrap();
        if finished.phase == Phase::Embedding {
            rig.embed(&Arc::default()).await.unwrap();
        }
        rig.assert_done(&format!("killed at {points}")).await;
        assert_eq!(rig.world.runner.started("fresh"), 1, "killed at {points}");
        assert_eq!(rig.world.runner.most_at_once(), 1, "killed at {points}");
    }
    assert!(kills > 5, "{kills}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_is_deleted_or_comes_back_between_two_runs_is_what_it_is_now() {
    let rig = Rig::new("back").await;
    rig.copy().await.unwrap();
    let target = rig.clusters().target;
    let id = recorded(&target).await.unwrap().unwrap().id;
    let gone = rig.world.registry.bots.lock().unwrap().remove(&key("kept2")).unwrap();
    let removed = settle(&target, &id, &settings(), &rig.compare().await).await.unwrap();
    assert_eq!(removed, 200, "of two bots");
    // The run ended there; meanwhile one is back, and its rows are not.
    rig.world.registry.bots.lock().unwrap().insert(key("kept2"), gone);
    let delta = rig.compare().await;
    let chosen: Vec<&str> = delta.chosen().map(|bot| bot.key.id.as_str()).collect();
    assert_eq!(chosen, ["failed", "fresh", "kept2"]);
    assert_eq!(settle(&target, &id, &settings(), &delta).await.unwrap(), 0);
    let store = Box::new(PostgresStore::of_delta(target.clone()));
    assert!(store.newest().await.unwrap().is_some_and(|run| run.id == id));
    let mut order = rig.world.order_with(store, &Arc::default());
    order.selection = Selection::exactly(delta.chosen().map(|bot| bot.key.clone()));
    let done = run(order, Arc::new(Recorder::default()), CancellationToken::new()).await.unwrap();
    assert_eq!(done.counts, Counts { proven: 3, ..Counts::default() });
    rig.world.assert_embedded("kept2").await;
    assert!(rig.verify().await.matches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_takes_what_was_embedded_and_leaves_what_the_application_wrote_beside_it() {
    let rig = Rig::new("delta_undone").await;
    rig.copy().await.unwrap();
    rig.embed(&Arc::default()).await.unwrap();
    rig.world.assert_embedded("fresh").await;
    // As a run that ended before its last bot would leave it.
    let target = &rig.world.target;
    target.batch("UPDATE vecferry.migration SET phase = 'embedding'").await.unwrap();
    target.batch("INSERT INTO items (id, botid) VALUES ('A1', 'beside')").await.unwrap();
    cleanup(&rig.clusters()).await.unwrap();
    let left = "SELECT string_agg(rtrim(botid), ' ') FROM items";
    let left: Option<String> = target.query_one(left).await.unwrap().get(0);
    assert_eq!(left.as_deref(), Some("beside"));
}
