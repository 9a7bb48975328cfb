//! How a crossing ends: what is undone after a no, what is said after a failure, and how a rollback takes over from a
//! cutover that did not finish.

use std::time::{Duration, Instant};

use super::decide::{Decision, Reason, judge, unhealthy};
use super::gather::{gather, may_be_fenced};
use super::run::{Crossing, Halt, refused};
use super::step::{Direction, Step};
use super::{End, Outcome, StepSeconds, fence, way_back};
use crate::error::{Error, Result, Side};
use crate::follow::link::Link;
use crate::follow::state::read_link;
use crate::pg::Session;
use crate::store::{self, CrossingRecord, Entry};

/// How long apply of a link that was just set up may take to connect.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);

impl Crossing<'_> {
    /// Whether this is the rollback of a cutover that did not finish.
    pub(super) fn rolls_back_unfinished(&self) -> bool {
        let cutover = self.gathered.cutover.as_ref().map(|record| record.step);
        self.direction() == Direction::Rollback
            && self.step == Step::Undone
            && cutover.is_some_and(|step| {
                step != Step::Finished && (self.replicates() || step.is_before_the_switch())
            })
    }

    /// Sets up the way back of a cutover that stopped at or past its switch and decides anew; `None` when it stopped
    /// before, so that there is nothing to go back over.
    pub(super) async fn rejoin(&mut self) -> Result<Option<Decision>> {
        let step = self.gathered.cutover.as_ref().map_or(Step::Undone, |record| record.step);
        if step.is_before_the_switch() {
            return Ok(None);
        }
        self.way_back = true;
        self.finish_cutover().await?;
        self.way_back = false;
        let begun = Instant::now();
        let (sender, receiver) = self.ground.ends();
        let back = Link::back(&self.id);
        while unhealthy(&read_link(sender, receiver, &back).await?).is_some()
            && begun.elapsed() < CONNECTS_WITHIN
        {
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Error::Interrupted),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        let mut gathered = gather(self.ground).await?;
        gathered.facts.cutover = Some((Step::Finished, true));
        let decision = judge(&gathered.facts);
        self.gathered = gathered;
        Ok(Some(decision))
    }

    /// The rollback of a cutover that stopped before its switch: the source takes writes again.
    pub(super) async fn forget(self, decision: Decision) -> Result<Outcome> {
        self.undo(Direction::Cutover, "rolled back before the switch").await?;
        self.outcome(End::Done, decision, None).await
    }

    /// The answer is no. What an earlier run has left is undone.
    pub(super) async fn refuse(self, decision: Decision) -> Result<Outcome> {
        let own = self.gathered.crossing(self.direction());
        if !(may_be_fenced(own) && self.step.is_before_the_switch()) {
            return Ok(refused(Some(self.id), Some(self.method), decision));
        }
        let why = decision.reasons.first().map_or("", |reason| reason.what.as_str()).to_owned();
        self.undo(self.direction(), &why).await?;
        self.outcome(End::Undone, decision, None).await
    }

    pub(super) async fn end(self, decision: Decision, halted: Option<Halt>) -> Result<Outcome> {
        match halted {
            None => self.outcome(End::Done, decision, None).await,
            Some(Halt::No(reason)) => {
                self.undo(self.direction(), &reason.what).await?;
                self.outcome(End::Undone, decision, Some(reason)).await
            }
            Some(Halt::Unknown(reason)) => {
                let entry = Entry { why: Some(&reason.what), ..Entry::default() };
                let place = (self.direction(), self.step);
                store::enter_crossing(self.ground.target, &self.id, place, entry).await?;
                self.outcome(End::Unknown, decision, Some(reason)).await
            }
            Some(Halt::Failed(error)) if self.step.is_before_the_switch() => {
                self.undo(self.direction(), &error.to_string()).await?;
                Err(error)
            }
            Some(Halt::Failed(error)) => {
                let how = format!(
                    "the crossing stopped at step {}; run `vecferry {}` again, it goes on from there",
                    self.step.as_str(),
                    self.direction()
                );
                self.notice(how);
                Err(error)
            }
        }
    }

    /// Lifts the sender's fence and drops what was made for a way back. Over sessions of its own: those of the
    /// crossing may be lost, or in a failed transaction.
    async fn undo(&self, direction: Direction, why: &str) -> Result<()> {
        let undone = async {
            let clusters = self.ground.clusters;
            // The fence first, and without the other cluster: that may be what failed, and the application waits. A
            // record that still says that it is up is right about nothing but where to begin again.
            let side = direction.sender();
            fence::open(&Session::open(clusters.at(side), side, "undo").await?, &self.id).await?;
            if self.gathered.facts.fenced {
                self.notice(format!("writes are taken on the {side} again"));
            }
            let source = Session::open(&clusters.source, Side::Source, "undo").await?;
            let target = Session::open(&clusters.target, Side::Target, "undo").await?;
            let sender = match direction {
                Direction::Cutover => &source,
                Direction::Rollback => &target,
            };
            if direction == Direction::Cutover && self.replicates() {
                way_back::tear_down(&source, &target, &Link::back(&self.id)).await?;
            }
            let stages = &self.stages[self.recorded..];
            let entry = Entry { stages, why: Some(why), ..Entry::default() };
            store::enter_crossing(&target, &self.id, (direction, Step::Undone), entry).await?;
            self.remove_fence(sender).await
        };
        undone.await.map_err(|error: Error| {
            let sender = direction.sender();
            let lift = match direction {
                Direction::Cutover => "`vecferry rollback` lifts it",
                Direction::Rollback => "`vecferry rollback` goes on from there",
            };
            self.notice(format!("stopped by: {why}"));
            error.with_hint(format!(
                "unless a line above says that the {sender} takes writes again, its fence may be up: {lift}; where the \
                 record cannot be reached, run DROP SCHEMA vecferry_fence CASCADE on the {sender}"
            ))
        })
    }

    pub(super) async fn outcome(
        self,
        end: End,
        decision: Decision,
        stopped: Option<Reason>,
    ) -> Result<Outcome> {
        let direction = self.direction();
        let record = CrossingRecord::read(self.ground.target, &self.id, direction).await?;
        let recorded = record.as_ref().filter(|_| end == End::Done);
        let steps = match recorded {
            Some(record) => record.stages.clone(),
            None => self.stages.iter().map(|(s, t)| (s.as_str().to_owned(), *t)).collect(),
        };
        let step = |(name, seconds)| StepSeconds { name, seconds };
        Ok(Outcome {
            version: 1,
            migration: Some(self.id),
            method: Some(self.method),
            direction,
            done: end == End::Done,
            end,
            switched: recorded.is_some_and(|record| !record.step.is_before_the_switch()),
            switched_by_command: end == End::Done && self.ground.options.switch.is_some(),
            way_back: recorded.is_some_and(|record| record.way_back),
            downtime_seconds: recorded.and_then(|record| record.downtime_seconds),
            steps: steps.into_iter().map(step).collect(),
            decision,
            stopped,
        })
    }
}
