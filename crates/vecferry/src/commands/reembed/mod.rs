//! `migrate --method reembed`: asks once, starts one task per bot, and sums up what was proven.

mod consent;
mod size;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use vecferry_core::bot::{Bot, BotKey};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::preflight::{Finding, Report, Severity};
use vecferry_core::price::Prices;
use vecferry_core::reembed::estimate::{BotSize, Estimate, Pace, Terms, estimate};
use vecferry_core::reembed::registry::{BotRegistry, Listing, OddItem};
use vecferry_core::reembed::rows::column_dimensions;
use vecferry_core::reembed::store::{BotState, MigrationStore};
use vecferry_core::reembed::task::TaskRunner;
use vecferry_core::reembed::{ReembedOrder, Summary, TaskPolicy, precheck, run as reembed, store};
use vecferry_core::{Error as CoreError, Side};
use vecferry_embed::embedder::{Embedder, Model};
use vecferry_embed::work::LocalTasks;

use super::bots::selection;
use super::worker;
use crate::cli::{Aws, LostDocuments, Migrate, Reembed};
use crate::error::{Error, Exit, GO_ON, Mistake};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::services::{self, Making, Services, work_folder};
use crate::settings::{
    DocumentSettings, ModelAt, ModelSettings, RegistryAt, RunnerAt, Settings, TaskSettings,
};
use crate::ui::{Ui, table};
use crate::units::{count, counted, duration, printable};
use consent::Offer;

/// Bots at the same time in this process unless set: two cores read and split for four without falling behind the
/// model.
const LOCAL_AT_ONCE: usize = 4;

/// Tasks at the same time unless set: what a model's usual quota feeds.
const TASKS_AT_ONCE: usize = 50;

/// Our part of the launches that ECS allows an account: its own services and schedules draw on the same rate.
const OUR_SHARE: f64 = 0.8;

/// What the settings say, resolved.
struct Resolved {
    registry: RegistryAt,
    model: ModelSettings,
    documents: DocumentSettings,
    tasks: TaskSettings,
    source: Option<Dsn>,
    target: Option<Dsn>,
    knowledge: Knowledge,
}

impl Resolved {
    /// The model, with vectors as long as the target's column where it offers several lengths.
    async fn embedder(&self, services: &Services) -> Result<Arc<dyn Embedder>, Error> {
        let column = match &self.target {
            Some(target) => column_dimensions(target, Side::Target, &self.knowledge).await?,
            None => None,
        };
        services.embedder(&self.model, column).await
    }
}

/// Runs the command.
pub(crate) async fn run(args: &Migrate, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let flags = &args.reembed;
    let resolved = resolve(flags, settings).await?;
    let prices = settings.prices(&flags.prices)?;
    let state = settings.state(&flags.store);
    let store = services::store(state.as_deref(), resolved.target.as_ref()).await?;
    let services = Services::new(settings.aws(&flags.aws));
    let registry = services.registry(&resolved.registry).await?;
    let embedder = resolved.embedder(&services).await?;
    let model = embedder.model().clone();
    let folder = work_folder()?;
    let listing = understood(registry.list().await?, flags.skip_odd)?;
    let selection = selection(&flags.selection)?;
    let mut listing = selection.apply(listing)?;
    let recorded = recorded(registry.as_ref(), &model, &resolved.knowledge);
    let proven = match args.restart {
        true => HashSet::new(),
        false => proven(store.as_ref(), &recorded).await?,
    };
    listing.bots.retain(|bot| !proven.contains(&bot.key));
    let bots = &listing.bots;
    let workshop =
        Workshop { resolved: &resolved, services: &services, folder: folder.path(), bots };
    let (runner, fargate) = workshop.runner(registry.clone(), embedder).await?;
    let policy = policy(&resolved, runner.as_ref()).await?;
    let pace = pace(&resolved, &policy, fargate);
    let sizes = workshop.sizes(&listing, ui).await?;
    let offer = Offer {
        registry: registry.describe(),
        runner: runner.describe(),
        store: store.describe(),
        model: &model,
        listing: &listing,
        proven: proven.len() as u64,
        target: resolved.target.as_ref(),
        estimate: estimated(&resolved, &prices, &listing, &sizes, &pace),
        reuses: reuses(&resolved),
        prices: prices.note(region(&resolved, &settings.aws(&flags.aws)).as_deref()),
    };
    offer.show(ui)?;
    offer.within(flags.max_cost)?;
    if flags.dry_run {
        return Ok(Exit::Done);
    }
    offer.ask(args.yes.yes, args.restart, ui)?;
    let order = ReembedOrder {
        settings: recorded,
        environment: environment(&resolved, &policy, &model)?,
        target: resolved.target.clone(),
        restart: args.restart,
        registry,
        runner,
        store,
        selection,
        policy,
    };
    embed(order, ui).await
}

/// Runs the order and shows what comes of it.
async fn embed(order: ReembedOrder, ui: &Ui) -> Result<Exit, Error> {
    let interrupt = Interrupt::listen(ui)?;
    let progress = Arc::new(Progress::of_events(ui));
    let outcome = reembed(order, progress.clone(), interrupt.token.clone()).await;
    progress.finish();
    match outcome {
        Ok(summary) => finish(&summary, ui),
        Err(CoreError::Interrupted) => Err(Error::Interrupted { how_to_go_on: GO_ON.into() }),
        Err(error) => Err(error.into()),
    }
}

/// What `check` finds before a re-embedding.
pub(super) async fn check(flags: &Reembed, settings: &Settings) -> Result<Report, Error> {
    let resolved = resolve(flags, settings).await?;
    let services = Services::new(settings.aws(&flags.aws));
    let registry = services.registry(&resolved.registry).await?;
    let listing = registry.list().await?;
    let mut checked = vec!["registry".to_owned(), "embedding model".to_owned()];
    let mut findings: Vec<Finding> = listing.odd.iter().map(odd).collect();
    let dimensions = resolved.embedder(&services).await?.model().dimensions;
    if let Some(target) = &resolved.target {
        checked.push("knowledge table".to_owned());
        findings.extend(precheck(target, &resolved.knowledge, dimensions).await?);
    }
    if let RunnerAt::Ecs(at) = &resolved.tasks.at {
        checked.push("ECS cluster and task definition".to_owned());
        services.ecs(at).await.check().await?;
    }
    Ok(Report { version: 1, findings, checked, could_not_run: Vec::new() })
}

fn odd(item: &OddItem) -> Finding {
    Finding {
        severity: Severity::Blocker,
        check: "registry".into(),
        side: None,
        what: format!("{} is not understood: {}", item.key, item.why),
        remedy: "mend the item, or pass --skip-odd to migrate".into(),
    }
}

async fn resolve(flags: &Reembed, settings: &Settings) -> Result<Resolved, Error> {
    let resolved = Resolved {
        registry: settings.registry(&flags.registry, None)?,
        model: settings.model(&flags.embedding, None)?,
        documents: settings.documents(&flags.documents, None),
        tasks: settings.tasks(&flags.tasks)?,
        source: settings.source_if_named().await?,
        target: settings.target_if_named().await?,
        knowledge: settings.knowledge().clone(),
    };
    if resolved.tasks.at == RunnerAt::Local && resolved.target.is_none() {
        // Says what to pass.
        settings.target().await?;
    }
    if let (RunnerAt::Ecs(_), RegistryAt::File(_)) = (&resolved.tasks.at, &resolved.registry) {
        let what = "tasks on ECS cannot read a file of bots on this machine";
        let hint = "name the DynamoDB table with --bot-table, or choose --runner local";
        return Err(Mistake::new(what, hint).into());
    }
    if let (RunnerAt::Ecs(_), ModelAt::Local { .. }) = (&resolved.tasks.at, &resolved.model.at) {
        let what = "tasks on ECS have no model's folder of this machine";
        let hint = "choose --provider bedrock or openai, or --runner local";
        return Err(Mistake::new(what, hint).into());
    }
    Ok(resolved)
}

/// Bots that the run which would be continued has proven: nothing more is done or paid for them. With other settings a
/// new run begins, and every bot is embedded.
async fn proven(
    store: &dyn MigrationStore,
    settings: &store::Settings,
) -> Result<HashSet<BotKey>, Error> {
    let continued =
        store.newest().await?.filter(|run| settings.differences(&run.settings).is_empty());
    let Some(run) = continued else { return Ok(HashSet::new()) };
    let bots = store.bots(&run.id).await?;
    let proven = bots.into_iter().filter(|bot| bot.state == BotState::Proven);
    Ok(proven.map(|bot| bot.key).collect())
}

/// Refuses a registry with items that nobody understands, unless they are to be left out.
fn understood(listing: Listing, skip_odd: bool) -> Result<Listing, Error> {
    if skip_odd || listing.odd.is_empty() {
        return Ok(listing);
    }
    let shown: Vec<String> =
        listing.odd.iter().take(3).map(|item| format!("{}: {}", item.key, item.why)).collect();
    let items = counted(listing.odd.len() as u64, "item");
    let what = format!("{items} of the registry not understood; {}", shown.join("; "));
    let hint = "`vecferry bots` lists them; --skip-odd leaves them out";
    Err(Mistake::new(what, hint).into())
}

/// Makes the runner and asks what it would run over.
struct Workshop<'a> {
    resolved: &'a Resolved,
    services: &'a Services,
    folder: &'a std::path::Path,
    bots: &'a [Bot],
}

impl Workshop<'_> {
    /// The runner, and vCPUs and GB of one of its tasks where it rents them.
    async fn runner(
        &self,
        registry: Arc<dyn BotRegistry>,
        embedder: Arc<dyn Embedder>,
    ) -> Result<(Arc<dyn TaskRunner>, Option<(f64, f64)>), Error> {
        let Resolved { tasks, target, .. } = self.resolved;
        match (&tasks.at, target) {
            (RunnerAt::Ecs(at), _) => {
                let runner = self.services.ecs(at).await;
                let ready = runner.check().await?;
                let memory = ready.memory_mib.map(|mib| mib as f64 / 1024.0);
                Ok((Arc::new(runner), ready.vcpus.zip(memory)))
            }
            (RunnerAt::Local, Some(target)) => {
                let bench = self
                    .services
                    .workbench(Making {
                        source: self.resolved.source.clone(),
                        target: target.clone(),
                        knowledge: self.resolved.knowledge.clone(),
                        registry: registry.keeps_sync().then(|| registry.clone()),
                        embedder,
                        model: &self.resolved.model,
                        documents: &self.resolved.documents,
                        folder: self.folder,
                        bots: self.bots,
                    })
                    .await?;
                let at_once = tasks.in_flight.unwrap_or(LOCAL_AT_ONCE);
                Ok((Arc::new(LocalTasks::new(bench, registry, at_once)), None))
            }
            (RunnerAt::Local, None) => {
                Err(CoreError::Bug { what: "a local runner without a target".into() }.into())
            }
        }
    }

    /// How much text each bot has.
    async fn sizes(&self, listing: &Listing, ui: &Ui) -> Result<Vec<BotSize>, Error> {
        let sources =
            self.services.sources(&self.resolved.documents, self.folder, self.bots).await?;
        let Resolved { source, knowledge, .. } = self.resolved;
        Ok(size::sizes(listing, sources, source.as_ref(), knowledge, ui).await)
    }
}

async fn policy(resolved: &Resolved, runner: &dyn TaskRunner) -> Result<TaskPolicy, Error> {
    let tasks = &resolved.tasks;
    let limits = runner.limits().await?;
    let local = tasks.at == RunnerAt::Local;
    let at_once = if local { LOCAL_AT_ONCE } else { TASKS_AT_ONCE };
    let allowed = limits.in_flight.map_or(at_once, |allowed| allowed.min(at_once));
    Ok(TaskPolicy {
        attempts: tasks.attempts,
        launches_per_second: tasks
            .launch_rate
            .or(limits.launches_per_second.map(|allowed| allowed * OUR_SHARE))
            .unwrap_or(TaskPolicy::default().launches_per_second),
        in_flight: tasks.in_flight.unwrap_or(allowed),
        patience: tasks.busy_wait,
        // A task in this process answers at once.
        poll: if local { tasks.poll.min(Duration::from_millis(200)) } else { tasks.poll },
        accept_missing: resolved.documents.lost == LostDocuments::Accept,
        // What this process does not know is gone; ECS shows a new task everywhere within seconds.
        vanished_after: Duration::from_secs(if local { 0 } else { 60 }),
        stop_tasks: local,
        ..TaskPolicy::default()
    })
}

/// USD for a million tokens: what the operator says, else what is known of Bedrock's model.
fn price_of(model: &ModelSettings, prices: &Prices) -> Option<f64> {
    let published = match &model.at {
        ModelAt::Bedrock { .. } => prices.embedding(&model.id).map(|quote| quote.usd),
        ModelAt::OpenAi { .. } => None,
        ModelAt::Local { .. } => Some(0.0),
    };
    model.price.or(published)
}

/// The region that is paid for, where it is known.
fn region(resolved: &Resolved, aws: &Aws) -> Option<String> {
    let models = match &resolved.model.at {
        ModelAt::Bedrock { region } => region.clone(),
        _ => None,
    };
    models.or_else(|| aws.region.clone())
}

/// Whether unchanged chunks take their vectors from the source.
fn reuses(resolved: &Resolved) -> bool {
    resolved.source.is_some() && resolved.model.id == resolved.model.source_model
}

fn pace(resolved: &Resolved, policy: &TaskPolicy, fargate: Option<(f64, f64)>) -> Pace {
    Pace {
        in_flight: policy.in_flight,
        launches_per_second: policy.launches_per_second,
        tokens_per_minute: resolved.model.tokens_per_minute,
        fargate,
    }
}

fn estimated(
    resolved: &Resolved,
    prices: &Prices,
    listing: &Listing,
    sizes: &[BotSize],
    pace: &Pace,
) -> Estimate {
    let bots: Vec<_> = listing.bots.iter().zip(sizes.iter().copied()).collect();
    let usd_per_million_tokens = price_of(&resolved.model, prices);
    estimate(&bots, &Terms { pace, usd_per_million_tokens, prices, reuses: reuses(resolved) })
}

/// What must be the same when the run is continued.
fn recorded(registry: &dyn BotRegistry, model: &Model, knowledge: &Knowledge) -> store::Settings {
    store::Settings {
        registry: registry.describe(),
        model: model.id.clone(),
        dimensions: model.dimensions,
        knowledge: knowledge.clone(),
        splitting: None,
    }
}

/// What vecferry's own worker in a container is told; the application's own containers ignore it. No secret is among
/// it: overrides of a task can be read by everybody who may describe tasks.
fn environment(
    resolved: &Resolved,
    policy: &TaskPolicy,
    model: &Model,
) -> Result<Vec<(String, String)>, Error> {
    if resolved.tasks.at == RunnerAt::Local {
        return Ok(Vec::new());
    }
    let share = |limit: u64| (limit / policy.in_flight.max(1) as u64).max(1).to_string();
    let settings = &resolved.model;
    let (provider, region, url) = match &settings.at {
        ModelAt::Bedrock { region } => ("bedrock", region.clone(), None),
        ModelAt::OpenAi { url } => ("openai", None, Some(url.clone())),
        ModelAt::Local { .. } => ("local", None, None),
    };
    let documents = &resolved.documents;
    let allowed = Some(documents.allow_private.join(",")).filter(|allowed| !allowed.is_empty());
    let lost = match documents.lost {
        LostDocuments::Fail => "fail",
        LostDocuments::KeepOld => "keep-old",
        LostDocuments::Accept => "accept",
    };
    let knowledge = (resolved.knowledge != Knowledge::default())
        .then(|| serde_json::to_string(&resolved.knowledge))
        .transpose()
        .map_err(|error| CoreError::Bug {
            what: format!("the table's shape is no JSON: {error}"),
        })?;
    let table = match &resolved.registry {
        RegistryAt::Table { name, .. } => Some(name.clone()),
        RegistryAt::File(_) => None,
    };
    let pairs = [
        ("VECFERRY_PROVIDER", Some(provider.to_owned())),
        ("VECFERRY_MODEL", Some(settings.id.clone())),
        ("VECFERRY_DIMENSIONS", Some(model.dimensions.to_string())),
        ("VECFERRY_MODEL_REGION", region),
        ("VECFERRY_MODEL_URL", url),
        ("VECFERRY_SOURCE_MODEL", Some(settings.source_model.clone())),
        ("VECFERRY_REQUESTS_PER_MINUTE", settings.requests_per_minute.map(share)),
        ("VECFERRY_TOKENS_PER_MINUTE", settings.tokens_per_minute.map(share)),
        ("VECFERRY_LOST_DOCUMENTS", Some(lost.to_owned())),
        ("VECFERRY_BOT_TABLE", table),
        ("VECFERRY_BUCKET", documents.bucket.clone()),
        ("VECFERRY_ALLOW_PRIVATE", allowed),
        ("VECFERRY_IGNORE_ROBOTS", (!documents.respect_robots).then(|| "true".to_owned())),
        ("VECFERRY_MAX_PAGE", Some(format!("{}B", documents.max_page))),
        ("VECFERRY_DOCUMENT_TIMEOUT", Some(format!("{}ms", documents.timeout.as_millis()))),
        (worker::KNOWLEDGE, knowledge),
    ];
    Ok(pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// Shows what came of it: every bot proven is a yes, anything else is exit code 5.
fn finish(summary: &Summary, ui: &Ui) -> Result<Exit, Error> {
    if !ui.json {
        ui.data(&render(summary))?;
    }
    let failed = summary.counts.failed + summary.counts.waiting + summary.counts.running;
    if failed == 0 {
        return Ok(Exit::Done);
    }
    let bots = counted(failed, "bot");
    Err(CoreError::Tasks {
        what: format!("{bots} of {} not embedded", count(summary.counts.total())),
        hint: Some("mend what the reasons say and run the same command again: proven bots are not repeated".into()),
    }
    .into())
}

fn render(summary: &Summary) -> String {
    let mut blocks = Vec::new();
    if !summary.failed.is_empty() {
        let rows = summary.failed.iter().map(|bot| {
            let texts = [&bot.bot.to_string(), &bot.title, &bot.reason];
            texts.map(|text| printable(text)).to_vec()
        });
        blocks.push(table(&["failed bot", "title", "reason"], &[], rows.collect()));
    }
    let Summary { counts, .. } = summary;
    let mut line = format!(
        "migration {}: {} proven, {}in {}",
        summary.migration,
        counted(counts.proven, "bot"),
        // Without a target nobody could count.
        if summary.rows > 0 { format!("{} ", counted(summary.rows, "row")) } else { String::new() },
        duration(summary.seconds),
    );
    if summary.tokens > 0 || summary.reused > 0 {
        line.push_str(&format!(
            "; {} paid for, {} taken from the source",
            counted(summary.tokens, "token"),
            counted(summary.reused, "vector"),
        ));
    }
    if counts.skipped > 0 {
        line.push_str(&format!("; {} left out", counted(counts.skipped, "bot")));
    }
    line.push_str(if counts.failed > 0 {
        "\nnext: vecferry bots shows every bot's state"
    } else {
        "\nnext: vecferry bots, then point the application at the target"
    });
    blocks.push(line);
    blocks.join("\n\n")
}
