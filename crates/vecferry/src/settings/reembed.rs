//! What re-embedding needs, resolved: flag or variable, then the file, then (in a worker) what the application's own
//! containers are given, then the default.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{Documents, Embedding, LostDocuments, Provider, Registry, Runner, Store, Tasks};
use crate::error::{Error, Mistake};
use crate::settings::Settings;

/// The model of every Bedrock Chat release (`cohere.embed-multilingual-v3` is asserted by its worker).
const DEFAULT_MODEL: &str = "cohere.embed-multilingual-v3";

/// Where bots are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RegistryAt {
    /// Bedrock Chat's DynamoDB table.
    Table {
        /// Its name.
        name: String,
        /// Whether its index is to be left alone.
        full_scan: bool,
    },
    /// A TOML or JSON file.
    File(PathBuf),
}

/// Who runs the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelAt {
    /// Amazon Bedrock, in this region or the account's.
    Bedrock { region: Option<String> },
    /// An OpenAI-compatible service.
    OpenAi { url: String },
    /// A folder.
    Local { folder: PathBuf },
}

/// The embedding model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelSettings {
    pub(crate) at: ModelAt,
    /// Its id.
    pub(crate) id: String,
    /// Length of its vectors, when it was chosen.
    pub(crate) dimensions: Option<usize>,
    /// Id of the model that made the source's embeddings.
    pub(crate) source_model: String,
    /// Limits of the account, over all tasks.
    pub(crate) requests_per_minute: Option<u64>,
    pub(crate) tokens_per_minute: Option<u64>,
    /// USD for a million tokens.
    pub(crate) price: Option<f64>,
}

/// How documents are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocumentSettings {
    pub(crate) bucket: Option<String>,
    pub(crate) lost: LostDocuments,
    pub(crate) allow_private: Vec<String>,
    pub(crate) respect_robots: bool,
    pub(crate) max_page: u64,
    pub(crate) timeout: Duration,
}

/// Where workers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunnerAt {
    /// Here.
    Local,
    /// On ECS.
    Ecs(EcsAt),
}

/// Where tasks start, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EcsAt {
    pub(crate) cluster: String,
    pub(crate) task_definition: String,
    pub(crate) container: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) assign_public_ip: bool,
}

/// How tasks are started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskSettings {
    pub(crate) at: RunnerAt,
    pub(crate) launch_rate: Option<f64>,
    pub(crate) in_flight: Option<usize>,
    pub(crate) attempts: u32,
    pub(crate) poll: Duration,
    pub(crate) busy_wait: Duration,
}

impl Settings {
    /// Where bots are listed; `application` is what a Bedrock Chat container calls the table.
    pub(crate) fn registry(
        &self,
        flags: &Registry,
        application: Option<String>,
    ) -> Result<RegistryAt, Error> {
        if let Some(named) = self.registry_if_named(flags)? {
            return Ok(named);
        }
        let full_scan = flags.full_scan || self.file.reembed.registry.full_scan;
        match application {
            Some(name) => Ok(RegistryAt::Table { name, full_scan }),
            None => Err(Mistake::new(
                "it is not known where bots are listed",
                "pass --bot-table NAME for Bedrock Chat's DynamoDB table, or --bot-file FILE for a TOML or \
                 JSON file, or write [bots] into vecferry.toml",
            )
            .into()),
        }
    }

    /// Where the flags or the file say that bots are listed.
    pub(crate) fn registry_if_named(&self, flags: &Registry) -> Result<Option<RegistryAt>, Error> {
        let file = &self.file.reembed.registry;
        // A flag for one wins over a line for the other.
        let (table, list) = match (&flags.bot_table, &flags.bot_file) {
            (None, None) => (file.bot_table.clone(), file.bot_file.clone()),
            given => (given.0.clone(), given.1.clone()),
        };
        match (table, list) {
            (Some(_), Some(_)) => Err(Mistake::new(
                "[bots] names a table and a file",
                "bots are listed in one place: leave out `table` or `file`",
            )
            .into()),
            (None, Some(list)) => Ok(Some(RegistryAt::File(list))),
            (Some(name), None) => {
                let full_scan = flags.full_scan || file.full_scan;
                Ok(Some(RegistryAt::Table { name, full_scan }))
            }
            (None, None) => Ok(None),
        }
    }

    /// The embedding model; `application` is the region of Bedrock that a Bedrock Chat container is given.
    pub(crate) fn model(
        &self,
        flags: &Embedding,
        application: Option<String>,
    ) -> Result<ModelSettings, Error> {
        let file = &self.file.reembed.embedding;
        let text =
            |flag: &Option<String>, file: &Option<String>| flag.clone().or_else(|| file.clone());
        let id = text(&flags.model, &file.model);
        let folder = flags.model_folder.clone().or_else(|| file.model_folder.clone());
        let at = match flags.provider.or(file.provider).unwrap_or(Provider::Bedrock) {
            Provider::Bedrock => ModelAt::Bedrock {
                region: text(&flags.model_region, &file.model_region).or(application),
            },
            Provider::Openai => match (text(&flags.model_url, &file.model_url), &id) {
                (Some(url), Some(_)) => ModelAt::OpenAi { url },
                _ => return Err(incomplete("openai", "--model-url URL and --model ID")),
            },
            Provider::Local => match folder {
                Some(folder) => ModelAt::Local { folder },
                None => return Err(incomplete("local", "--model-folder DIR")),
            },
        };
        let id = id.unwrap_or_else(|| match &at {
            ModelAt::Local { folder } => {
                let name = folder.file_name().unwrap_or(folder.as_os_str());
                name.to_string_lossy().into_owned()
            }
            _ => DEFAULT_MODEL.to_owned(),
        });
        Ok(ModelSettings {
            at,
            id,
            dimensions: flags.dimensions.or(file.dimensions).map(|n| n as usize),
            source_model: text(&flags.source_model, &file.source_model)
                .unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
            requests_per_minute: flags.requests_per_minute.or(file.requests_per_minute),
            tokens_per_minute: flags.tokens_per_minute.or(file.tokens_per_minute),
            price: flags.price.or(file.price),
        })
    }

    /// How documents are read; `application` is a Bedrock Chat container's bucket.
    pub(crate) fn documents(
        &self,
        flags: &Documents,
        application: Option<String>,
    ) -> DocumentSettings {
        let file = &self.file.reembed.documents;
        let allowed = [&flags.allow_private, &file.allow_private];
        DocumentSettings {
            bucket: flags.bucket.clone().or_else(|| file.bucket.clone()).or(application),
            lost: flags.lost_documents.or(file.lost_documents).unwrap_or(LostDocuments::Fail),
            allow_private: chosen(allowed),
            respect_robots: !(flags.ignore_robots || file.ignore_robots),
            max_page: flags.max_page.or(file.max_page).unwrap_or(64 << 20),
            timeout: flags
                .document_timeout
                .or(file.document_timeout)
                .unwrap_or(Duration::from_secs(300)),
        }
    }

    /// How tasks are started.
    pub(crate) fn tasks(&self, flags: &Tasks) -> Result<TaskSettings, Error> {
        let file = &self.file.reembed.tasks;
        let text =
            |flag: &Option<String>, file: &Option<String>| flag.clone().or_else(|| file.clone());
        let at = match flags.runner.or(file.runner).unwrap_or(Runner::Local) {
            Runner::Local => RunnerAt::Local,
            Runner::Ecs => {
                let cluster = text(&flags.cluster, &file.cluster);
                let definition = text(&flags.task_definition, &file.task_definition);
                let subnets = chosen([&flags.subnets, &file.subnets]);
                let (Some(cluster), Some(task_definition), false) =
                    (cluster, definition, subnets.is_empty())
                else {
                    let what = "the runner ecs needs a cluster, a task definition and subnets";
                    return Err(Mistake::new(
                        what,
                        "pass --cluster, --task-definition and --subnets, or write [tasks] into vecferry.toml; \
                         they are outputs of the application's CloudFormation stack",
                    )
                    .into());
                };
                RunnerAt::Ecs(EcsAt {
                    cluster,
                    task_definition,
                    container: text(&flags.container, &file.container)
                        .unwrap_or_else(|| "Container".to_owned()),
                    subnets,
                    security_groups: chosen([&flags.security_groups, &file.security_groups]),
                    assign_public_ip: flags.assign_public_ip || file.assign_public_ip,
                })
            }
        };
        Ok(TaskSettings {
            at,
            launch_rate: flags.launch_rate.or(file.launch_rate),
            in_flight: flags.in_flight.or(file.in_flight).map(|n| n as usize),
            attempts: flags.attempts.or(file.attempts).unwrap_or(3),
            poll: flags.poll.or(file.poll).unwrap_or(Duration::from_secs(5)),
            busy_wait: flags.busy_wait.or(file.busy_wait).unwrap_or(Duration::from_secs(1800)),
        })
    }

    /// The SQLite file of the state, when it is not kept on the target.
    pub(crate) fn state(&self, flags: &Store) -> Option<PathBuf> {
        flags.state.clone().or_else(|| self.file.reembed.state.clone())
    }
}

/// The flag's list, or the file's when there is none.
fn chosen([flag, file]: [&Vec<String>; 2]) -> Vec<String> {
    if flag.is_empty() { file.clone() } else { flag.clone() }
}

fn incomplete(provider: &str, needs: &str) -> Error {
    let what = format!("the provider {provider} needs {needs}");
    Mistake::new(what, "pass them, or write [embedding] into vecferry.toml").into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::File;

    fn settings(file: &str) -> Settings {
        let file = File::parse(file, Path::new("/etc/ferry/vecferry.toml")).unwrap();
        Settings::of(file)
    }

    #[test]
    fn bots_are_listed_in_one_place_and_a_flag_wins() {
        let of = settings("[bots]\ntable = 'A'\nfull_scan = true");
        let table = |name: &str| RegistryAt::Table { name: name.into(), full_scan: true };
        assert_eq!(of.registry(&Registry::default(), Some("env".into())).unwrap(), table("A"));
        let flag = Registry { bot_file: Some("b.toml".into()), ..Registry::default() };
        assert_eq!(of.registry(&flag, None).unwrap(), RegistryAt::File("b.toml".into()));
        let none = settings("");
        assert!(none.registry(&Registry::default(), None).is_err());
        let application = none.registry(&Registry::default(), Some("env".into())).unwrap();
        assert_eq!(application, RegistryAt::Table { name: "env".into(), full_scan: false });
        assert!(
            settings("[bots]\ntable = 'A'\nfile = 'b'")
                .registry(&Registry::default(), None)
                .is_err()
        );
    }

    #[test]
    fn a_local_model_is_named_after_its_folder_which_is_relative_to_the_file() {
        let of = settings("[embedding]\nprovider = 'local'\nfolder = 'mini'\nprice = 0.5");
        let model = of.model(&Embedding::default(), None).unwrap();
        assert_eq!(model.at, ModelAt::Local { folder: "/etc/ferry/mini".into() });
        assert_eq!((model.id.as_str(), model.price), ("mini", Some(0.5)));
        let bedrock = settings("").model(&Embedding::default(), Some("eu-west-1".into())).unwrap();
        assert_eq!(bedrock.at, ModelAt::Bedrock { region: Some("eu-west-1".into()) });
        assert_eq!(bedrock.id, bedrock.source_model);
        let openai = Embedding { provider: Some(Provider::Openai), ..Embedding::default() };
        assert!(settings("").model(&openai, None).is_err());
    }

    #[test]
    fn a_service_may_cost_nothing() {
        let price = |text: &str| File::parse(text, Path::new("f")).map(Settings::of);
        let free = price("[embedding]\nprice = 0").unwrap();
        assert_eq!(free.model(&Embedding::default(), None).unwrap().price, Some(0.0));
        assert!(price("[embedding]\nprice = -1").is_err());
        assert!(price("[tasks]\nlaunch_rate = 0").is_err());
    }

    #[test]
    fn ecs_needs_to_know_where_and_what() {
        let of = settings("[tasks]\nrunner = 'ecs'\ncluster = 'c'\nsubnets = ['a', 'b']");
        assert!(of.tasks(&Tasks::default()).is_err());
        let flags = Tasks { task_definition: Some("t:1".into()), ..Tasks::default() };
        let RunnerAt::Ecs(at) = of.tasks(&flags).unwrap().at else { panic!("not ecs") };
        assert_eq!((at.container.as_str(), at.subnets.len()), ("Container", 2));
        assert_eq!(settings("").tasks(&Tasks::default()).unwrap().at, RunnerAt::Local);
    }
}
