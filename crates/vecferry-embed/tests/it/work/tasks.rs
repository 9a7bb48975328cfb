//! Bots run in this process, seen through the contract that ECS fulfils too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vecferry_core::reembed::task::{Launch, StopCause, Task, TaskRunner, TaskState};
use vecferry_embed::work::{Ending, LocalTasks};
use vecferry_testkit::pair;

use super::fixture::{Bench, Tripwire, key};
use super::{content, database, reference};

fn launch(token: &str) -> Launch {
    Launch {
        bot: key(),
        migration: "m1".into(),
        attempt: 1,
        token: token.into(),
        environment: Vec::new(),
    }
}

fn tasks(bench: &Bench) -> LocalTasks {
    LocalTasks::new(bench.bench.clone(), Arc::clone(&bench.registry) as _, 1)
}

async fn ended(tasks: &LocalTasks, id: &str) -> Task {
    loop {
        let task = tasks.look(&[id.to_owned()]).await.unwrap().remove(0);
        if matches!(task.state, TaskState::Stopped(_) | TaskState::Vanished) {
            return task;
        }
        tokio::task::yield_now().await;
    }
}

fn stop(task: &Task) -> (StopCause, Option<i32>, &str) {
    let TaskState::Stopped(stop) = &task.state else { panic!("{task:?}") };
    (stop.cause, stop.exit_code, &stop.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_runs_a_bot_once_however_often_it_is_repeated() {
    let database = database(&pair().await.target).await;
    let bench = Bench::new(database.url(), Tripwire::default());
    let tasks = tasks(&bench);
    let id = tasks.launch(&launch("t1")).await.unwrap();
    assert_eq!(tasks.launch(&launch("t1")).await.unwrap(), id);
    let task = ended(&tasks, &id).await;
    assert_eq!(stop(&task), (StopCause::Exited, Some(0), "swapped"));
    assert_eq!((task.bot, task.token.as_deref()), (Some(key()), Some("t1")));
    assert_eq!(tasks.launch(&launch("t1")).await.unwrap(), id);
    assert_eq!(bench.shelf.fetches.load(Ordering::SeqCst), 5);
    assert_eq!(tasks.outcome(&id).unwrap().ending, Ending::Swapped);
    assert_eq!(content(&database).await, reference().await);
    assert_eq!(tasks.list("m1").await.unwrap().len(), 1);
    assert_eq!(tasks.list("m2").await.unwrap().len(), 0);
    let unknown = tasks.look(&["local-never".into()]).await.unwrap();
    assert_eq!(unknown[0].state, TaskState::Vanished);
    assert_eq!(tasks.limits().await.unwrap().in_flight, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_beyond_the_turns_wait_and_can_be_stopped() {
    let database = database(&pair().await.target).await;
    let bench = Bench::new(database.url(), Tripwire::hang_at(5));
    let tasks = tasks(&bench);
    let first = tasks.launch(&launch("t1")).await.unwrap();
    bench.wire.hit.notified().await;
    let second = tasks.launch(&launch("t2")).await.unwrap();
    let both = tasks.look(&[first.clone(), second.clone()]).await.unwrap();
    assert_eq!((&both[0].state, &both[1].state), (&TaskState::Running, &TaskState::Pending));
    for (id, why) in [(&second, "not needed"), (&first, "enough")] {
        tasks.stop(id, why).await.unwrap();
        let task = ended(&tasks, id).await;
        assert_eq!(stop(&task), (StopCause::Stopped, Some(1), why));
        tasks.stop(id, "again").await.unwrap();
    }
    let most = (0..).map(|number| launch(&format!("more{number}"))).take(100);
    let mut refused = 0;
    bench.words.panics.store(true, Ordering::SeqCst);
    for launch in most {
        refused += u32::from(tasks.launch(&launch).await.is_err());
    }
    assert!(refused > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_bot_and_a_bot_that_is_gone_is_no_failure() {
    let database = database(&pair().await.target).await;
    let bench = Bench::new(database.url(), Tripwire::default());
    bench.words.panics.store(true, Ordering::SeqCst);
    let tasks = tasks(&bench);
    let id = tasks.launch(&launch("t1")).await.unwrap();
    let (cause, code, reason) = (StopCause::Exited, Some(1), "the worker panicked");
    assert_eq!(stop(&ended(&tasks, &id).await), (cause, code, reason));
    bench.words.panics.store(false, Ordering::SeqCst);
    bench.claim("t2");
    let id = tasks.launch(&launch("t2")).await.unwrap();
    assert_eq!(stop(&ended(&tasks, &id).await).2, "swapped");
    *bench.registry.bot.lock().unwrap() = None;
    let id = tasks.launch(&launch("t3")).await.unwrap();
    assert_eq!(stop(&ended(&tasks, &id).await), (StopCause::Exited, Some(0), "the bot is gone"));
    assert_eq!(tasks.outcome(&id).unwrap().ending, Ending::Gone);
}
