//! The executor: the one loop to read first. Takes the next phase, does it, records it, resumes, stops.
//!
//! ```text
//! lock target ─ read record ─┬─ none ──────► snapshot source ─ schema ─┐
//!                            ├─ unfinished ► snapshot source ─ reconcile ─ rows ─ sequences ─┐  (source let go)
//!                            └─ done ──────► nothing                    indexes ─ constraints ─ analyze ─ done
//! ```
//!
//! `delta` is a `copy` that ends in phase `embedding`, which [`crate::delta`] and [`crate::reembed`] take on.
//! `follow` takes the source's snapshot from a replication slot and has phases more: [`crate::phase::Route`] has their
//! order, [`crate::follow`] what they do.
//!
//! Ground rules: only this file moves a migration from one phase to the next; only one process at a time does
//! (advisory lock on the target, held by the control session); what a phase has done is recorded by the phase itself
//! in the transaction that did it ([`crate::phase`] says what is durable where). A lost connection ends the run like
//! a crash would, and the next run, started by us or by the operator, goes on from the record: there is one way of
//! resuming, and it is used every time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::copy::{copy_rows, resume};
use crate::delta::Terms;
use crate::error::{Class, Error, Result, Side, on_one_line};
use crate::follow;
use crate::index::build::{Stage, build_indexes};
use crate::inspect::{inspect, inspect_server};
use crate::inventory::Table;
use crate::pg::{Session, with_holders};
use crate::phase::{Phase, Route};
use crate::policy::{Clusters, Method, Policy};
use crate::report::{Event, Reporter, Summary, TableSummary};
use crate::schema::{self, Begun};
use crate::sequences::{LargeObjectCopy, set_sequences};
use crate::source::{SourceIdentity, SourceSnapshot};
use crate::store::{self, IndexRecord, MigrationRecord, RelationRecord, Totals};

/// How a run of `migrate` begins.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Forget what an interrupted run has done and begin again.
    pub restart: bool,
    /// Return when a `follow` has caught up instead of watching it until the cutover.
    pub detach: bool,
    /// What `plan` estimated, recorded to be set beside the outcome.
    pub estimates: Vec<(Phase, f64)>,
    /// The id that a migration which begins now gets, where something outside carries it already (the tags of a
    /// restored cluster); made anew when `None`, or when the target has a record of it.
    pub id: Option<String>,
    /// What a `delta` that begins now measures its bots by; a recorded one goes on with its own.
    pub terms: Option<Terms>,
}

/// What one attempt leaves for the next.
struct Attempts {
    options: RunOptions,
    /// Set once both clusters have been reached: from then on a lost connection is worth a retry, before that it is
    /// the operator's to see at once.
    reached: bool,
}

/// What every step of one run shares.
pub(crate) struct Run<'a> {
    pub(crate) clusters: &'a Clusters,
    pub(crate) policy: &'a Policy,
    pub(crate) reporter: &'a dyn Reporter,
    pub(crate) cancel: &'a CancellationToken,
    /// The session on the target that holds the lock and writes the record.
    pub(crate) control: Session,
    /// Migration id.
    pub(crate) id: String,
    /// The order of its phases.
    pub(crate) route: Route,
    /// Whether `session_replication_role` may be set on the target.
    pub(crate) target_may_silence_triggers: bool,
}

/// Runs the copy to its end, continuing an interrupted one. After a lost connection it goes on by itself, as often as
/// the policy says.
///
/// # Errors
/// Any [`Error`]; what was finished before it is recorded.
pub async fn migrate(
    clusters: &Clusters,
    policy: &Policy,
    options: RunOptions,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Summary> {
    let mut attempts = Attempts { options, reached: false };
    let mut attempt = 0;
    loop {
        let error = match run_once(clusters, policy, &mut attempts, reporter, cancel).await {
            Ok(summary) => return Ok(summary),
            Err(error) if error.side() == Some(Side::Source) => {
                with_holders(&clusters.source, error).await
            }
            Err(error) => with_holders(&clusters.target, error).await,
        };
        if error.class() != Class::Transient || attempt >= policy.retries || !attempts.reached {
            return Err(error);
        }
        attempt += 1;
        reporter.event(&Event::Retrying {
            error: on_one_line(&error),
            attempt,
            attempts: policy.retries,
        });
        tokio::select! {
            () = cancel.cancelled() => return Err(Error::Interrupted),
            // A server that restarts needs a few seconds; a network that is gone needs the operator.
            () = tokio::time::sleep(Duration::from_secs(1 << attempt.min(5))) => {}
        }
    }
}

async fn run_once(
    clusters: &Clusters,
    policy: &Policy,
    attempts: &mut Attempts,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Summary> {
    let begun = Instant::now();
    let control = open_control(clusters, policy).await?;
    if attempts.options.restart {
        crate::cleanup::abandon(clusters, &control).await?;
        // Once: a retry after this must not throw its own work away.
        attempts.options.restart = false;
    }
    let record = match store::exists(&control).await? {
        true => MigrationRecord::newest(&control).await?,
        false => None,
    };
    let record = match record {
        Some(record) if !concerns(&control, &record, clusters, policy).await? => None,
        record => record,
    };
    let route = route(record.as_ref(), policy)?;
    if record.is_none() && route == Route::Delta && attempts.options.terms.is_none() {
        return Err(Error::Configuration {
            what: "a delta needs the time at which the source was as it is".into(),
            hint: Some("pass --source-time, for example 2026-03-01T12:00:00Z".into()),
        });
    }
    let may_silence = inspect_server(&control).await?.can_set_replication_role;
    let id = match &record {
        Some(record) => record.id.clone(),
        None => new_id(&control, attempts.options.id.as_ref()).await?,
    };
    let run = Run {
        clusters,
        policy,
        reporter,
        cancel,
        control,
        id,
        route,
        target_may_silence_triggers: may_silence,
    };
    let outcome = until_cancelled(cancel, run.advance(record, attempts)).await;
    if let Err((phase, spent, error)) = &outcome {
        // Ceasing to watch stops nothing.
        if !matches!((phase, error), (Phase::Following, Error::Interrupted)) {
            run.note_interruption(*phase, *spent, error).await;
        }
    }
    outcome.map_err(|(_, _, error)| error)?;
    run.summarize(begun).await
}

/// The id of a migration that begins. One that was used is not used again: records are found by it.
async fn new_id(control: &Session, asked: Option<&String>) -> Result<String> {
    if let Some(asked) = asked {
        let known = match store::exists(control).await? {
            true => MigrationRecord::all(control).await?,
            false => Vec::new(),
        };
        if known.iter().all(|record| record.id != *asked) {
            return Ok(asked.clone());
        }
    }
    Ok(uuid::Uuid::now_v7().to_string())
}

/// The route of the migration on the target, or of a new one as the policy asks.
fn route(record: Option<&MigrationRecord>, policy: &Policy) -> Result<Route> {
    let asked = policy.method;
    if let Some(record) = record {
        let recorded = record.route.method();
        // A re-embedding is [`crate::reembed`]'s, whoever asks here.
        if record.route != Route::Reembed && asked.is_none_or(|asked| asked == recorded) {
            return Ok(record.route);
        }
        return Err(Error::Refused {
            side: Side::Target,
            what: format!("the target holds an unfinished migration by {recorded}"),
            hint: Some(format!(
                "go on with --method {recorded}, or begin again with `vecferry migrate --restart`"
            )),
        });
    }
    match asked.unwrap_or(Method::Copy) {
        Method::Copy => Ok(Route::Copy),
        Method::Follow => follow::route(policy),
        Method::Delta => Ok(Route::Delta),
        Method::Reembed => Err(Error::Bug { what: "a re-embedding was taken for a copy".into() }),
    }
}

/// The session that holds the target's lock. Nothing it does waits longer for anybody's lock than the policy says.
async fn open_control(clusters: &Clusters, policy: &Policy) -> Result<Session> {
    let control = Session::open(&clusters.target, Side::Target, "control").await?;
    refuse_read_only(&control).await?;
    store::lock(&control).await?;
    let timeout = format!("SET lock_timeout = {}", policy.lock_timeout.as_millis());
    control.batch("set the lock timeout", &timeout).await?;
    Ok(control)
}

/// A standby, or a role or database that was made read-only: said before minutes are spent on reading the source.
async fn refuse_read_only(control: &Session) -> Result<()> {
    let sql = "SELECT current_setting('transaction_read_only')::boolean, pg_is_in_recovery()";
    let row = control.query_one("see whether it can be written to", sql, &[]).await?;
    let (what, hint) = match (row.get(0), row.get(1)) {
        (false, _) => return Ok(()),
        (true, true) => ("the target is a standby", "name the writer with --target"),
        (true, false) => (
            "the target is read-only for this role: default_transaction_read_only is on",
            "use a role and database that may write, or reset default_transaction_read_only with ALTER ROLE or ALTER DATABASE",
        ),
    };
    Err(Error::Refused { side: Side::Target, what: what.into(), hint: Some(hint.into()) })
}

/// Whether the record is of this migration. An unfinished one always is: nothing else may begin before it ends. A
/// finished one is when it came from this source and moved every table that is selected now.
async fn concerns(
    control: &Session,
    record: &MigrationRecord,
    clusters: &Clusters,
    policy: &Policy,
) -> Result<bool> {
    if record.phase != Phase::Done {
        return Ok(true);
    }
    let session = Session::open(&clusters.source, Side::Source, "look").await?;
    let inventory = inspect(&session).await?;
    let identity = SourceIdentity::new(&clusters.source, &inventory);
    let moved = RelationRecord::all(control, &record.id).await?;
    let known = |table: &Table| moved.iter().any(|record| record.relation.name == table.name);
    let mut selected =
        inventory.tables.iter().filter(|table| table.holds_rows() && policy.selects(table));
    Ok(identity.conflict_with(&record.source).is_none() && selected.all(known))
}

/// Where a run stopped, after how many seconds in that phase, and why.
type Stopped = (Phase, f64, Error);

/// Gives the steps a moment to stop by themselves when cancelled; the ones that wait for a server are dropped.
async fn until_cancelled(
    cancel: &CancellationToken,
    steps: impl Future<Output = Result<(), Stopped>>,
) -> Result<(), Stopped> {
    tokio::pin!(steps);
    tokio::select! {
        biased;
        ended = &mut steps => ended,
        () = async { cancel.cancelled().await; tokio::time::sleep(Duration::from_secs(5)).await } => {
            Err((Phase::Schema, 0.0, Error::Interrupted))
        }
    }
}

impl Run<'_> {
    /// Goes through the phases that are left.
    async fn advance(
        &self,
        record: Option<MigrationRecord>,
        attempts: &mut Attempts,
    ) -> Result<(), Stopped> {
        let mut phase = record.as_ref().map_or(Phase::Schema, |record| record.phase);
        let mut source = None;
        if phase.needs_snapshot() {
            let taken = self.take_source(record.as_ref(), &attempts.options).await;
            source = Some(taken.map_err(|error| (phase, 0.0, error))?);
        }
        attempts.reached = true;
        if phase == Phase::Done {
            let how = match self.route.method() {
                Method::Follow => "vecferry cleanup ends it",
                _ => "--restart begins again; rows that are there then need --existing replace",
            };
            let text = format!("this migration is complete; nothing to do ({how})");
            self.reporter.event(&Event::Notice { text });
        }
        let phases = self.route.phases();
        // What is embedded is decided and done by whoever knows the registry.
        while !matches!(phase, Phase::Embedding | Phase::Done) {
            let begun = Instant::now();
            let step = phases.iter().position(|other| *other == phase).unwrap_or(0) + 1;
            self.reporter.event(&Event::PhaseStarted { phase, step, steps: phases.len() - 1 });
            let stopped = |error| (phase, begun.elapsed().as_secs_f64(), error);
            if phase == Phase::Following && attempts.options.detach {
                return follow::watch::until_caught_up(self).await.map_err(stopped);
            }
            let work = self.perform(phase, begun, &mut source, &attempts.options);
            let done = match (self.route, phase) {
                (route, _) if route.locks_source() => work.await,
                // The builds are what takes long while the slots keep WAL; apply is watched by itself later.
                (_, Phase::Keys | Phase::Indexes | Phase::Constraints | Phase::Analyze) => {
                    follow::watch::beside(self, work).await
                }
                _ => work.await,
            };
            done.map_err(stopped)?;
            self.reporter
                .event(&Event::PhaseFinished { phase, seconds: begun.elapsed().as_secs_f64() });
            phase = self.route.next(phase);
            if self.cancel.is_cancelled() && phase != Phase::Done {
                return Err((phase, 0.0, Error::Interrupted));
            }
        }
        Ok(())
    }

    /// Does one phase and enters the next.
    async fn perform(
        &self,
        phase: Phase,
        begun: Instant,
        source: &mut Option<SourceSnapshot>,
        options: &RunOptions,
    ) -> Result<()> {
        let gone = || Error::Bug { what: format!("phase {phase} has no source") };
        match phase {
            Phase::Schema => {
                let source = source.as_ref().ok_or_else(gone)?;
                // Enters the next phase itself, in its transaction.
                let (estimates, terms) = (&options.estimates, options.terms.as_ref());
                return schema::create(self, source, Begun { at: begun, estimates, terms }).await;
            }
            Phase::Rows => match self.route {
                route if route.locks_source() => {
                    let source = source.as_ref().ok_or_else(gone)?;
                    copy_rows(self, source, &resume::reconcile(self, source).await?).await?;
                }
                _ => follow::begin::copy_rows_unlocked(self, source).await?,
            },
            Phase::Sequences => {
                let source = source.take().ok_or_else(gone)?;
                set_sequences(self, &source).await?;
                LargeObjectCopy::of(self, &source).run().await?;
                // The source's locks and snapshot end here; indexes may take hours.
            }
            Phase::Keys => {
                build_indexes(self, &self.rows_by_relation().await?, Stage::Keys).await?;
                return follow::finish_keys(self, begun).await;
            }
            Phase::Indexes => {
                let stage = match self.route {
                    Route::FollowApplyFirst => Stage::BesideApply,
                    _ => Stage::All,
                };
                build_indexes(self, &self.rows_by_relation().await?, stage).await?;
            }
            Phase::Constraints => {
                let built = IndexRecord::all(&self.control, &self.id).await?;
                let plans: Vec<_> = built.into_iter().map(|record| record.plan).collect();
                return follow::undisturbed(self, schema::finish(self, &plans, begun)).await;
            }
            Phase::Analyze => self.analyze().await?,
            Phase::Subscribe => return follow::subscribe(self, begun).await,
            Phase::CatchUp => follow::watch::until_caught_up(self).await?,
            // Ended by the cutover, which records the next phase itself.
            Phase::Following => return follow::watch::until_cut_over(self).await,
            Phase::Embedding => {
                return Err(Error::Bug { what: "a re-embedding was taken for a copy".into() });
            }
            Phase::Done => {}
        }
        store::enter(
            &self.control,
            &self.id,
            self.route.next(phase),
            Some((phase, begun.elapsed().as_secs_f64())),
        )
        .await
    }

    /// Takes the source's snapshot and refuses another source than the recorded one.
    async fn take_source(
        &self,
        record: Option<&MigrationRecord>,
        options: &RunOptions,
    ) -> Result<SourceSnapshot> {
        let source = match self.route {
            route if route.locks_source() => {
                SourceSnapshot::take(&self.clusters.source, self.policy).await?
            }
            _ => follow::begin::take_source(self, record, &options.estimates).await?,
        };
        self.refuse_other_source(&source.identity, record)?;
        let moved: Vec<_> =
            source.selected(self.policy).filter(|table| table.holds_rows()).collect();
        self.reporter.event(&Event::Started {
            migration: self.id.clone(),
            resumed: record.is_some(),
            tables: moved.len(),
            bytes: moved.iter().map(|table| table.table_bytes).sum(),
        });
        Ok(source)
    }

    /// State of one source is never mixed with another's.
    pub(crate) fn refuse_other_source(
        &self,
        identity: &SourceIdentity,
        record: Option<&MigrationRecord>,
    ) -> Result<()> {
        let Some(record) = record else { return Ok(()) };
        let Some(conflict) = identity.conflict_with(&record.source) else { return Ok(()) };
        Err(Error::Refused {
            side: Side::Source,
            what: format!(
                "the target holds an unfinished migration from {}, and this source is another one: {conflict}",
                record.source.address
            ),
            hint: Some("use that source, or begin again with `vecferry migrate --restart`".into()),
        })
    }

    async fn rows_by_relation(&self) -> Result<HashMap<u32, u64>> {
        let records = RelationRecord::all(&self.control, &self.id).await?;
        let rows = |record: &RelationRecord| record.finished.iter().map(|part| part.rows).sum();
        Ok(records.iter().map(|record| (record.relation.oid, rows(record))).collect())
    }

    /// Best effort: the target may be what failed.
    async fn note_interruption(&self, phase: Phase, spent: f64, error: &Error) {
        let (clusters, id, why) = (self.clusters, &self.id, on_one_line(error));
        let noted = async {
            // The control session may be in a failed transaction or gone.
            let session = Session::open(&clusters.target, Side::Target, "control").await?;
            store::note_interruption(&session, id, (phase, spent), &why).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(5), noted).await {
            tracing::debug!(error = %error, "the interruption could not be recorded");
        }
    }

    async fn summarize(&self, begun: Instant) -> Result<Summary> {
        let records = RelationRecord::all(&self.control, &self.id).await?;
        let indexes = IndexRecord::all(&self.control, &self.id).await?;
        let record = MigrationRecord::newest(&self.control)
            .await?
            .ok_or_else(|| Error::Bug { what: "the record vanished during the run".into() })?;
        let totals = Totals::of(&records);
        let tables = records.iter().map(|record| {
            let count = indexes
                .iter()
                .filter(|index| index.plan.relation_oid == record.relation.oid)
                .count();
            TableSummary {
                table: record.relation.name.plain(),
                rows: record.finished.iter().map(|part| part.rows).sum(),
                bytes: record.finished.iter().map(|part| part.bytes).sum(),
                parts: u32::try_from(record.finished.len()).unwrap_or(u32::MAX),
                indexes: u32::try_from(count).unwrap_or(u32::MAX),
            }
        });
        let summary = Summary {
            migration: self.id.clone(),
            method: self.route.method(),
            phase: record.phase,
            tables: tables.collect(),
            rows: totals.rows,
            bytes: totals.bytes,
            phases: record.phase_seconds,
            estimated: record.estimates,
            seconds: begun.elapsed().as_secs_f64(),
        };
        self.reporter.event(&Event::Finished(summary.clone()));
        Ok(summary)
    }
}
