//! What a re-embedding is made of, from the settings to an order: shared by the methods `reembed` and `delta`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vecferry_aws::Access;
use vecferry_core::bot::{Bot, BotKey};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::price::Prices;
use vecferry_core::reembed::estimate::{BotSize, Estimate, Fresh, Pace, Terms, estimate};
use vecferry_core::reembed::registry::{BotRegistry, Listing};
use vecferry_core::reembed::rows::column_dimensions;
use vecferry_core::reembed::select::Selection;
use vecferry_core::reembed::store::{self, MigrationStore};
use vecferry_core::reembed::task::TaskRunner;
use vecferry_core::reembed::{ReembedOrder, TaskPolicy};
use vecferry_core::{Error as CoreError, Side};
use vecferry_embed::embedder::{Embedder, Model};
use vecferry_embed::sources::Sources;
use vecferry_embed::work::LocalTasks;

use super::consent::Offer;
use super::size;
use crate::cli::{Aws, LostDocuments, Reembed};
use crate::commands::worker;
use crate::error::{Error, Mistake};
use crate::services::{Making, Services, work_folder};
use crate::settings::{
    DocumentSettings, ModelAt, ModelSettings, RegistryAt, RunnerAt, Settings, TaskSettings,
};
use crate::ui::Ui;
use crate::units::counted;

/// Bots at the same time in this process unless set: two cores read and split for four without falling behind the
/// model.
const LOCAL_AT_ONCE: usize = 4;

/// Tasks at the same time unless set: what a model's usual quota feeds.
const TASKS_AT_ONCE: usize = 50;

/// Our part of the launches that ECS allows an account: its own services and schedules draw on the same rate.
const OUR_SHARE: f64 = 0.8;

/// What the settings say, resolved.
pub(in crate::commands) struct Resolved {
    pub(super) registry: RegistryAt,
    pub(super) model: ModelSettings,
    pub(super) documents: DocumentSettings,
    pub(super) tasks: TaskSettings,
    pub(super) source: Option<Dsn>,
    pub(super) target: Option<Dsn>,
    pub(super) knowledge: Knowledge,
}

impl Resolved {
    /// The model, with vectors as long as that cluster's column where it offers several lengths.
    pub(super) async fn embedder(
        &self,
        services: &Services,
        side: Side,
    ) -> Result<Arc<dyn Embedder>, Error> {
        let cluster = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let column = match cluster {
            Some(cluster) => column_dimensions(cluster, side, &self.knowledge).await?,
            None => None,
        };
        services.embedder(&self.model, column).await
    }
}

/// Resolves the settings, and refuses what cannot go together.
pub(in crate::commands) async fn resolve(
    flags: &Reembed,
    settings: &Settings,
) -> Result<Resolved, Error> {
    resolve_with(flags, settings, settings.source_if_named().await?).await
}

/// Likewise, with what is known of the source.
pub(super) async fn resolve_with(
    flags: &Reembed,
    settings: &Settings,
    source: Option<Dsn>,
) -> Result<Resolved, Error> {
    let resolved = Resolved {
        registry: settings.registry(&flags.registry, None)?,
        model: settings.model(&flags.embedding, None)?,
        documents: settings.documents(&flags.documents, None),
        tasks: settings.tasks(&flags.tasks)?,
        source,
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

/// Refuses a registry with items that nobody understands, unless they are to be left out.
pub(super) fn understood(listing: Listing, skip_odd: bool) -> Result<Listing, Error> {
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

/// Registry, model and documents, opened.
pub(in crate::commands) struct Shop {
    resolved: Resolved,
    services: Services,
    registry: Arc<dyn BotRegistry>,
    embedder: Arc<dyn Embedder>,
    /// Where documents pass through.
    folder: TempDir,
    prices: Prices,
    aws: Aws,
}

/// What could embed these bots, and what that takes.
pub(in crate::commands) struct Ready {
    runner: Arc<dyn TaskRunner>,
    policy: TaskPolicy,
    pace: Pace,
    /// Of each bot of the listing, in its order.
    sizes: Vec<BotSize>,
    estimate: Estimate,
}

impl Ready {
    /// What embedding all of them takes.
    pub(super) fn estimate(&self) -> &Estimate {
        &self.estimate
    }
}

impl Shop {
    /// Opens it. Vectors are as long as those of the cluster on `side`.
    pub(in crate::commands) async fn open(
        resolved: Resolved,
        flags: &Reembed,
        settings: &Settings,
        side: Side,
    ) -> Result<Shop, Error> {
        let prices = settings.prices(&flags.prices)?;
        let aws = settings.aws().clone();
        let services = Services::new(aws.clone());
        let registry = services.registry(&resolved.registry).await?;
        let embedder = resolved.embedder(&services, side).await?;
        let folder = work_folder()?;
        Ok(Shop { resolved, services, registry, embedder, folder, prices, aws })
    }

    /// Every bot of the registry, if all of it is understood or what is not is to be left out.
    pub(in crate::commands) async fn listing(&self, skip_odd: bool) -> Result<Listing, Error> {
        understood(self.registry.list().await?, skip_odd)
    }

    /// The registry in words.
    pub(in crate::commands) fn registry(&self) -> String {
        self.registry.describe()
    }

    /// Where documents of these bots come from.
    pub(in crate::commands) async fn sources(&self, listing: &Listing) -> Result<Sources, Error> {
        self.services.sources(&self.resolved.documents, self.folder.path(), &listing.bots).await
    }

    /// Asks, before anything is offered, whether the bucket of uploaded files can be read: otherwise every document would
    /// be refused, one by one.
    pub(in crate::commands) async fn check_bucket(
        &self,
        listing: &Listing,
    ) -> Result<Access, Error> {
        Ok(self.services.check_bucket(&self.resolved.documents, &listing.bots).await?)
    }

    /// Whether documents are read by this process.
    pub(super) fn runs_here(&self) -> bool {
        self.resolved.tasks.at == RunnerAt::Local
    }

    fn model(&self) -> &Model {
        self.embedder.model()
    }

    /// What must be the same when the run is continued.
    pub(in crate::commands) fn recorded(&self) -> store::Settings {
        store::Settings {
            registry: self.registry.describe(),
            model: self.model().id.clone(),
            dimensions: self.model().dimensions,
            knowledge: self.resolved.knowledge.clone(),
            splitting: None,
        }
    }

    /// Gets ready to embed these bots: asks the runner what it allows, and everybody how much text there is. `fresh` is
    /// what a comparison has learnt of them.
    pub(in crate::commands) async fn ready(
        &self,
        listing: &Listing,
        fresh: &HashMap<BotKey, Fresh>,
        ui: &Ui,
    ) -> Result<Ready, Error> {
        let (runner, fargate) = self.runner(listing).await?;
        let policy = policy(&self.resolved, runner.as_ref()).await?;
        let sources = self.sources(listing).await?;
        let Resolved { source, knowledge, model, .. } = &self.resolved;
        let source = source.as_ref();
        let question = size::Question { listing, fresh, source, knowledge };
        let sizes = size::sizes(question, sources, ui).await;
        let pace = Pace {
            in_flight: policy.in_flight,
            launches_per_second: policy.launches_per_second,
            tokens_per_minute: model.tokens_per_minute,
            fargate,
        };
        let estimate = self.estimated(listing, &sizes, &pace, |_| true);
        Ok(Ready { runner, policy, pace, sizes, estimate })
    }

    /// What embedding those of the listing takes that are `wanted`, once it is known what all of them take.
    pub(super) fn estimate_of(
        &self,
        ready: &Ready,
        listing: &Listing,
        wanted: impl Fn(&Bot) -> bool,
        fresh: &HashMap<BotKey, Fresh>,
    ) -> Estimate {
        let bots = listing.bots.iter().zip(&ready.sizes);
        let sizes: Vec<BotSize> =
            bots.map(|(bot, size)| size.with(fresh.get(&bot.key).copied())).collect();
        self.estimated(listing, &sizes, &ready.pace, wanted)
    }

    fn estimated(
        &self,
        listing: &Listing,
        sizes: &[BotSize],
        pace: &Pace,
        wanted: impl Fn(&Bot) -> bool,
    ) -> Estimate {
        let bots = listing.bots.iter().zip(sizes.iter().copied());
        let bots: Vec<_> = bots.filter(|(bot, _)| wanted(bot)).collect();
        let terms = Terms {
            pace,
            usd_per_million_tokens: price_of(&self.resolved.model, &self.prices),
            prices: &self.prices,
            reuses: self.reuses(),
        };
        estimate(&bots, &terms)
    }

    /// The runner, and vCPUs and GB of one of its tasks where it rents them.
    async fn runner(
        &self,
        listing: &Listing,
    ) -> Result<(Arc<dyn TaskRunner>, Option<(f64, f64)>), Error> {
        let Resolved { tasks, target, source, knowledge, .. } = &self.resolved;
        match (&tasks.at, target) {
            (RunnerAt::Ecs(at), _) => {
                let runner = self.services.ecs(at).await;
                let ready = runner.check().await?;
                let memory = ready.memory_mib.map(|mib| mib as f64 / 1024.0);
                Ok((Arc::new(runner), ready.vcpus.zip(memory)))
            }
            (RunnerAt::Local, Some(target)) => {
                let registry = self.registry.clone();
                let bench = self
                    .services
                    .workbench(Making {
                        source: source.clone(),
                        target: target.clone(),
                        knowledge: knowledge.clone(),
                        registry: registry.keeps_sync().then(|| registry.clone()),
                        embedder: self.embedder.clone(),
                        model: &self.resolved.model,
                        documents: &self.resolved.documents,
                        folder: self.folder.path(),
                        bots: &listing.bots,
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

    /// What is shown and asked before anything is paid for. `proven` bots are not in the listing.
    pub(in crate::commands) fn offer<'a>(
        &'a self,
        ready: &'a Ready,
        listing: &'a Listing,
        store: String,
        proven: u64,
    ) -> Offer<'a> {
        Offer {
            registry: self.registry.describe(),
            runner: ready.runner.describe(),
            store,
            model: self.model(),
            listing,
            proven,
            target: self.resolved.target.as_ref(),
            estimate: ready.estimate.clone(),
            reuses: self.reuses(),
            prices: self.prices.note(self.region().as_deref()),
        }
    }

    /// The region that is paid in, where it is known.
    pub(in crate::commands) fn region(&self) -> Option<String> {
        let models = match &self.resolved.model.at {
            ModelAt::Bedrock { region } => region.clone(),
            _ => None,
        };
        models.or_else(|| self.aws.region.clone())
    }

    /// Whether unchanged chunks take their vectors from the source.
    fn reuses(&self) -> bool {
        let Resolved { source, model, .. } = &self.resolved;
        source.is_some() && model.id == model.source_model
    }

    /// The order to embed what is selected.
    pub(in crate::commands) fn order(
        &self,
        ready: Ready,
        store: Arc<dyn MigrationStore>,
        selection: Selection,
        restart: bool,
    ) -> Result<ReembedOrder, Error> {
        Ok(ReembedOrder {
            settings: self.recorded(),
            estimate: Some(ready.estimate),
            environment: environment(&self.resolved, &ready.policy, self.model())?,
            target: self.resolved.target.clone(),
            registry: self.registry.clone(),
            runner: ready.runner,
            policy: ready.policy,
            store,
            selection,
            restart,
        })
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

/// USD for a million tokens: what the operator says, else the entry of the model in the prices, wherever it runs; a
/// model in this process costs nothing.
fn price_of(model: &ModelSettings, prices: &Prices) -> Option<f64> {
    let entry = || prices.embedding(&model.id).map(|quote| quote.usd);
    match &model.at {
        ModelAt::Bedrock { .. } | ModelAt::OpenAi { .. } => model.price.or_else(entry),
        ModelAt::Local { .. } => model.price.or(Some(0.0)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_price_is_said_or_looked_up_wherever_it_runs() {
        let file = "[embedding]\ntest = 100\n'cohere.embed-v4:0' = 0.5";
        let prices = Prices::published().unwrap().replaced_with(file, "mine.toml").unwrap();
        let open_ai = || ModelAt::OpenAi { url: "http://localhost/v1".into() };
        let of = |at: ModelAt, id: &str, price: Option<f64>| {
            let model = ModelSettings {
                at,
                id: id.into(),
                dimensions: None,
                source_model: String::new(),
                requests_per_minute: None,
                tokens_per_minute: None,
                price,
            };
            price_of(&model, &prices)
        };
        assert_eq!(of(open_ai(), "test", None), Some(100.0));
        assert_eq!(of(open_ai(), "another", None), None);
        assert_eq!(of(open_ai(), "test", Some(0.0)), Some(0.0));
        let bedrock = || ModelAt::Bedrock { region: None };
        assert_eq!(of(bedrock(), "eu.cohere.embed-v4:0", None), Some(0.5));
        assert_eq!(of(bedrock(), "cohere.embed-v4:0", Some(0.2)), Some(0.2));
        assert_eq!(of(ModelAt::Local { folder: "test".into() }, "test", None), Some(0.0));
    }
}
