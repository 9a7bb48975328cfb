//! The loop: as many bots under way as are allowed, each taken through one attempt after the other until it is settled.
//!
//! ```text
//! lock store ─ check target ─ open run ─ list registry ─ adopt tasks ─┬─ attempt ─┬─ settled
//!                                                                     │           ├─ again after a while ─┐
//!                                                                     └───────────┴───────────────────────┘
//! ```
//!
//! Two services stand beside the bots: the ledger's keeper and the watchman. All of them live in `JoinSet`s, so a run
//! whose future is dropped leaves nothing behind but its record and the tasks themselves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attempt::{Left, Work};
use super::brake::Brake;
use super::ledger::{Ledger, ledger};
use super::muster::{Known, Listed, Muster, muster};
use super::opening::{Opened, open};
use super::order::{FailedBot, ReembedOrder, Summary};
use super::pacer::Pacer;
use super::patience::{Stop, patiently};
use super::proof::Target;
use super::shared::Shared;
use super::spent::{Spent, spent};
use super::store::{Batch, BotRecord, BotState, Counts};
use super::watch::{Watch, watch};
use crate::error::{Error, Result, Side, on_one_line};
use crate::preflight::Severity;
use crate::report::{Event, Reporter};

/// How often the counts are told.
const PROGRESS: Duration = Duration::from_millis(500);

/// How long bots may take to reach a point where they can be left, once the run is interrupted. What they do is safe to
/// drop at any point; a point of their own choosing leaves less for the next run.
const GRACE: Duration = Duration::from_secs(45);

/// Records in one write while the run is opened.
const BATCH: usize = 500;

/// Embeds every selected bot anew, or goes on with an earlier run. Returns when each is settled: see
/// [`Summary::failed`] for those that failed.
///
/// # Errors
/// [`Error::Interrupted`] when cancelled, [`Error::Refused`] when another run is at work, the target lacks something or
/// holds another migration, [`Error::Configuration`] when the order contradicts the record or nothing could prove a
/// bot, [`Error::Tasks`] when the runner starts nothing at all or the first tasks all die alike; otherwise when the registry, the runner, the target or
/// the store stays away. What was done before is recorded.
pub async fn run(
    order: ReembedOrder,
    reporter: Arc<dyn Reporter>,
    cancel: CancellationToken,
) -> Result<Summary> {
    if order.target.is_none() && !order.registry.keeps_sync() {
        return Err(Error::Configuration {
            what: format!(
                "nothing could prove a bot: the target is not given, and {} keeps no record of embeddings",
                order.registry.describe()
            ),
            hint: Some("name the target with --target".into()),
        });
    }
    let store = order.store.clone();
    store.lock().await?;
    let outcome = locked(order, reporter, cancel).await;
    if let Err(error) = store.unlock().await {
        // Its end gives the lock back as well.
        tracing::debug!(error = %error, "the lock could not be given back");
    }
    outcome
}

async fn locked(
    order: ReembedOrder,
    reporter: Arc<dyn Reporter>,
    cancel: CancellationToken,
) -> Result<Summary> {
    let begun = Instant::now();
    refuse_unfit_target(&order).await?;
    let listing = patiently(reporter.as_ref(), || order.registry.list()).await?;
    let (aliases, odd) = (listing.aliases, listing.odd.clone());
    let listed = Listed::new(listing, |listing| order.selection.apply(listing))?;
    refuse_shared_table(&order, listed.selected.bots.len())?;
    // Nothing is recorded of an order that cannot be carried out.
    let Opened { run, resumed, estimate, earlier } = open(&order).await?;
    let store = order.store.clone();
    let worked = async {
        let mustered = take_up(&order, &run, listed, reporter.as_ref()).await?;
        reporter.event(&Event::ReembedStarted {
            migration: run.clone(),
            resumed,
            bots: mustered.counts,
        });
        Crew::new(order, &run, &mustered, reporter.clone(), &cancel).await?.work(mustered).await?;
        let bots = patiently(reporter.as_ref(), || store.bots(&run)).await?;
        let attempts = patiently(reporter.as_ref(), || store.attempts(&run, None)).await?;
        let summary = summarize(&run, &bots, begun);
        let spent = spent(&bots, &attempts, earlier + summary.seconds, estimate.as_ref());
        Ok(Summary { aliases, odd, spent, estimated: estimate, ..summary })
    };
    let outcome: Result<Summary> = worked.await;
    let why = match &outcome {
        Ok(summary) => left_over(&summary.counts),
        Err(error) => Some(on_one_line(error)),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let ended = store.end(&run, seconds, why.as_deref()).await;
    let summary = outcome?;
    ended?;
    reporter.event(&Event::ReembedFinished(Box::new(summary.clone())));
    Ok(summary)
}

/// Without a column that names the bot, each bot's swap would take the others' rows away.
fn refuse_shared_table(order: &ReembedOrder, bots: usize) -> Result<()> {
    let knowledge = &order.settings.knowledge;
    if knowledge.bot.is_some() || bots < 2 {
        return Ok(());
    }
    Err(Error::Configuration {
        what: format!(
            "{bots} bots cannot share table {}, which has no bot column",
            knowledge.table.plain()
        ),
        hint: Some("select one bot, or name the column with `bot` in [knowledge]".into()),
    })
}

/// Said before the first task is paid for.
async fn refuse_unfit_target(order: &ReembedOrder) -> Result<()> {
    let Some(target) = &order.target else { return Ok(()) };
    let settings = &order.settings;
    let findings = super::precheck(target, &settings.knowledge, settings.dimensions).await?;
    let mut blockers = findings.into_iter().filter(|finding| finding.severity == Severity::Blocker);
    let Some(first) = blockers.next() else { return Ok(()) };
    let others: String = blockers.map(|finding| format!("; {}", finding.what)).collect();
    Err(Error::Refused {
        side: Side::Target,
        what: format!("{}{others}", first.what),
        hint: Some(first.remedy),
    })
}

/// Puts earlier runs, the registry and the living tasks together, and records that.
async fn take_up(
    order: &ReembedOrder,
    run: &str,
    listed: Listed,
    reporter: &dyn Reporter,
) -> Result<Muster> {
    let (store, runner) = (order.store.as_ref(), order.runner.as_ref());
    let bots = store.bots(run).await?;
    let attempts = store.attempts(run, None).await?;
    let tasks = match attempts.is_empty() {
        true => Vec::new(),
        false => patiently(reporter, || runner.list(run)).await?,
    };
    let mustered = muster(Known { bots, attempts, tasks }, listed, order.policy.retry_failed);
    for bots in mustered.changed.bots.chunks(BATCH) {
        store.write(run, &Batch { bots: bots.to_vec(), attempts: Vec::new() }).await?;
    }
    for attempts in mustered.changed.attempts.chunks(BATCH) {
        store.write(run, &Batch { bots: Vec::new(), attempts: attempts.to_vec() }).await?;
    }
    for task in &mustered.surplus {
        patiently(reporter, || runner.stop(task, "another task works for this bot")).await?;
    }
    Ok(mustered)
}

fn summarize(run: &str, bots: &[BotRecord], begun: Instant) -> Summary {
    let failed = bots.iter().filter_map(|bot| match &bot.state {
        BotState::Failed { reason, retryable } => Some(FailedBot {
            bot: bot.key.clone(),
            title: bot.title.clone(),
            reason: reason.clone(),
            retryable: *retryable,
        }),
        _ => None,
    });
    let sum = |of: fn(&BotRecord) -> Option<u64>| bots.iter().filter_map(of).sum();
    Summary {
        migration: run.to_owned(),
        counts: Counts::of(bots.iter().map(|bot| &bot.state)),
        failed: failed.collect(),
        rows: sum(|bot| bot.got.rows),
        tokens: sum(|bot| bot.got.tokens),
        reused: sum(|bot| bot.got.reused),
        aliases: 0,
        odd: Vec::new(),
        seconds: begun.elapsed().as_secs_f64(),
        estimated: None,
        spent: Spent::default(),
    }
}

/// Why a run is not finished, if it is not.
fn left_over(counts: &Counts) -> Option<String> {
    let left = counts.waiting + counts.running;
    match (counts.failed, left) {
        (0, 0) => None,
        (failed, 0) => Some(format!("{failed} of {} bots failed", counts.total())),
        (failed, left) => Some(format!("{failed} bots failed and {left} were left out")),
    }
}

/// Everybody at work.
struct Crew {
    shared: Arc<Shared>,
    in_flight: usize,
    bots: JoinSet<(Work, Result<Left, Stop>)>,
    services: JoinSet<Result<()>>,
    ready: VecDeque<Work>,
    /// By the time at which they are taken up again; numbered, because two may have the same.
    later: BTreeMap<(Instant, u64), Work>,
    number: u64,
    failure: Option<Error>,
}

impl Crew {
    async fn new(
        order: ReembedOrder,
        run: &str,
        mustered: &Muster,
        reporter: Arc<dyn Reporter>,
        cancel: &CancellationToken,
    ) -> Result<Crew> {
        let limits = patiently(reporter.as_ref(), || order.runner.limits()).await?;
        let policy = order.policy;
        let rate = limits
            .launches_per_second
            .map_or(policy.launches_per_second, |most| most.min(policy.launches_per_second));
        let in_flight =
            limits.in_flight.map_or(policy.in_flight, |most| most.min(policy.in_flight));
        let target = order.target.clone().map(|dsn| {
            let settings = &order.settings;
            Target::new(dsn, settings.knowledge.clone(), settings.dimensions, run)
        });
        let mut services = JoinSet::new();
        let (ledger, watch) = serve(&mut services, &order, run, &reporter);
        let shared = Shared {
            order,
            run: run.to_owned(),
            ledger,
            watch,
            pacer: Pacer::new(rate),
            target,
            reporter,
            cancel: cancel.child_token(),
            counts: Mutex::new(mustered.counts),
            brake: Mutex::new(Brake::new(mustered.waiting.len() + mustered.running.len())),
        };
        Ok(Crew {
            shared: Arc::new(shared),
            in_flight: in_flight.max(1),
            bots: JoinSet::new(),
            services,
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            number: 0,
            failure: None,
        })
    }

    /// Works until every bot is settled, or the run is over.
    async fn work(mut self, mustered: Muster) -> Result<()> {
        // Their tasks run already, however many they are.
        for work in mustered.running {
            self.start(work);
        }
        self.ready = mustered.waiting.into();
        let cancel = self.shared.cancel.clone();
        let mut progress = tokio::time::interval(PROGRESS);
        let mut told = Counts::default();
        while !cancel.is_cancelled() {
            while self.bots.len() < self.in_flight
                && let Some(work) = self.ready.pop_front()
            {
                self.start(work);
            }
            if self.bots.is_empty() && self.later.is_empty() {
                break;
            }
            let due = self.later.keys().next().map(|(at, _)| *at);
            tokio::select! {
                Some(joined) = self.bots.join_next() => self.take_back(joined),
                Some(ended) = self.services.join_next() => self.service_ended(ended),
                () = sleep_until(due) => self.wake(),
                _ = progress.tick() => self.tell(&mut told),
                () = cancel.cancelled() => {}
            }
        }
        if cancel.is_cancelled() {
            self.wind_up().await;
        }
        self.tell(&mut told);
        self.close().await
    }

    fn start(&mut self, mut work: Work) {
        let shared = self.shared.clone();
        self.bots.spawn(async move {
            let left = shared.attempt(&mut work).await;
            (work, left)
        });
    }

    fn take_back(&mut self, joined: Result<(Work, Result<Left, Stop>), tokio::task::JoinError>) {
        match joined {
            Ok((_, Ok(Left::Settled | Left::Interrupted) | Err(Stop::Over))) => {}
            Ok((work, Ok(Left::Again(after)))) => {
                self.number += 1;
                self.later.insert((Instant::now() + after, self.number), work);
            }
            Ok((_, Err(Stop::Failed(error)))) => self.fail(error),
            Err(error) => self.fail(Error::Bug { what: format!("a bot's work ended: {error}") }),
        }
    }

    fn service_ended(&mut self, ended: Result<Result<()>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => self.fail(Error::Bug { what: "the record was closed early".into() }),
            Ok(Err(error)) => self.fail(error),
            Err(error) => self.fail(Error::Bug { what: format!("a service ended: {error}") }),
        }
    }

    /// The first failure is the one that is told; nothing more is launched.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
        self.shared.cancel.cancel();
    }

    fn wake(&mut self) {
        let later = self.later.split_off(&(Instant::now(), u64::MAX));
        self.ready.extend(std::mem::replace(&mut self.later, later).into_values());
    }

    fn tell(&self, told: &mut Counts) {
        let counts = self.shared.counts();
        if counts != *told {
            *told = counts;
            let launches_per_second = self.shared.pacer.rate();
            self.shared.tell(Event::Bots { counts, launches_per_second });
        }
    }

    /// Lets the bots reach a point where they can be left.
    async fn wind_up(&mut self) {
        let all = async {
            while let Some(joined) = self.bots.join_next().await {
                if let Ok((_, Err(Stop::Failed(error)))) = joined {
                    self.failure.get_or_insert(error);
                }
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            self.bots.shutdown().await;
        }
    }

    /// Ends the services, after the last entry was written.
    async fn close(self) -> Result<()> {
        let Crew { shared, mut services, failure, bots, .. } = self;
        let cancelled = shared.cancel.is_cancelled();
        drop((bots, shared));
        let mut failure = failure;
        while let Some(ended) = services.join_next().await {
            if let Ok(Err(error)) = ended {
                failure.get_or_insert(error);
            }
        }
        match failure {
            Some(error) => Err(error),
            None if cancelled => Err(Error::Interrupted),
            None => Ok(()),
        }
    }
}

/// Starts the keeper and the watchman.
fn serve(
    services: &mut JoinSet<Result<()>>,
    order: &ReembedOrder,
    run: &str,
    reporter: &Arc<dyn Reporter>,
) -> (Ledger, Watch) {
    let ((ledger, keeper), (watch, watchman)) = (ledger(), watch(order.policy.vanished_after));
    let (store, run, told) = (order.store.clone(), run.to_owned(), reporter.clone());
    services.spawn(async move { keeper.keep(store.as_ref(), &run, told.as_ref()).await });
    let (runner, poll, told) = (order.runner.clone(), order.policy.poll, reporter.clone());
    services.spawn(async move { watchman.keep(runner.as_ref(), poll, told.as_ref()).await });
    (ledger, watch)
}

/// For ever when there is nothing to wait for.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
