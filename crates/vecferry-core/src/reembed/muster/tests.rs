//! Earlier runs met by every state of the registry.

use jiff::Timestamp;

use super::*;
use crate::bot::DocumentAddress;
use crate::reembed::task::TaskState;

fn key(id: &str) -> BotKey {
    BotKey { owner: "u".into(), id: id.into() }
}

fn bot(id: &str, documents: usize) -> Bot {
    let page = |n| DocumentAddress::Page(format!("https://p/{n}"));
    Bot {
        key: key(id),
        title: format!("title {id}"),
        documents: (0..documents).map(page).collect(),
        splitting: Splitting::default(),
        sync: None,
    }
}

fn record(id: &str, state: BotState) -> BotRecord {
    BotRecord { state, attempts: 2, ..BotRecord::waiting(key(id), "old".into(), 1) }
}

fn attempt(id: &str, number: u32, token: &str) -> AttemptRecord {
    AttemptRecord {
        bot: key(id),
        number,
        token: token.into(),
        task: None,
        launched_at: Timestamp::UNIX_EPOCH,
        seen: None,
        end: None,
    }
}

fn listed(bots: Vec<Bot>) -> Listed {
    Listed::new(Listing { bots, ..Listing::default() }, Ok).unwrap()
}

fn states(works: &[Work]) -> Vec<(String, BotState)> {
    works.iter().map(|work| (work.bot.key.id.clone(), work.record.state.clone())).collect()
}

fn launching() -> BotState {
    BotState::Launching { token: "t".into() }
}

fn failed() -> BotState {
    BotState::Failed { reason: "r".into(), retryable: true }
}

fn running(task: &str) -> BotState {
    BotState::Running { token: "t".into(), task: task.into() }
}

#[test]
fn new_bots_wait_the_largest_first_and_others_are_accounted_for() {
    let listing = Listing {
        bots: vec![bot("a", 1), bot("b", 5), bot("c", 1)],
        knowledge_base: vec![key("k")],
        without_documents: vec![key("n")],
        ..Listing::default()
    };
    let muster = muster(Known::default(), Listed::new(listing, Ok).unwrap(), true);
    let waiting: Vec<_> = muster.waiting.iter().map(|work| work.bot.key.id.as_str()).collect();
    assert_eq!(waiting, ["b", "a", "c"]);
    assert_eq!(muster.changed.bots.len(), 5);
    assert_eq!(muster.counts, Counts { waiting: 3, skipped: 2, ..Counts::default() });
}

#[test]
fn a_bot_is_taken_up_where_its_record_stands() {
    for (state, retry, expected) in [
        (BotState::Waiting, true, Some(BotState::Waiting)),
        (launching(), true, Some(launching())),
        (running("x"), true, Some(running("x"))),
        (BotState::Proven, true, None),
        (failed(), true, Some(BotState::Waiting)),
        (failed(), false, None),
        (BotState::Skipped { why: Skip::Gone }, true, Some(BotState::Waiting)),
    ] {
        let known = Known { bots: vec![record("a", state.clone())], ..Known::default() };
        let muster = muster(known, listed(vec![bot("a", 2)]), retry);
        let taken: Vec<_> = muster.running.iter().chain(&muster.waiting).collect();
        assert_eq!(taken.first().map(|work| work.record.state.clone()), expected, "{state:?}");
        assert_eq!(muster.counts.total(), 1);
        if let Some(work) = taken.first() {
            assert_eq!((work.record.title.as_str(), work.record.documents), ("title a", 2));
            assert_eq!(work.record.attempts, 0, "attempts are counted per run");
            assert_eq!(muster.changed.bots.first(), Some(&work.record));
        }
    }
}

#[test]
fn a_bot_that_left_the_registry_is_skipped_unless_it_has_a_task() {
    for (state, expected) in [
        (BotState::Waiting, Some("skipped")),
        (launching(), Some("skipped")),
        (failed(), Some("skipped")),
        (BotState::Proven, None),
    ] {
        let known = Known { bots: vec![record("a", state)], ..Known::default() };
        let muster = muster(known, listed(vec![]), true);
        assert!(muster.waiting.is_empty() && muster.running.is_empty());
        assert_eq!(muster.changed.bots.first().map(|bot| bot.state.as_str()), expected);
    }
    let known = Known { bots: vec![record("a", running("x"))], ..Known::default() };
    let muster = muster(known, listed(vec![]), true);
    assert_eq!(states(&muster.running), [("a".into(), running("x"))]);
}

#[test]
fn bots_that_are_not_selected_stay_as_they_are() {
    let only_b = |listing: Listing| {
        let bots = listing.bots.into_iter().filter(|bot| bot.key.id == "b").collect();
        Ok(Listing { bots, ..Listing::default() })
    };
    for state in [BotState::Waiting, launching(), failed()] {
        let known = Known { bots: vec![record("a", state.clone())], ..Known::default() };
        let listing = Listing { bots: vec![bot("a", 1), bot("b", 1)], ..Listing::default() };
        let muster = muster(known, Listed::new(listing, only_b).unwrap(), true);
        assert_eq!(states(&muster.waiting), [("b".into(), BotState::Waiting)], "{state:?}");
        assert_eq!(muster.counts.total(), 2);
    }
}

#[test]
fn a_task_that_lives_is_adopted_with_its_attempt() {
    let known = Known {
        bots: vec![record("a", launching()), record("b", failed())],
        attempts: vec![attempt("a", 1, "t"), attempt("b", 1, "old"), attempt("b", 2, "new")],
        tasks: vec![
            Task { id: "x".into(), bot: None, token: Some("t".into()), state: TaskState::Pending },
            Task {
                id: "y".into(),
                bot: None,
                token: Some("old".into()),
                state: TaskState::Running,
            },
        ],
    };
    let muster = muster(known, listed(vec![bot("a", 1), bot("b", 1)]), true);
    let old = BotState::Running { token: "old".into(), task: "y".into() };
    assert_eq!(states(&muster.running), [("a".into(), running("x")), ("b".into(), old)]);
    assert_eq!(muster.running.iter().map(|work| work.at).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(muster.changed.attempts.len(), 2);
    assert_eq!(muster.counts, Counts { running: 2, ..Counts::default() });
}

#[test]
fn launches_that_were_begun_come_first() {
    let known = Known {
        bots: vec![record("z", launching()), record("y", BotState::Waiting)],
        ..Known::default()
    };
    let muster = muster(known, listed(vec![bot("a", 9), bot("y", 1), bot("z", 1)]), true);
    let order: Vec<_> = muster.waiting.iter().map(|work| work.bot.key.id.as_str()).collect();
    assert_eq!(order, ["z", "a", "y"]);
}
