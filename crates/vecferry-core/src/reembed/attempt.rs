//! One bot's way through one attempt, read from top to bottom: place, claim, baseline, launch, end, proof, record.
//!
//! ```text
//! waiting ─ place among the launches ─ token durable ─ registry claimed ─ rows' transactions durable ─ launched
//!                                      (Launching)                                                     (Running)
//! running ─ task ended ─ target and registry read ─ decided ─ registry closed ─ durable (Proven, Failed, Waiting …)
//! ```
//!
//! Killed between any two of these, the next run does the same step again: a token launches one task however often it
//! is used, a claim of ours is known by its token, and a proof can be read as often as one likes. The registry's record
//! is closed before ours is written, so that no bot is left claimed by a run that has forgotten it.

use std::time::{Duration, Instant};

use super::brake::{self, Told};
use super::claim::Claimed;
use super::decide::{Decision, Ending, Facts, Registered, TOKEN_PREFIX, decide};
use super::pace::Call;
use super::patience::Stop;
use super::registry::Expected;
use super::shared::{Shared, now};
use super::store::{AttemptEnd, AttemptRecord, BotRecord, BotState, Outcome, Skip, Yield};
use super::task::{Launch, LaunchFailure};
use super::verdict::{self, Evidence, Verdict};
use crate::bot::{Bot, BotKey, DOCUMENTS_LOST, SyncRecord, SyncStatus};
use crate::error::Error;
use crate::report::Event;

/// How often a launch without an answer is asked for again before the run gives up; with the pauses several minutes.
const UNCLEAR: u32 = 10;

/// How long a task that was told to stop may take to end.
const STOPPING: Duration = Duration::from_secs(30);

/// A bot and what is known of it; owned by whoever works on it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) bot: Bot,
    pub(super) record: BotRecord,
    /// Its attempts, in order.
    pub(super) attempts: Vec<AttemptRecord>,
    /// Place of the attempt under way, or of the last one.
    pub(super) at: usize,
    /// The record of somebody else who works on it, and since when it has been the same.
    pub(super) contested: Option<(SyncRecord, Instant)>,
}

impl Work {
    /// Whether a task or claim is one of ours.
    pub(super) fn is_ours(&self, exec_id: &str) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.token == exec_id || attempt.task.as_deref() == Some(exec_id))
    }

    fn tokens(&self) -> Vec<&str> {
        self.attempts.iter().map(|attempt| attempt.token.as_str()).collect()
    }

    /// What the target says of the bot since the attempt was launched.
    fn judge(&self, evidence: Option<&Evidence>, attempt: &AttemptRecord) -> Verdict {
        evidence.map_or(Verdict::Unseen, |evidence| {
            verdict::judge(evidence, attempt.seen.as_deref(), &self.tokens(), &self.bot)
        })
    }

    fn current(&mut self) -> Result<&mut AttemptRecord, Stop> {
        let bug = || Error::Bug { what: "a bot without an attempt was launched".into() };
        Ok(self.attempts.get_mut(self.at).ok_or_else(bug)?)
    }

    /// Opens the next attempt. One that nothing was asked of the runner for is used again.
    fn open_attempt(&mut self) {
        let unused = |attempt: &AttemptRecord| {
            let outcome = attempt.end.as_ref().map(|end| end.outcome);
            attempt.task.is_none() && outcome == Some(Outcome::NotLaunched)
        };
        let number = match self.attempts.pop_if(|attempt| unused(attempt)) {
            Some(attempt) => attempt.number,
            None => self.attempts.last().map_or(1, |attempt| attempt.number + 1),
        };
        self.at = self.attempts.len();
        self.attempts.push(fresh_attempt(self.bot.key.clone(), number));
    }

    fn end_attempt(&mut self, outcome: Outcome, ending: Option<&Ending>, reason: &str) {
        if let Some(attempt) = self.attempts.get_mut(self.at) {
            let cause = ending.and_then(Ending::cause);
            attempt.end = Some(AttemptEnd { at: now(), outcome, cause, reason: reason.into() });
        }
    }
}

/// Where an attempt has left its bot.
#[derive(Debug, PartialEq)]
pub(super) enum Left {
    /// Nothing more is done for it in this run.
    Settled,
    /// To be taken up again.
    Again(Duration),
    /// The run was interrupted; the record says where the next one goes on.
    Interrupted,
}

/// Whether a launch has gone through.
enum Launched {
    Yes,
    No(Left),
}

impl Shared {
    /// Takes a bot through one attempt, or through the rest of one.
    pub(super) async fn attempt(&self, work: &mut Work) -> Result<Left, Stop> {
        if !matches!(work.record.state, BotState::Running { .. })
            && let Launched::No(left) = self.launch(work).await?
        {
            return Ok(left);
        }
        let BotState::Running { task, .. } = work.record.state.clone() else {
            return Ok(Left::Interrupted);
        };
        match self.ended(&task).await? {
            Some((ending, interrupted)) => self.settle(work, &ending, interrupted).await,
            None => Ok(Left::Interrupted),
        }
    }

    async fn launch(&self, work: &mut Work) -> Result<Launched, Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Ok(Launched::No(Left::Interrupted)),
            () = self.pacer.place() => {}
        }
        if work.record.state.token().is_none() {
            work.open_attempt();
        }
        let token = work.current()?.token.clone();
        if work.record.state.token() != Some(&token) {
            self.enter(work, BotState::Launching { token: token.clone() }).await?;
        }
        let left = match self.claim(work, &token).await? {
            Claimed::Ours => return self.ask(work).await,
            Claimed::Gone => {
                self.skip_gone(work).await?;
                Left::Settled
            }
            Claimed::Busy(again) => {
                work.end_attempt(Outcome::NotLaunched, None, "somebody else works on the bot");
                self.enter(work, BotState::Waiting).await?;
                Left::Again(again)
            }
            Claimed::GivenUp(reason) => {
                self.fail(work, None, (reason, true)).await?;
                Left::Settled
            }
        };
        // Nothing was asked of the runner.
        self.pacer.give_back();
        Ok(Launched::No(left))
    }

    /// Writes down what the rows are before, then asks the runner until it has taken the task on or says no.
    async fn ask(&self, work: &mut Work) -> Result<Launched, Stop> {
        if self.look_before(work).await? {
            self.pacer.give_back();
            return Ok(Launched::No(Left::Settled));
        }
        let mut unclear = 0;
        let mut repeated = false;
        loop {
            let call = tokio::select! {
                biased;
                () = self.cancel.cancelled() => {
                    // Without an answer there may be a task: the next run asks with the same token.
                    if unclear == 0 {
                        self.withdraw(work, "interrupted before its task was started").await?;
                    }
                    return Ok(Launched::No(Left::Interrupted));
                }
                call = self.may_call(repeated) => call,
            };
            repeated = true;
            let failure = match self.order.runner.launch(&self.launch_of(work)?).await {
                Ok(task) => {
                    self.pacer.launched();
                    self.running(work, task).await?;
                    return Ok(Launched::Yes);
                }
                Err(failure) => failure,
            };
            match &failure {
                LaunchFailure::Throttled(_) => {
                    if let Some(rate) = self.pacer.throttled(call) {
                        self.tell(Event::Throttled { launches_per_second: rate });
                    }
                }
                LaunchFailure::NoCapacity(reason) => {
                    if let Some(seconds) = self.pacer.no_room(call) {
                        self.tell(Event::NoRoom { reason: reason.clone(), seconds });
                    }
                    // This token has no task and never will: an answer that is remembered must not be given again.
                    self.renew(work).await?;
                }
                LaunchFailure::Unclear(_) if unclear < UNCLEAR => {
                    unclear += 1;
                    self.pacer.held();
                }
                LaunchFailure::Unclear(_) => return Err(no_answer(&failure)),
                LaunchFailure::Refused(_) => {
                    self.withdraw(work, &failure.to_string()).await?;
                    return Err(refused(&failure));
                }
                LaunchFailure::Rejected(_) => {
                    self.pacer.rejected();
                    self.fail(work, None, (failure.to_string(), false)).await?;
                    return Ok(Launched::No(Left::Settled));
                }
            }
        }
    }

    /// Waits until the runner may be asked; a bot whose call was refused takes a place again.
    async fn may_call(&self, repeated: bool) -> Call {
        if repeated {
            self.pacer.place().await;
        }
        self.pacer.call().await
    }

    /// Records which transactions have written the bot's rows so far. True when one of them was an earlier attempt's
    /// after all: then the bot is settled.
    async fn look_before(&self, work: &mut Work) -> Result<bool, Stop> {
        // A launch that may have been asked for keeps the baseline that was taken before it.
        if work.current()?.seen.is_some() {
            return Ok(false);
        }
        let Some(evidence) = self.evidence(&work.bot.key).await? else { return Ok(false) };
        let earlier =
            work.attempts.iter().enumerate().filter(|(_, attempt)| attempt.seen.is_some());
        let proven =
            earlier.rev().find_map(|(at, attempt)| match work.judge(Some(&evidence), attempt) {
                Verdict::Proven(got) => Some((at, got)),
                _ => None,
            });
        if let Some((at, got)) = proven {
            let reason = "an earlier attempt has embedded the bot after all";
            work.end_attempt(Outcome::NotLaunched, None, reason);
            let state = work.record.state.clone();
            self.enter(work, state).await?;
            work.at = at;
            self.prove(work, None, got).await?;
            return Ok(true);
        }
        work.current()?.seen = Some(evidence.transactions());
        let state = work.record.state.clone();
        self.enter(work, state).await?;
        Ok(false)
    }

    fn launch_of(&self, work: &mut Work) -> Result<Launch, Stop> {
        let bot = work.bot.key.clone();
        let attempt = work.current()?;
        Ok(Launch {
            bot,
            migration: self.run.clone(),
            attempt: attempt.number,
            token: attempt.token.clone(),
            environment: self.order.environment.clone(),
        })
    }

    async fn running(&self, work: &mut Work, task: String) -> Result<(), Stop> {
        let attempt = work.current()?;
        attempt.task = Some(task.clone());
        attempt.launched_at = now();
        let (number, token) = (attempt.number, attempt.token.clone());
        self.enter(work, BotState::Running { token, task: task.clone() }).await?;
        self.tell(Event::BotStarted { bot: work.bot.key.clone(), attempt: number, task });
        Ok(())
    }

    /// The same attempt with another token. The claim is handed on.
    async fn renew(&self, work: &mut Work) -> Result<(), Stop> {
        let attempt = work.current()?;
        attempt.token = fresh_token();
        let token = attempt.token.clone();
        let before = work.record.state.token().map(str::to_owned).unwrap_or_default();
        self.enter(work, BotState::Launching { token: token.clone() }).await?;
        self.hand_on(work, &before, &token).await
    }

    /// Takes a launch back whose task certainly does not exist.
    async fn withdraw(&self, work: &mut Work, reason: &str) -> Result<(), Stop> {
        self.give_back(work, reason).await?;
        work.end_attempt(Outcome::NotLaunched, None, reason);
        self.enter(work, BotState::Waiting).await
    }

    /// Writes back what the registry said of a bot for which nothing ran, so that the application shows what it showed.
    async fn give_back(&self, work: &Work, reason: &str) -> Result<(), Stop> {
        let before = work.bot.sync.clone().filter(|before| !before.status.is_busy());
        let (Some(before), Some(token)) = (before, work.record.state.token()) else {
            return self.close_record(work, SyncStatus::Failed, reason).await;
        };
        let said = (before.reason.as_str(), before.exec_id.as_str());
        let key = &work.bot.key;
        if self.order.registry.keeps_sync() {
            self.write_sync(key, Expected::Exec(token), before.status, said).await?;
        }
        Ok(())
    }

    /// Waits for a task's end. `None` when the run was interrupted and the task goes on by itself; true beside the end
    /// when it was interrupted and the task with it.
    async fn ended(&self, task: &str) -> Result<Option<(Ending, bool)>, Stop> {
        let ended = self.watch.ended(task);
        tokio::pin!(ended);
        tokio::select! {
            biased;
            ending = &mut ended => return Ok(Some((ending?, false))),
            () = self.cancel.cancelled() => {}
        }
        if !self.order.policy.stop_tasks {
            return Ok(None);
        }
        self.order.runner.stop(task, "vecferry was interrupted").await?;
        match tokio::time::timeout(STOPPING, ended).await {
            Ok(ending) => Ok(Some((ending?, true))),
            Err(_) => Ok(None),
        }
    }

    /// Looks at what a task has left, decides, and writes that down.
    async fn settle(
        &self,
        work: &mut Work,
        ending: &Ending,
        interrupted: bool,
    ) -> Result<Left, Stop> {
        let evidence = self.evidence(&work.bot.key).await?;
        let registered = self.registered(&work.bot.key).await?;
        let attempt = work.current()?.clone();
        let verdict = work.judge(evidence.as_ref(), &attempt);
        let policy = &self.order.policy;
        let facts = Facts {
            ending,
            verdict: &verdict,
            registered: &registered,
            result: evidence.as_ref().and_then(|evidence| evidence.result.as_ref()),
            ours: [&attempt.token, attempt.task.as_deref().unwrap_or_default()],
            attempts: work.record.attempts + 1,
            allowed: policy.attempts,
            accept_missing: policy.accept_missing,
        };
        let decision = decide(&facts);
        let told = brake::told(&facts, &decision);
        if let (Decision::Proven(_), Some(text)) = (&decision, left_out(&work.bot.key, &facts)) {
            self.tell(Event::Notice { text });
        }
        let left = self.carry_out(work, decision, (ending, interrupted)).await?;
        let reason = work.record.last_reason.as_deref().unwrap_or_default();
        // What the interruption did says nothing about containers.
        let told = if interrupted { Told::Nothing } else { told };
        self.brake(&work.bot.key, told, reason)?;
        Ok(left)
    }

    /// Does what was decided, and makes it durable.
    async fn carry_out(
        &self,
        work: &mut Work,
        decision: Decision,
        (ending, interrupted): (&Ending, bool),
    ) -> Result<Left, Stop> {
        match decision {
            Decision::Proven(got) => self.prove(work, Some(ending), got).await?,
            Decision::Skip(Skip::Gone) => self.skip_gone(work).await?,
            Decision::Skip(why) => self.enter(work, BotState::Skipped { why }).await?,
            // What the interruption did to a task is not the bot's fault.
            Decision::Repeat { reason } | Decision::Failed { reason, retryable: true }
                if interrupted =>
            {
                self.withdraw(work, &reason).await?;
                return Ok(Left::Interrupted);
            }
            Decision::Failed { reason, retryable } => {
                work.record.attempts += 1;
                self.fail(work, Some(ending), (reason, retryable)).await?;
            }
            Decision::Repeat { reason } => return self.repeat(work, ending, reason).await,
        }
        Ok(Left::Settled)
    }

    async fn prove(
        &self,
        work: &mut Work,
        ending: Option<&Ending>,
        got: Yield,
    ) -> Result<(), Stop> {
        self.close_record(work, SyncStatus::Succeeded, "").await?;
        work.end_attempt(Outcome::Proven, ending, "");
        work.record.last_reason = None;
        work.record.got = got;
        self.enter(work, BotState::Proven).await?;
        let attempt = work.current()?.number;
        let bot = work.bot.key.clone();
        self.tell(Event::BotProven { bot, attempt, rows: got.rows });
        Ok(())
    }

    async fn fail(
        &self,
        work: &mut Work,
        ending: Option<&Ending>,
        (reason, retryable): (String, bool),
    ) -> Result<(), Stop> {
        self.close_record(work, SyncStatus::Failed, &reason).await?;
        work.end_attempt(Outcome::Failed, ending, &reason);
        work.record.last_reason = Some(reason.clone());
        self.enter(work, BotState::Failed { reason: reason.clone(), retryable }).await?;
        self.tell(Event::BotFailed { bot: work.bot.key.clone(), reason, retryable });
        Ok(())
    }

    async fn repeat(&self, work: &mut Work, ending: &Ending, reason: String) -> Result<Left, Stop> {
        work.end_attempt(Outcome::Repeated, Some(ending), &reason);
        work.record.attempts += 1;
        work.record.last_reason = Some(reason.clone());
        self.enter(work, BotState::Waiting).await?;
        let after =
            self.order.policy.repeat_after * (1 << work.record.attempts.saturating_sub(1).min(5));
        let (bot, seconds) = (work.bot.key.clone(), after.as_secs_f64());
        self.tell(Event::BotRepeated { bot, attempts: work.record.attempts, reason, seconds });
        Ok(Left::Again(after))
    }

    async fn skip_gone(&self, work: &mut Work) -> Result<(), Stop> {
        work.end_attempt(Outcome::NotLaunched, None, Skip::Gone.as_str());
        self.enter(work, BotState::Skipped { why: Skip::Gone }).await?;
        self.tell(Event::BotSkipped { bot: work.bot.key.clone(), why: Skip::Gone });
        Ok(())
    }
}

fn fresh_token() -> String {
    format!("{TOKEN_PREFIX}{}", uuid::Uuid::now_v7())
}

fn fresh_attempt(bot: BotKey, number: u32) -> AttemptRecord {
    let (token, launched_at) = (fresh_token(), now());
    AttemptRecord { bot, number, token, task: None, launched_at, seen: None, end: None }
}

fn refused(failure: &LaunchFailure) -> Stop {
    Stop::Failed(Error::Tasks {
        what: format!("no task can be started: {failure}"),
        hint: Some(
            "`vecferry check --method reembed` looks for the reason; run again when it is removed"
                .into(),
        ),
    })
}

fn no_answer(failure: &LaunchFailure) -> Stop {
    Stop::Failed(Error::Tasks {
        what: format!("tasks cannot be started: {failure}"),
        hint: Some("everything is recorded; run the same command again to go on".into()),
    })
}

/// Says which documents a bot is embedded without, by the operator's leave.
fn left_out(bot: &BotKey, facts: &Facts<'_>) -> Option<String> {
    let lost: Vec<String> = match (facts.verdict, facts.result, facts.registered) {
        (Verdict::Incomplete { missing, .. }, _, _) => missing.clone(),
        (_, Some(result), _) if result.swapped => {
            result.lost.iter().map(|lost| format!("{} ({})", lost.source, lost.reason)).collect()
        }
        // Without the target there are only the worker's words in the registry.
        (Verdict::Unseen, None, Registered::Record(Some(record)))
            if facts.ours.contains(&record.exec_id.as_str())
                && record.reason.contains(DOCUMENTS_LOST) =>
        {
            return Some(format!("bot {bot} is embedded, with {}", record.reason.trim()));
        }
        _ => Vec::new(),
    };
    (!lost.is_empty()).then(|| format!("bot {bot} is embedded without {}", lost.join(", ")))
}
