//! From settings to what they name: the registry of bots, the embedding model, the sources of documents, the runner of
//! tasks, the store of the state. The one place that knows which crate answers which setting.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use url::Url;
use vecferry_aws::{
    Access, Account, Bedrock, DynamoBots, DynamoOptions, EcsSettings, EcsTasks, S3Documents,
    TableRole,
};
use vecferry_core::bot::{Bot, DocumentAddress};
use vecferry_core::error::on_one_line;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::file::FileBots;
use vecferry_core::reembed::registry::BotRegistry;
use vecferry_core::reembed::store::{MigrationStore, PostgresStore, SqliteStore};
use vecferry_embed::document::DocumentSource;
use vecferry_embed::embedder::Embedder;
use vecferry_embed::embedding::local::LocalEmbedder;
use vecferry_embed::embedding::openai::{Endpoint, OpenAi};
use vecferry_embed::embedding::{Pace, Pacer, Patience, Service};
use vecferry_embed::folder::Folder;
use vecferry_embed::sources::Sources;
use vecferry_embed::text::{Extractor, Limits};
use vecferry_embed::web::{Allowed, Guard, Web, WebSettings};
use vecferry_embed::work::{LostPolicy, Reuse, Workbench};

use crate::cli::{Aws, LostDocuments};
use crate::error::{Error, Mistake};
use crate::settings::{DocumentSettings, EcsAt, ModelAt, ModelSettings, RegistryAt};

/// Variable that holds the key of an OpenAI-compatible service.
const MODEL_KEY: &str = "VECFERRY_MODEL_KEY";

/// What a workbench is made of.
pub(crate) struct Making<'a> {
    /// The source, when it is there to take unchanged vectors from.
    pub(crate) source: Option<Dsn>,
    pub(crate) target: Dsn,
    pub(crate) knowledge: Knowledge,
    /// The registry, when it keeps the state of embeddings.
    pub(crate) registry: Option<Arc<dyn BotRegistry>>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) model: &'a ModelSettings,
    pub(crate) documents: &'a DocumentSettings,
    /// Where documents pass through.
    pub(crate) folder: &'a Path,
    /// The bots that may be worked on.
    pub(crate) bots: &'a [Bot],
}

/// Makes what settings name. The AWS account is loaded when something first needs it: many knowledge bases have none.
pub(crate) struct Services {
    aws: Aws,
    account: OnceCell<Account>,
}

impl Services {
    /// Services of this account.
    pub(crate) fn new(aws: Aws) -> Services {
        Services { aws, account: OnceCell::new() }
    }

    /// The AWS account.
    pub(crate) async fn account(&self) -> &Account {
        let Aws { region, profile } = self.aws.clone();
        self.account.get_or_init(|| Account::load(region, profile)).await
    }

    /// The registry, as an operator reads it.
    pub(crate) async fn registry(&self, at: &RegistryAt) -> Result<Arc<dyn BotRegistry>, Error> {
        Ok(match at {
            RegistryAt::Table { name, full_scan } => {
                Arc::new(table(self.account().await, name, *full_scan))
            }
            RegistryAt::File(path) => Arc::new(FileBots::read(path)?),
        })
    }

    /// The registry, as a worker reads it: through the application's role for one owner, where there is one.
    pub(crate) async fn registry_of(
        &self,
        at: &RegistryAt,
        owner: &str,
    ) -> Result<Arc<dyn BotRegistry>, Error> {
        let role = TableRole::from_environment(crate::settings::variable);
        match (at, role) {
            (RegistryAt::Table { name, .. }, Some(role)) => {
                let account = role.assume(self.account().await, name, owner).await?;
                Ok(Arc::new(table(&account, name, false)))
            }
            _ => self.registry(at).await,
        }
    }

    /// The model. `column` is the length of the target's vectors, for models that make several lengths.
    pub(crate) async fn embedder(
        &self,
        model: &ModelSettings,
        column: Option<usize>,
    ) -> Result<Arc<dyn Embedder>, Error> {
        let dimensions = model.dimensions.or(column);
        Ok(match &model.at {
            ModelAt::Bedrock { region } => {
                let account = self.account().await;
                Arc::new(Bedrock::new(account, &model.id, dimensions, region.as_deref())?)
            }
            ModelAt::OpenAi { url } => Arc::new(OpenAi::new(endpoint(url, model, dimensions)?)?),
            ModelAt::Local { folder } => local(folder, &model.id)?,
        })
    }

    /// Where documents come from. `folder` is for what passes through.
    pub(crate) async fn sources(
        &self,
        documents: &DocumentSettings,
        folder: &Path,
        bots: &[Bot],
    ) -> Result<Sources, Error> {
        let allowed: Result<Vec<Allowed>, _> =
            documents.allow_private.iter().map(|text| text.parse()).collect();
        let allowed = allowed.map_err(|error| {
            let hint = "write a host name or a network, like wiki.example.com or 10.1.0.0/16";
            Mistake::new(format!("allow_private: {error}"), hint)
        })?;
        let web = Web::new(WebSettings {
            robots: documents.respect_robots,
            guard: Guard { allowed, ..Guard::default() },
            document_bytes: documents.max_page,
            document_time: documents.timeout,
            work_folder: folder.to_owned(),
            ..WebSettings::default()
        })
        .map_err(|error| vecferry_core::Error::Local {
            doing: "prepare to read web pages".into(),
            source: std::io::Error::other(error),
        })?;
        let mut sources: Vec<Arc<dyn DocumentSource>> =
            vec![Arc::new(web), Arc::new(Folder::default())];
        // Whoever has nothing in S3 needs no account, and should not have to wait until none is found.
        let in_s3 = |address: &DocumentAddress| {
            matches!(address, DocumentAddress::File(_) | DocumentAddress::S3(_))
        };
        if bots.iter().any(|bot| bot.documents.iter().any(in_s3)) {
            let account = self.account().await;
            sources.push(Arc::new(S3Documents::new(account, documents.bucket.clone())));
        }
        Ok(Sources::new(sources))
    }

    /// Asks whether the bucket of uploaded files, where one is named, can be read from here.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) async fn check_bucket(
        &self,
        documents: &DocumentSettings,
        bots: &[Bot],
    ) -> vecferry_core::Result<Access> {
        let Some(bucket) = documents.bucket.clone() else { return Ok(Access::Granted) };
        let is_file = |address: &DocumentAddress| matches!(address, DocumentAddress::File(_));
        // Whoever has no file in it needs no account.
        if !bots.iter().any(|bot| bot.documents.iter().any(is_file)) {
            return Ok(Access::Granted);
        }
        S3Documents::new(self.account().await, Some(bucket)).check(bots).await
    }

    /// What runs in this process are made with.
    pub(crate) async fn workbench(&self, making: Making<'_>) -> Result<Workbench, Error> {
        let Making { documents, model, folder, .. } = making;
        let reuse = making.source.map(|source| Reuse {
            source,
            knowledge: making.knowledge.clone(),
            model: model.source_model.clone(),
        });
        Ok(Workbench {
            target: making.target,
            knowledge: making.knowledge,
            registry: making.registry,
            sources: self.sources(documents, folder, making.bots).await?,
            extractor: Arc::new(extractor(documents)?),
            embedding: paced(making.embedder, model),
            reuse,
            policy: match documents.lost {
                LostDocuments::Fail => LostPolicy::Fail,
                LostDocuments::KeepOld => LostPolicy::KeepOld,
                LostDocuments::Accept => LostPolicy::Accept,
            },
            limits: vecferry_embed::work::Limits::default(),
            patience: vecferry_embed::stage::Patience::default(),
            folder: folder.to_owned(),
        })
    }

    /// The runner of tasks on ECS.
    pub(crate) async fn ecs(&self, at: &EcsAt) -> EcsTasks {
        let settings = EcsSettings {
            container: at.container.clone(),
            security_groups: at.security_groups.clone(),
            assign_public_ip: at.assign_public_ip,
            ..EcsSettings::new(&at.cluster, &at.task_definition, at.subnets.clone())
        };
        EcsTasks::new(self.account().await, settings)
    }
}

fn table(account: &Account, name: &str, full_scan: bool) -> DynamoBots {
    DynamoBots::new(account, name, DynamoOptions { full_scan, ..DynamoOptions::default() })
}

fn endpoint(
    url: &str,
    model: &ModelSettings,
    dimensions: Option<usize>,
) -> Result<Endpoint, Error> {
    let base = Url::parse(url).map_err(|error| {
        Mistake::new(format!("the model's URL is none: {error}"), "write it like https://host/v1")
    })?;
    let Some(dimensions) = dimensions else {
        let what = "the length of the model's vectors is not known";
        return Err(Mistake::new(what, "pass --dimensions").into());
    };
    Ok(Endpoint {
        base,
        model: model.id.clone(),
        key: crate::settings::variable(MODEL_KEY),
        dimensions,
        // Only models that make several lengths take the parameter, and then somebody has chosen one.
        send_dimensions: model.dimensions.is_some(),
        texts_per_call: None,
        tokens_per_text: None,
    })
}

fn local(folder: &Path, id: &str) -> Result<Arc<dyn Embedder>, Error> {
    let model = LocalEmbedder::load(folder, id).map_err(|error| {
        let (folder, why) = (folder.display(), on_one_line(&error));
        let what = format!("the model in {folder} cannot be loaded: {why}");
        let hint = "the folder must hold config.json, tokenizer.json and model.safetensors";
        Mistake::new(what, hint)
    })?;
    Ok(Arc::new(model))
}

/// The model with its pace, which is this process's share of the account's limits.
fn paced(model: Arc<dyn Embedder>, settings: &ModelSettings) -> Service {
    let limit = |per_minute: Option<u64>| {
        per_minute.and_then(|n| NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)))
    };
    let pace = Pace {
        requests: limit(settings.requests_per_minute),
        tokens: limit(settings.tokens_per_minute),
        ..Pace::default()
    };
    Service::new(model, Arc::new(Pacer::new(pace)), Patience::default())
}

/// Reads documents in children of this program.
fn extractor(documents: &DocumentSettings) -> Result<Extractor, Error> {
    let program = std::env::current_exe().map_err(|source| vecferry_core::Error::Local {
        doing: "find this program".into(),
        source,
    })?;
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let limits = Limits { time: documents.timeout, ..Limits::default() };
    let arguments = vec!["worker".into(), "--extract".into()];
    Ok(Extractor::new(program, arguments, limits, cores))
}

/// A folder that documents pass through, removed when it is dropped.
pub(crate) fn work_folder() -> Result<TempDir, Error> {
    let made = tempfile::Builder::new().prefix("vecferry-").tempdir();
    made.map_err(|source| {
        let doing = format!("make a folder in {}", std::env::temp_dir().display());
        vecferry_core::Error::Local { doing, source }.into()
    })
}

/// Where the state is kept.
pub(crate) async fn store(
    state: Option<&Path>,
    target: Option<&Dsn>,
) -> Result<Arc<dyn MigrationStore>, Error> {
    match (state, target) {
        (Some(path), _) => Ok(Arc::new(SqliteStore::open(path).await?)),
        (None, Some(target)) => Ok(Arc::new(PostgresStore::new(target.clone()))),
        (None, None) => Err(Mistake::new(
            "the state is kept on the target, and the target is not known",
            "pass --target, or --state FILE when this machine has no route to the target",
        )
        .into()),
    }
}
