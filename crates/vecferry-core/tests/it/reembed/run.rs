//! Whole runs: every bot is proven exactly once or failed with its reason, whatever happens to tasks, launches, the
//! target and the orchestrator itself.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vecferry_core::bot::SyncStatus;
use vecferry_core::reembed::run;
use vecferry_core::reembed::select::Selection;
use vecferry_core::reembed::store::Counts;
use vecferry_core::reembed::task::LaunchFailure;
use vecferry_core::report::{Event, Reporter};
use vecferry_core::{Error, Side};
use vecferry_testkit::{Cluster, Options, Stop, Version, pair};

use super::world::{Act, Fuse, World, key};
use crate::fixture::Recorder;

/// Cancels the run at the first event that fits.
struct CancelAt(fn(&Event) -> bool, CancellationToken);

impl Reporter for CancelAt {
    fn event(&self, event: &Event) {
        if self.0(event) {
            self.1.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_a_task_can_end_leaves_its_bot_proven_once_or_failed_with_the_reason() {
    use Act::*;
    let script: &[(&str, &[Act])] = &[
        ("work", &[Work]),
        ("own", &[WorkOwn]),
        ("late_death", &[DieAfterSwap]),
        ("twice", &[Twice, Work]),
        ("novectors", &[NoVectors, WorkOwn]),
        ("zeros", &[ZeroVectors, Work]),
        ("mixed", &[Vanish, NeverStart, Work]),
        ("interrupted", &[Interrupt, Die, WorkOwn]),
        ("throttled", &[FailThrottled, Work]),
        ("documents", &[FailDocuments, Work]),
        ("lost", &[LoseDocuments, Work]),
        ("leftout", &[LeaveOut, Work]),
        ("nothing", &[Nothing, Work]),
        ("memory", &[OutOfMemory, Work]),
        ("byhand", &[StopByHand, Work]),
        ("crashes", &[Die, Die, Die, Work]),
    ];
    let world = World::of(&pair().await.target, "ends", script).await;
    let summary = world.run().await.unwrap();
    let states = world.states().await;
    for (id, runs) in [
        ("work", 1),
        ("own", 1),
        ("late_death", 1),
        ("twice", 2),
        ("novectors", 2),
        ("zeros", 2),
        ("mixed", 3),
        ("interrupted", 3),
        ("throttled", 2),
    ] {
        assert_eq!(states[id], ("proven".into(), String::new()), "{id}");
        world.assert_embedded(id).await;
        assert_eq!(world.runner.started(id), runs, "{id}");
        assert_eq!(world.registry.sync(id).unwrap().status, SyncStatus::Succeeded, "{id}");
    }
    for (id, runs, reason) in [
        ("documents", 1, "https://x/1 answers 404"),
        ("lost", 1, "lost https://lost/1 (missing)"),
        ("leftout", 1, "no rows for https://leftout/1"),
        ("nothing", 1, "the worker reports success and has written no rows"),
        ("memory", 1, "its task ran out of memory: give the task more memory"),
        ("byhand", 1, "its task was stopped by a person"),
        ("crashes", 3, "3 attempts, the last one: its worker ended with exit code 1 and no result"),
    ] {
        assert_eq!(states[id], ("failed".into(), reason.into()), "{id}");
        assert_eq!(world.runner.started(id), runs, "{id}");
        let status = world.registry.sync(id).unwrap().status;
        assert!(!status.is_busy(), "{id} is {status}");
    }
    let counts = Counts { proven: 9, failed: 7, ..Counts::default() };
    assert_eq!((summary.counts, summary.failed.len(), summary.rows), (counts, 7, 18));
    assert_eq!((summary.tokens, summary.reused), (3 * 99, 3));
    // The next run tries what failed again, and only that.
    let summary = world.run().await.unwrap();
    assert_eq!(summary.counts, Counts { proven: 16, ..Counts::default() });
    assert_eq!((world.runner.started("work"), world.runner.started("memory")), (1, 2));
    assert_eq!(world.runner.most_at_once(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_vectors_of_half_precision_are_no_proof_either() {
    use Act::*;
    let script: &[(&str, &[Act])] = &[("zeros", &[ZeroVectors, ZeroVectors, ZeroVectors])];
    let world = World::of(&pair().await.target, "halves", script).await;
    let halves =
        "DROP INDEX idx_items_embedding; ALTER TABLE items ALTER embedding TYPE halfvec(8)";
    world.target.batch(halves).await.unwrap();
    let summary = world.run().await.unwrap();
    assert_eq!(summary.counts, Counts { failed: 1, ..Counts::default() });
    let reason = "2 rows have no embedding, one of zeros only, or one of another length";
    assert!(summary.failed[0].reason.ends_with(reason), "{}", summary.failed[0].reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_first_containers_all_die_alike_is_stopped_and_can_be_continued() {
    let names: Vec<String> = (0..30).map(|n| format!("b{n:02}")).collect();
    for (act, told) in [
        (Act::Die, "its worker ended with exit code 1 and no result"),
        (Act::NeverStart, "its task never started"),
    ] {
        let script: Vec<_> = names.iter().map(|name| (name.as_str(), [act].repeat(3))).collect();
        let script: Vec<(&str, &[Act])> =
            script.iter().map(|(name, acts)| (*name, acts.as_slice())).collect();
        let mut world = World::of(&pair().await.target, "braked", &script).await;
        world.policy.in_flight = 4;
        let events = Arc::new(Recorder::default());
        let ended = run(world.order().await, events.clone(), CancellationToken::new()).await;
        let Err(Error::Tasks { what, hint }) = ended else { panic!("{ended:?}") };
        assert!(what.contains("first 5 bots") && what.ends_with(told), "{what}");
        assert!(hint.unwrap().contains("log"));
        let braked = |event: &&Event| matches!(event, Event::Braked { bots: 5, .. });
        assert_eq!(events.events().iter().filter(braked).count(), 1);
        let untouched = names.iter().filter(|name| world.runner.started(name) == 0).count();
        assert!(untouched >= 20, "{untouched} of 30 were not begun");
        // Mended: what has died is tried again, and everything else begun.
        world.runner.mend();
        let summary = world.run().await.unwrap();
        assert_eq!(summary.counts, Counts { proven: 30, ..Counts::default() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bot_that_works_among_the_first_keeps_a_run_going() {
    use Act::*;
    let names: Vec<String> = (0..20).map(|n| format!("b{n:02}")).collect();
    let script: Vec<(&str, &[Act])> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), if n == 2 { &[Work][..] } else { &[Die, Work] }))
        .collect();
    let mut world = World::of(&pair().await.target, "odd", &script).await;
    world.policy.in_flight = 1;
    let summary = world.run().await.unwrap();
    assert_eq!(summary.counts, Counts { proven: 20, ..Counts::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn launches_that_fail_for_the_runner_use_no_attempt_and_start_no_second_task() {
    let names: Vec<String> = (0..40).map(|n| format!("b{n:02}")).collect();
    let script: Vec<(&str, &[Act])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let mut world = World::refusing(&pair().await.target, "refused", &script, |call, _| {
        Some(match call {
            call if call % 7 == 0 => LaunchFailure::Throttled("rate".into()),
            20 | 21 => LaunchFailure::NoCapacity("no room".into()),
            33 => LaunchFailure::Unclear("timed out".into()),
            _ => return None,
        })
    })
    .await;
    world.policy.attempts = 1;
    let summary = world.run().await.unwrap();
    assert_eq!(summary.counts, Counts { proven: 40, ..Counts::default() });
    for name in &names {
        world.assert_embedded(name).await;
        assert_eq!(world.runner.started(name), 1, "{name}");
    }
    assert!(world.runner.calls() > 45, "{}", world.runner.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_killed_at_any_step_is_continued_and_every_bot_embedded_once() {
    use Act::*;
    let script: &[(&str, &[Act])] = &[
        ("one", &[Work]),
        ("two", &[Vanish, WorkOwn]),
        ("three", &[DieAfterSwap]),
        ("four", &[FailDocuments, FailDocuments, FailDocuments]),
    ];
    let mut world = World::of(&pair().await.target, "killed", script).await;
    world.policy.in_flight = 2;
    let mut kills = 0;
    for points in 1.. {
        world.again(script).await;
        world.in_file = points % 2 == 0;
        let fuse = Fuse::of(points);
        let order = world.order_with(world.store().await, &fuse);
        let died = tokio::select! {
            ended = run(order, Arc::new(Recorder::default()), CancellationToken::new()) => {
                ended.unwrap();
                false
            }
            () = fuse.burnt() => true,
        };
        if !died {
            break;
        }
        kills += 1;
        let summary = world.run().await.unwrap();
        let counts = Counts { proven: 3, failed: 1, ..Counts::default() };
        assert_eq!(summary.counts, counts, "killed at {points}: {:?}", summary.failed);
        for id in ["one", "two", "three"] {
            world.assert_embedded(id).await;
            let status = world.registry.sync(id).unwrap().status;
            assert_eq!(status, SyncStatus::Succeeded, "{id}, killed at {points}");
        }
        assert!(world.runner.started("one") == 1, "killed at {points}");
        assert!(world.runner.started("three") == 1, "killed at {points}");
        assert_eq!(world.runner.most_at_once(), 1, "killed at {points}");
        let four = world.registry.sync("four").unwrap();
        assert_eq!(four.status, SyncStatus::Failed, "killed at {points}");
    }
    assert!(kills > 25, "{kills}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_run_leaves_its_tasks_alone_and_the_next_one_takes_them_back() {
    let script: &[(&str, &[Act])] =
        &[("a", &[Act::WaitThenWork]), ("b", &[Act::WaitThenWork]), ("c", &[Act::WaitThenWork])];
    let mut world = World::of(&pair().await.target, "interrupt", script).await;
    world.policy.in_flight = 2;
    let cancel = CancellationToken::new();
    let reporter = CancelAt(
        |event| matches!(event, Event::Bots { counts, .. } if counts.running == 2),
        cancel.clone(),
    );
    let ended = run(world.order().await, Arc::new(reporter), cancel).await;
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    let record = world.store().await.newest().await.unwrap().unwrap();
    assert_eq!((record.last_error.as_deref(), record.finished_at), (Some("interrupted"), None));
    world.runner.open_gate();
    let summary = world.run().await.unwrap();
    assert_eq!(summary.counts.proven, 3);
    for id in ["a", "b", "c"] {
        assert_eq!(world.runner.started(id), 1, "{id}");
    }
    let record = world.store().await.newest().await.unwrap().unwrap();
    assert!(record.finished_at.is_some() && record.last_error.is_none(), "{record:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_cannot_go_on_by_themselves_are_stopped_and_lose_no_attempt() {
    let mut world =
        World::of(&pair().await.target, "stopped", &[("a", &[Act::WaitThenWork])]).await;
    (world.policy.stop_tasks, world.policy.attempts) = (true, 1);
    let cancel = CancellationToken::new();
    let reporter = CancelAt(|event| matches!(event, Event::BotStarted { .. }), cancel.clone());
    let ended = run(world.order().await, Arc::new(reporter), cancel).await;
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    assert_eq!(world.states().await["a"].0, "waiting");
    assert_eq!(world.registry.sync("a").unwrap().status, SyncStatus::Failed, "claim released");
    world.runner.open_gate();
    assert_eq!(world.run().await.unwrap().counts.proven, 1);
    world.assert_embedded("a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orchestrators_with_one_store_or_one_registry_never_run_a_bot_twice_at_once() {
    let names: Vec<String> = (0..12).map(|n| format!("b{n:02}")).collect();
    let script: Vec<(&str, &[Act])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let mut world = World::of(&pair().await.target, "two", &script).await;
    world.policy.patience = Duration::from_secs(60);
    let holder = world.store().await;
    holder.lock().await.unwrap();
    let refused = world.run().await.unwrap_err();
    assert!(matches!(refused, Error::Refused { side: Side::Target, .. }), "{refused}");
    holder.unlock().await.unwrap();
    let second = world.order_with(Box::new(world.file("other.db").await), &Arc::default());
    let quiet = || Arc::new(Recorder::default());
    let (first, second) = tokio::join!(world.run(), run(second, quiet(), CancellationToken::new()));
    for summary in [first.unwrap(), second.unwrap()] {
        assert_eq!(summary.counts.proven, 12, "{:?}", summary.failed);
    }
    assert_eq!(world.runner.most_at_once(), 1);
    for name in &names {
        world.assert_embedded(name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_work_is_waited_for_and_a_dead_ones_taken_over() {
    let script: Vec<(&str, &[Act])> =
        ["elsewhere", "claimed", "queued", "forgotten", "gone", "idle"]
            .map(|id| (id, &[][..]))
            .to_vec();
    let world = World::of(&pair().await.target, "busy", &script).await;
    let set = |id, status, exec: &str| world.registry.set(id, status, "", exec);
    set("claimed", SyncStatus::Running, "vecferry-of-another-machine");
    set("queued", SyncStatus::Queued, "");
    set("forgotten", SyncStatus::Running, "a-task-of-last-year");
    set("elsewhere", SyncStatus::Running, "vecferry-that-ends");
    set("idle", SyncStatus::Failed, "x");
    let order = world.order().await;
    let registry = world.registry.clone();
    // The application's worker ends while it is waited for; a bot is deleted.
    struct Meanwhile(Arc<super::world::Registry>);
    impl Reporter for Meanwhile {
        fn event(&self, event: &Event) {
            match event {
                Event::BotBusy { bot, .. } if bot.id == "elsewhere" => {
                    self.0.set("elsewhere", SyncStatus::Succeeded, "", "vecferry-that-ends");
                }
                Event::ReembedStarted { .. } => {
                    self.0.bots.lock().unwrap().remove(&key("gone"));
                }
                _ => {}
            }
        }
    }
    let summary =
        run(order, Arc::new(Meanwhile(registry)), CancellationToken::new()).await.unwrap();
    assert_eq!(summary.counts, Counts { proven: 3, failed: 2, skipped: 1, ..Counts::default() });
    for id in ["elsewhere", "forgotten", "idle"] {
        world.assert_embedded(id).await;
    }
    for id in ["claimed", "queued"] {
        assert_eq!(world.runner.started(id), 0, "{id}");
        let failed = summary.failed.iter().find(|bot| bot.bot == key(id)).unwrap();
        assert!(failed.retryable && failed.reason.contains("busy elsewhere"), "{failed:?}");
    }
    assert_eq!(
        world.registry.sync("queued").unwrap().status,
        SyncStatus::Queued,
        "not ours to end"
    );
    assert_eq!(world.runner.started("gone"), 0);
    assert!(!world.registry.bots.lock().unwrap().contains_key(&key("gone")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_restarts_costs_no_bot() {
    let cluster = Cluster::start(Version::Pg18, Options::new()).unwrap();
    let script: &[(&str, &[Act])] = &[("a", &[Act::WaitThenWork]), ("b", &[Act::WaitThenWork])];
    let mut world = World::of(&cluster, "restart", script).await;
    world.policy.attempts = 1;
    let (order, recorder) = (world.order().await, Arc::new(Recorder::default()));
    let (cancel, told) = (CancellationToken::new(), recorder.clone());
    let restarted = async {
        while told.events().iter().filter(|e| matches!(e, Event::BotStarted { .. })).count() < 2 {
            tokio::task::yield_now().await;
        }
        cluster.restart(Stop::Immediate, &[]).unwrap();
        world.runner.open_gate();
    };
    let (summary, ()) = tokio::join!(run(order, recorder.clone(), cancel), restarted);
    assert_eq!(summary.unwrap().counts.proven, 2);
    let retried = recorder.events().iter().any(|event| matches!(event, Event::Retrying { .. }));
    assert!(retried, "both of its sessions were lost");
    for id in ["a", "b"] {
        world.assert_embedded(id).await;
        assert_eq!(world.runner.started(id), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_route_to_the_target_the_registry_proves_exactly_this_attempt() {
    let script: &[(&str, &[Act])] = &[
        ("work", &[Act::Work]),
        ("dead", &[Act::DieAfterSwap, Act::Work]),
        ("bad", &[Act::FailDocuments]),
    ];
    let mut world = World::of(&pair().await.target, "apart", script).await;
    (world.route, world.in_file) = (false, true);
    let summary = world.run().await.unwrap();
    assert_eq!(summary.counts, Counts { proven: 2, failed: 1, ..Counts::default() });
    assert_eq!(world.runner.started("dead"), 2, "nobody could see that it was done");
    assert_eq!(summary.rows, 0);
    let mut order = world.order().await;
    order.registry = Arc::new(super::world::Registry { no_sync: true, ..Default::default() });
    let error = run(order, Arc::new(Recorder::default()), CancellationToken::new()).await;
    assert!(error.unwrap_err().to_string().contains("nothing could prove"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_wrong_for_every_bot_is_refused_before_the_first_task() {
    let world =
        World::of(&pair().await.target, "wrong", &[("a", &[]), ("b", &[Act::FailDocuments])]).await;
    let quiet = || Arc::new(Recorder::default());
    let refused = async |change: &dyn Fn(&mut vecferry_core::reembed::ReembedOrder)| {
        let mut order = world.order().await;
        change(&mut order);
        run(order, quiet(), CancellationToken::new()).await.unwrap_err().to_string()
    };
    let said = refused(&|order| order.settings.dimensions = 1024).await;
    assert!(said.contains("takes 8 dimensions, the model makes 1024"), "{said}");
    let said = refused(&|order| order.settings.knowledge.bot = None).await;
    assert!(said.contains("2 bots cannot share table public.items"), "{said}");
    let said = refused(&|order| {
        order.selection = Selection { ids: vec!["z".into()], ..Selection::default() };
    });
    let said = said.await;
    assert!(said.contains("no bot has id \"z\""), "{said}");
    assert_eq!(world.runner.calls(), 0);
    assert_eq!(world.store().await.newest().await.unwrap(), None, "nothing was begun");
    let summary = world.run().await.unwrap();
    assert_eq!((summary.counts.proven, summary.counts.failed), (1, 1));
    let said = refused(&|order| order.settings.model = "other".into()).await;
    assert!(said.contains("model: recorded is m, now it is other"), "{said}");
    let mut order = world.order().await;
    (order.settings.model, order.restart) = ("other".into(), true);
    let summary = run(order, quiet(), CancellationToken::new()).await.unwrap();
    assert_eq!(world.runner.started("a"), 2, "begun again");
    assert_eq!(summary.counts.total(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_refuses_everything_ends_the_run_and_releases_its_claims() {
    let world =
        World::refusing(&pair().await.target, "refusal", &[("a", &[]), ("b", &[])], |_, launch| {
            Some(match launch.bot.id.as_str() {
                "a" => LaunchFailure::Rejected("overrides too long".into()),
                _ => LaunchFailure::Refused("no such cluster".into()),
            })
        })
        .await;
    let error = world.run().await.unwrap_err();
    assert!(matches!(error, Error::Tasks { .. }) && error.to_string().contains("no such cluster"));
    for id in ["a", "b"] {
        let status = world.registry.sync(id).map(|sync| sync.status);
        assert!(!status.is_some_and(SyncStatus::is_busy), "{id} is {status:?}");
    }
    assert_eq!(world.states().await["b"].0, "waiting");
}
