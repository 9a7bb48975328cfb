//! The executor of a crossing: takes step after step, and undoes them when one before the switch fails. What is
//! durable when stands in the head of [`super`].

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::decide::{Decision, Reason, judge};
use super::fence::{self, Patience, Raised};
use super::gather::{Gathered, Ground, gather, links_of};
use super::step::{Direction, Stage, Step};
use super::{End, Outcome, drain, proof, sequences, way_back};
use crate::error::{Error, Result, Side};
use crate::follow::link::{self, Link};
use crate::follow::links;
use crate::follow::state::current_lsn;
use crate::pg::{Lsn, QualifiedName, Session};
use crate::phase::Phase;
use crate::policy::Method;
use crate::report::{Event, Reporter};
use crate::sequences::LargeObjectCopy;
use crate::store::{self, CrossingRecord, Entry};

/// How long a step may take to stop by itself, once it is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Why a crossing does not go on.
pub(super) enum Halt {
    /// The answer is no; nothing was switched.
    No(Reason),
    /// Nobody knows whether the application was switched.
    Unknown(Reason),
    /// Something failed.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error)
    }
}

/// Decides, and crosses when the answer is go.
///
/// # Errors
/// See [`super::cross`].
pub(super) async fn run(
    ground: Ground<'_>,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let gathered = gather(ground).await?;
    let direction = ground.options.direction;
    let mut decision = judge(&gathered.facts);
    let Some(migration) = &gathered.migration else {
        return Ok(refused(None, None, decision));
    };
    let method = migration.route.method();
    let own = gathered.crossing(direction).cloned();
    let mut crossing = Crossing {
        ground,
        reporter,
        cancel,
        id: migration.id.clone(),
        tables: gathered.tables(),
        method,
        way_back: method == Method::Follow && way_back_wanted(ground, own.as_ref()),
        step: own.as_ref().map_or(Step::Undone, |record| record.step),
        gathered,
        stages: Vec::new(),
        recorded: 0,
        raised: None,
    };
    if crossing.step == Step::Finished {
        // Done is done, unless it was taken back since.
        return match decision.go {
            true => crossing.outcome(End::Done, decision, None).await,
            false => Ok(refused(Some(crossing.id), Some(method), decision)),
        };
    }
    if decision.go && crossing.rolls_back_unfinished() {
        decision = match crossing.rejoin().await? {
            Some(decision) => decision,
            None => return crossing.forget(decision).await,
        };
    }
    if !decision.go {
        return crossing.refuse(decision).await;
    }
    let from = crossing.step;
    let halted = crossing.advance(from).await.err();
    crossing.end(decision, halted).await
}

/// A crossing past its switch has the way back it began with, unless that is given up.
fn way_back_wanted(ground: Ground<'_>, own: Option<&CrossingRecord>) -> bool {
    ground.options.direction == Direction::Cutover
        && ground.options.way_back
        && own.is_none_or(|record| record.step.is_before_the_switch() || record.way_back)
}

pub(super) fn refused(
    migration: Option<String>,
    method: Option<Method>,
    decision: Decision,
) -> Outcome {
    Outcome {
        version: 1,
        migration,
        method,
        direction: decision.direction,
        done: false,
        end: End::Refused,
        switched: false,
        switched_by_command: false,
        way_back: false,
        downtime_seconds: None,
        steps: Vec::new(),
        decision,
        stopped: None,
    }
}

/// A crossing under way.
pub(super) struct Crossing<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a CancellationToken,
    pub(super) id: String,
    pub(super) method: Method,
    pub(super) gathered: Gathered,
    pub(super) tables: Vec<QualifiedName>,
    pub(super) way_back: bool,
    /// The step that is recorded.
    pub(super) step: Step,
    /// Stages done in this run; those up to `recorded` are recorded.
    pub(super) stages: Vec<(Stage, f64)>,
    pub(super) recorded: usize,
    /// When this run raised the fence.
    raised: Option<Instant>,
}

impl Crossing<'_> {
    pub(super) fn direction(&self) -> Direction {
        self.ground.options.direction
    }

    /// Whether the clusters are linked.
    pub(super) fn replicates(&self) -> bool {
        self.method == Method::Follow
    }

    pub(super) fn started(&self, stage: Stage) -> Result<Instant> {
        if self.step.is_before_the_switch() && self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.reporter.event(&Event::StageStarted { stage });
        Ok(Instant::now())
    }

    pub(super) fn finished(&mut self, stage: Stage, begun: Instant) {
        self.took(stage, begun.elapsed().as_secs_f64());
    }

    fn took(&mut self, stage: Stage, seconds: f64) {
        self.reporter.event(&Event::StageFinished { stage, seconds });
        self.stages.push((stage, seconds));
    }

    pub(super) fn notice(&self, text: String) {
        self.reporter.event(&Event::Notice { text });
    }

    /// Records a step with the stages that led to it.
    pub(super) async fn enter(&mut self, step: Step, fence_lsn: Option<Lsn>) -> Result<()> {
        let fenced_ago =
            self.raised.filter(|_| step == Step::Fenced).map(|at| at.elapsed().as_secs_f64());
        let stages = &self.stages[self.recorded..];
        let entry = Entry { fence_lsn, fenced_ago, stages, why: None };
        let place = (self.direction(), step);
        store::enter_crossing(self.ground.target, &self.id, place, entry).await?;
        self.recorded = self.stages.len();
        self.step = step;
        Ok(())
    }

    /// Everything from the recorded step on.
    async fn advance(&mut self, from: Step) -> Result<(), Halt> {
        if from.is_before_the_switch() {
            let cancel = self.cancel;
            let given_up = async {
                cancel.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                biased;
                done = self.before_the_switch() => done?,
                () = given_up => return Err(Error::Interrupted.into()),
            }
        }
        if from < Step::Switched {
            self.switch(from == Step::Switching).await?;
        }
        let begun = self.started(Stage::Finish)?;
        match self.direction() {
            _ if !self.replicates() => self.finish_handover().await?,
            Direction::Cutover => self.finish_cutover().await?,
            Direction::Rollback => self.finish_rollback().await?,
        }
        self.finished(Stage::Finish, begun);
        self.record_end().await?;
        Ok(())
    }

    async fn before_the_switch(&mut self) -> Result<(), Halt> {
        self.prepare().await?;
        if !self.replicates() {
            return self.prepare_handover().await;
        }
        let lsn = self.fence().await?;
        self.drain(lsn).await?;
        self.prove_and_place_way_back().await
    }

    async fn prepare(&mut self) -> Result<()> {
        store::begin_crossing(self.ground.target, &self.id, self.direction(), self.way_back)
            .await?;
        self.step = Step::Preparing;
        let begun = self.started(Stage::Prepare)?;
        let link = Link::back(&self.id);
        if let Some(facts) = self.gathered.facts.way_back.as_ref().filter(|_| self.way_back) {
            let target = &self.ground.clusters.target;
            way_back::prepare(target, &link, &self.tables, &facts.identities, self.cancel).await?;
        }
        self.finished(Stage::Prepare, begun);
        Ok(())
    }

    pub(super) async fn fence(&mut self) -> Result<Lsn, Halt> {
        let begun = self.started(Stage::Fence)?;
        self.enter(Step::Fencing, None).await?;
        let (sender, _) = self.ground.ends();
        let options = self.ground.options;
        let patience = Patience { timeout: options.fence_timeout, tries: options.fence_tries };
        match fence::raise(sender, (&self.id, &self.tables), patience, self.cancel).await? {
            Raised::Now => self.raised = Some(Instant::now()),
            Raised::Before => {}
            Raised::Blocked => {
                let holders = crate::pg::holders(sender).await?;
                return Err(Halt::No(self.blocked(&holders)));
            }
        }
        // After the fence's commit: every write that was acknowledged lies before this.
        let lsn = current_lsn(sender).await?;
        self.finished(Stage::Fence, begun);
        self.enter(Step::Fenced, Some(lsn)).await?;
        Ok(lsn)
    }

    fn blocked(&self, holders: &[String]) -> Reason {
        let options = self.ground.options;
        let held = match holders {
            [] => "locks that are gone by now".to_owned(),
            holders => holders[..holders.len().min(3)].join(", "),
        };
        Reason::no(
            format!(
                "the fence could not be raised in {} tries of {} ms: {held}",
                options.fence_tries,
                options.fence_timeout.as_millis()
            ),
            format!(
                "end those sessions with pg_terminate_backend on the {}, or raise --fence-tries",
                self.direction().sender()
            ),
        )
    }

    async fn drain(&mut self, lsn: Lsn) -> Result<(), Halt> {
        let begun = self.started(Stage::Drain)?;
        let timeout = self.ground.options.drain_timeout;
        let ends = self.ground.ends();
        // A server that does not answer is not waited for either: the application waits.
        let drained = async {
            let links = links_of(self.ground.target, &self.id, self.direction()).await?;
            drain::drain(ends, &links, lsn, timeout, self.cancel).await
        };
        let Ok(drained) = tokio::time::timeout(timeout + GRACE, drained).await else {
            return Err(Halt::No(Reason::no(
                format!("a cluster gave no answer within {} s", (timeout + GRACE).as_secs()),
                "look at the network between this machine and both clusters",
            )));
        };
        if let Some(reason) = drained? {
            return Err(Halt::No(reason));
        }
        self.finished(Stage::Drain, begun);
        Ok(())
    }

    /// Large objects, sequences and the comparison.
    async fn prove(&mut self) -> Result<(), Halt> {
        if self.direction() == Direction::Cutover && self.gathered.facts.large_objects > 0 {
            let begun = self.started(Stage::LargeObjects)?;
            self.copy_large_objects().await?;
            self.finished(Stage::LargeObjects, begun);
        }
        let begun = self.started(Stage::Sequences)?;
        let (sender, receiver) = self.ground.ends();
        sequences::set_beyond(sender, receiver, self.ground.options.sequence_margin).await?;
        self.finished(Stage::Sequences, begun);
        self.compare().await
    }

    /// The proof that both sides hold the same.
    pub(super) async fn compare(&mut self) -> Result<(), Halt> {
        let begun = self.started(Stage::Verify)?;
        let Ground { clusters, policy, options, .. } = self.ground;
        if let Some(reason) =
            proof::prove(clusters, policy, options, self.reporter, self.cancel).await?
        {
            return Err(Halt::No(reason));
        }
        self.finished(Stage::Verify, begun);
        Ok(())
    }

    async fn copy_large_objects(&self) -> Result<()> {
        let source = Session::open(&self.ground.clusters.source, Side::Source, "copy").await?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        source.batch("begin to read large objects", begin).await?;
        let control = self.ground.target;
        LargeObjectCopy { source: &source, control, id: &self.id, cancel: self.cancel }.run().await
    }

    /// Moves the slot of the way back beside the proof: the server decodes for it what was written meanwhile, which
    /// takes a while on a busy one, and nothing that either of them does is in the other's way.
    async fn prove_and_place_way_back(&mut self) -> Result<(), Halt> {
        if !self.way_back {
            return self.prove().await;
        }
        let begun = self.started(Stage::WayBack)?;
        let (dsn, link) = (&self.ground.clusters.target, Link::back(&self.id));
        let place = async {
            let session = Session::open(dsn, Side::Target, "way back").await?;
            way_back::advance(&session, &link).await?;
            Ok::<_, Error>(begun.elapsed().as_secs_f64())
        };
        let (proved, placed) = tokio::join!(self.prove(), place);
        proved?;
        let seconds = placed?;
        self.took(Stage::WayBack, seconds);
        Ok(())
    }

    /// Drops the forward links and sets up the way back, if there is to be one.
    pub(super) async fn finish_cutover(&self) -> Result<()> {
        let Ground { source, target, clusters, policy, .. } = self.ground;
        let forward = links(target, &self.id).await?;
        for link in &forward {
            link::drop_subscription(target, &link.name).await?;
        }
        for link in &forward {
            link::drop_slot(source, link).await?;
            link::drop_publication(source, link).await?;
        }
        let back = Link::back(&self.id);
        if !self.way_back {
            return way_back::tear_down(source, target, &back).await;
        }
        let options = way_back::options(source, target, &self.gathered.relations).await?;
        let address = crate::follow::target_from_source(clusters, policy);
        way_back::subscribe(source, &back, &address, options).await
    }

    async fn finish_rollback(&self) -> Result<()> {
        let Ground { source, target, .. } = self.ground;
        way_back::tear_down(source, target, &Link::back(&self.id)).await?;
        self.remove_fence(source).await
    }

    pub(super) async fn remove_fence(&self, session: &Session) -> Result<()> {
        if !fence::remove(session, &self.id).await? {
            self.notice(format!(
                "the fence on the {} is open; its triggers stay until `vecferry cleanup`, because its tables are being read",
                session.side()
            ));
        }
        Ok(())
    }

    /// The crossing's last step and the migration's last phase, in one transaction.
    async fn record_end(&mut self) -> Result<()> {
        let target = self.ground.target;
        target.batch("begin", "BEGIN").await?;
        match self.replicates() {
            true => store::enter(target, &self.id, Phase::Done, None).await?,
            false => self.forget_the_other_way().await?,
        }
        self.enter(Step::Finished, None).await?;
        target.batch("commit", "COMMIT").await
    }
}
