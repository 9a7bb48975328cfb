//! Every end of a task with everything that can be known of it.

use super::*;
use crate::reembed::verdict::LostDocument;

const CAUSES: [StopCause; 5] = [
    StopCause::Exited,
    StopCause::OutOfMemory,
    StopCause::NeverStarted,
    StopCause::Interrupted,
    StopCause::Stopped,
];

fn stopped(cause: StopCause) -> Ending {
    Ending::Stopped(Stop { cause, exit_code: Some(0), reason: "why".into() })
}

fn every_ending() -> Vec<Ending> {
    CAUSES.into_iter().map(stopped).chain([Ending::Vanished]).collect()
}

fn every_verdict() -> Vec<Verdict> {
    vec![
        Verdict::Unseen,
        Verdict::Proven(Yield { rows: Some(3), ..Yield::default() }),
        Verdict::Untouched,
        Verdict::Doubled { transactions: 2 },
        Verdict::Faulty { rows: 1 },
        Verdict::Incomplete { missing: vec!["a".into()], got: Yield::default() },
    ]
}

fn record(status: SyncStatus, reason: &str, exec_id: &str) -> Registered {
    Registered::Record(Some(SyncRecord { status, reason: reason.into(), exec_id: exec_id.into() }))
}

fn every_record() -> Vec<Registered> {
    let mut all = vec![Registered::NotKept, Registered::Gone, Registered::Record(None)];
    for status in
        [SyncStatus::Queued, SyncStatus::Running, SyncStatus::Succeeded, SyncStatus::Failed]
    {
        for (reason, exec_id) in [("bad file", "task"), ("Throttled", "task"), ("x", "other")] {
            all.push(record(status, reason, exec_id));
        }
    }
    all
}

fn result(swapped: bool, lost: &[&str]) -> BotResult {
    let lost = lost.iter().map(|source| LostDocument {
        source: (*source).into(),
        reason: "missing".into(),
        detail: String::new(),
    });
    let lost = lost.collect();
    BotResult { token: "token".into(), swapped, rows: 0, documents: 1, reused: 0, tokens: 0, lost }
}

struct Case<'a>(&'a Ending, &'a Verdict, &'a Registered, Option<&'a BotResult>);

fn decided(case: &Case<'_>, attempts: u32) -> Decision {
    decide(&Facts {
        ending: case.0,
        verdict: case.1,
        registered: case.2,
        result: case.3,
        ours: ["token", "task"],
        attempts,
        allowed: 3,
        accept_missing: false,
    })
}

/// Every combination.
fn all(mut check: impl FnMut(&Case<'_>, Decision)) {
    let results =
        [None, Some(result(false, &["d"])), Some(result(false, &[])), Some(result(true, &[]))];
    for ending in &every_ending() {
        for verdict in &every_verdict() {
            for registered in &every_record() {
                for result in &results {
                    let case = Case(ending, verdict, registered, result.as_ref());
                    let decision = decided(&case, 1);
                    check(&case, decision);
                }
            }
        }
    }
}

#[test]
fn a_bot_that_is_gone_is_skipped_whatever_else_is_known() {
    all(|case, decision| {
        let gone = *case.2 == Registered::Gone;
        assert_eq!(decision == Decision::Skip(Skip::Gone), gone, "{decision:?}");
    });
}

#[test]
fn rows_that_prove_a_bot_prove_it_however_its_task_ended() {
    all(|case, decision| {
        if let (Verdict::Proven(got), false) = (case.1, *case.2 == Registered::Gone) {
            assert_eq!(decision, Decision::Proven(*got), "{:?}", case.0);
        }
    });
}

#[test]
fn nothing_is_proven_by_a_tasks_end_or_an_exit_code() {
    all(|case, decision| {
        if matches!(decision, Decision::Proven(_)) {
            let by_target = matches!(case.1, Verdict::Proven(_));
            let by_registry = *case.1 == Verdict::Unseen
                && matches!(case.2, Registered::Record(Some(record))
                    if record.status == SyncStatus::Succeeded && record.exec_id == "task");
            assert!(by_target || by_registry, "{:?} {:?}", case.1, case.2);
        }
    });
}

#[test]
fn wrong_rows_are_written_again() {
    all(|case, decision| {
        let wrong = matches!(case.1, Verdict::Doubled { .. } | Verdict::Faulty { .. });
        if wrong && *case.2 != Registered::Gone {
            assert!(matches!(decision, Decision::Repeat { .. }), "{decision:?}");
        }
    });
}

#[test]
fn a_bot_that_failed_for_its_documents_is_not_repeated() {
    let vanished = Ending::Vanished;
    let idle = Registered::Record(None);
    let lost = result(false, &["a", "b", "c", "d", "e"]);
    let case = Case(&vanished, &Verdict::Untouched, &idle, Some(&lost));
    let reason = "lost a (missing), b (missing), c (missing) and 2 more".to_owned();
    assert_eq!(decided(&case, 1), Decision::Failed { reason, retryable: false });
    let all = BotResult { documents: 0, ..result(false, &["a"]) };
    let case = Case(&vanished, &Verdict::Untouched, &idle, Some(&all));
    let reason = format!("lost a (missing); {NONE_LEFT}");
    assert_eq!(decided(&case, 1), Decision::Failed { reason, retryable: false });
    for (ending, verdict) in every_ending()
        .iter()
        .flat_map(|e| [Verdict::Unseen, Verdict::Untouched].map(|v| (e.clone(), v)))
    {
        let said = record(SyncStatus::Failed, "bad file", "task");
        let decision = decided(&Case(&ending, &verdict, &said, None), 1);
        let expected = Decision::Failed { reason: "bad file".into(), retryable: false };
        assert_eq!(decision, expected, "{ending:?}");
        let passing =
            record(SyncStatus::Failed, "An error occurred (ThrottlingException)", "token");
        let decision = decided(&Case(&ending, &verdict, &passing, None), 1);
        assert!(matches!(decision, Decision::Repeat { .. }), "{ending:?} {decision:?}");
    }
}

#[test]
fn another_runs_words_count_for_nothing() {
    let ending = stopped(StopCause::Interrupted);
    let silent = decided(&Case(&ending, &Verdict::Unseen, &Registered::Record(None), None), 1);
    for status in [SyncStatus::Failed, SyncStatus::Succeeded] {
        let theirs = record(status, "bad file", "other");
        assert_eq!(decided(&Case(&ending, &Verdict::Unseen, &theirs, None), 1), silent);
    }
    let mut stranger = result(false, &["d"]);
    stranger.token = "stranger".into();
    let case = Case(&ending, &Verdict::Unseen, &Registered::NotKept, Some(&stranger));
    assert_eq!(decided(&case, 1), silent);
}

#[test]
fn success_without_rows_is_a_failure_where_the_target_can_be_seen() {
    let ending = stopped(StopCause::Exited);
    let done = record(SyncStatus::Succeeded, "", "task");
    let unseen = decided(&Case(&ending, &Verdict::Unseen, &done, None), 1);
    assert_eq!(unseen, Decision::Proven(Yield::default()));
    let seen = decided(&Case(&ending, &Verdict::Untouched, &done, None), 1);
    assert!(matches!(seen, Decision::Failed { retryable: false, .. }), "{seen:?}");
}

#[test]
fn without_a_word_from_anybody_the_tasks_end_decides() {
    for (ending, expected) in [
        (stopped(StopCause::Exited), "repeat"),
        (stopped(StopCause::NeverStarted), "repeat"),
        (stopped(StopCause::Interrupted), "repeat"),
        (Ending::Vanished, "repeat"),
        (stopped(StopCause::OutOfMemory), "failed"),
        (stopped(StopCause::Stopped), "failed, retryable"),
    ] {
        for registered in
            [Registered::NotKept, Registered::Record(None), record(SyncStatus::Running, "", "task")]
        {
            let word = match decided(&Case(&ending, &Verdict::Untouched, &registered, None), 1) {
                Decision::Repeat { .. } => "repeat",
                Decision::Failed { retryable: true, .. } => "failed, retryable",
                Decision::Failed { .. } => "failed",
                other => panic!("{other:?}"),
            };
            assert_eq!(word, expected, "{ending:?}");
        }
    }
}

#[test]
fn the_last_attempt_is_not_repeated() {
    let case = Case(&Ending::Vanished, &Verdict::Unseen, &Registered::NotKept, None);
    for (attempts, repeated) in [(1, true), (2, true), (3, false), (4, false)] {
        let decision = decided(&case, attempts);
        assert_eq!(matches!(decision, Decision::Repeat { .. }), repeated, "{attempts}");
        if !repeated {
            assert!(matches!(decision, Decision::Failed { retryable: true, .. }), "{decision:?}");
        }
    }
}

#[test]
fn missing_documents_fail_a_bot_unless_they_are_accepted() {
    let (ending, registered) = (stopped(StopCause::Exited), Registered::NotKept);
    let got = Yield { rows: Some(4), ..Yield::default() };
    let verdict = Verdict::Incomplete { missing: vec!["https://a".into()], got };
    let reason = "no rows for https://a".to_owned();
    let decision = decided(&Case(&ending, &verdict, &registered, None), 1);
    assert_eq!(decision, Decision::Failed { reason, retryable: false });
    let accepted = decide(&Facts {
        ending: &ending,
        verdict: &verdict,
        registered: &registered,
        result: None,
        ours: ["token", "task"],
        attempts: 1,
        allowed: 3,
        accept_missing: true,
    });
    assert_eq!(accepted, Decision::Proven(got));
}

fn contested(status: SyncStatus, exec_id: &str, task: Option<TaskState>, unchanged: f64) -> Claim {
    let record = SyncRecord { status, reason: String::new(), exec_id: exec_id.into() };
    let writer =
        Writer { record: &record, ours: false, task: task.as_ref(), unchanged, patience: 60.0 };
    contest(&writer)
}

#[test]
fn a_record_of_a_dead_task_is_taken_over_and_a_live_ones_never() {
    let Ending::Stopped(stop) = stopped(StopCause::Exited) else { unreachable!() };
    let take = |id: &str| Claim::TakeOver(id.into());
    let running = |id, task, unchanged| contested(SyncStatus::Running, id, task, unchanged);
    assert_eq!(running("x", Some(TaskState::Stopped(stop.clone())), 0.0), take("x"));
    assert_eq!(running("x", Some(TaskState::Vanished), 59.0), Claim::Busy);
    assert_eq!(running("x", Some(TaskState::Vanished), 60.0), take("x"));
    for state in [TaskState::Pending, TaskState::Running] {
        assert_eq!(running("x", Some(state.clone()), 0.0), Claim::Busy);
        assert!(matches!(running("x", Some(state), 60.0), Claim::GiveUp(_)));
    }
    // Another vecferry's claim is not a task.
    for unchanged in [0.0, 60.0] {
        for id in ["vecferry-1", ""] {
            let claim = running(id, Some(TaskState::Vanished), unchanged);
            assert!(!matches!(claim, Claim::TakeOver(_)), "{id:?} {claim:?}");
        }
    }
    // What is queued may start at any moment, whoever ran last.
    let queued = contested(SyncStatus::Queued, "x", Some(TaskState::Stopped(stop)), 0.0);
    assert_eq!(queued, Claim::Busy);
    assert!(matches!(contested(SyncStatus::Queued, "", None, 60.0), Claim::GiveUp(_)));
}

#[test]
fn a_claim_of_our_own_is_taken_over_at_once() {
    let record = SyncRecord {
        status: SyncStatus::Running,
        reason: String::new(),
        exec_id: "vecferry-1".into(),
    };
    let writer = Writer { record: &record, ours: true, task: None, unchanged: 0.0, patience: 60.0 };
    assert_eq!(contest(&writer), Claim::TakeOver("vecferry-1".into()));
    let queued = SyncRecord { status: SyncStatus::Queued, ..record.clone() };
    assert_eq!(contest(&Writer { record: &queued, ..writer }), Claim::Busy);
}
