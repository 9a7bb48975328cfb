//! The command lines of `bots`, `worker` and of re-embedding in `migrate`. Each group is also what a table of the
//! settings file is read into, so that flag, variable and file are one list (see [`crate::settings`]).

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use super::PriceFile;
use crate::units::{parse_count, parse_duration, parse_price, parse_rate, parse_size};

/// Arguments of `bots`.
#[derive(Debug, Args)]
pub(crate) struct Bots {
    #[command(flatten)]
    pub(crate) selection: BotSelection,
    #[command(flatten)]
    pub(crate) registry: Registry,
    #[command(flatten)]
    pub(crate) store: Store,
}

/// Arguments of `worker`.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The bot as its registry knows it, OWNER/ID [default: EVENT, or the keys after the options]
    #[arg(long, value_name = "OWNER/ID", env = "VECFERRY_BOT", hide_env_values = true)]
    pub(crate) bot: Option<String>,
    /// Read one document and print its text (the worker starts itself this way)
    #[arg(long, hide = true, env = "VECFERRY_EXTRACT", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) extract: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
    #[command(flatten)]
    pub(crate) embedding: Embedding,
    #[command(flatten)]
    pub(crate) documents: Documents,
    /// What a Bedrock Chat launch hands over: `{"PK":{"S":…},"SK":{"S":…}}`, alone or after `-u embedding/main.py`
    #[arg(value_name = "KEYS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) keys: Vec<String>,
}

/// What only re-embedding asks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reembed {
    /// Show what would be done, with tokens, costs and hours where bots are embedded; check as the run would, with the
    /// same exit code, and change nothing
    #[arg(long, env = "VECFERRY_DRY_RUN", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) dry_run: bool,
    /// Leave out items of the registry whose shape is unknown, instead of stopping at them
    #[arg(long, env = "VECFERRY_SKIP_ODD", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) skip_odd: bool,
    /// Start nothing when the estimate is above this many USD [default: no limit]
    #[arg(long, value_name = "USD", env = "VECFERRY_MAX_COST", hide_env_values = true,
          value_parser = parse_rate)]
    pub(crate) max_cost: Option<f64>,
    #[command(flatten)]
    pub(crate) selection: BotSelection,
    #[command(flatten)]
    pub(crate) registry: Registry,
    #[command(flatten)]
    pub(crate) embedding: Embedding,
    #[command(flatten)]
    pub(crate) documents: Documents,
    #[command(flatten)]
    pub(crate) tasks: Tasks,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) prices: PriceFile,
}

/// Which bots take part.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Bots")]
pub(crate) struct BotSelection {
    /// Only these bots: an id, `owner:NAME` or `title:PATTERN` with * and ?; repeatable [default: all bots]
    ///
    /// Several of one kind add up; a bot must fit every kind that is given.
    #[arg(
        long,
        value_name = "WHICH",
        env = "VECFERRY_BOTS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) bots: Vec<String>,
}

/// Where bots are listed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry of bots")]
pub(crate) struct Registry {
    /// Bedrock Chat's DynamoDB table [default: TABLE_NAME, or none]
    #[arg(
        long,
        value_name = "NAME",
        env = "VECFERRY_BOT_TABLE",
        hide_env_values = true,
        conflicts_with = "bot_file"
    )]
    pub(crate) bot_table: Option<String>,
    /// TOML or JSON file that lists bots and their documents [default: none]
    ///
    /// For example: `[[bots]]`, `id = "handbook"`, `title = "Staff handbook"`, `folders = ["docs"]`,
    /// `urls = ["https://example.com/faq"]`, `sitemaps = […]`, `files = […]`, `s3 = […]`, `videos = […]`,
    /// `chunk_chars = 1000`, `chunk_overlap = 200`.
    #[arg(long, value_name = "FILE", env = "VECFERRY_BOT_FILE", hide_env_values = true)]
    pub(crate) bot_file: Option<PathBuf>,
    /// Read the whole table instead of its index LastBotUsedIndex
    #[arg(long, env = "VECFERRY_FULL_SCAN", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) full_scan: bool,
}

/// The AWS account; every command takes it, for secrets at least.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "AWS")]
pub(crate) struct Aws {
    /// Region [default: that of the AWS CLI]
    #[arg(
        long,
        global = true,
        value_name = "REGION",
        env = "VECFERRY_REGION",
        hide_env_values = true
    )]
    pub(crate) region: Option<String>,
    /// Profile of the shared configuration [default: that of the AWS CLI]
    #[arg(
        long,
        global = true,
        value_name = "PROFILE",
        env = "VECFERRY_PROFILE",
        hide_env_values = true
    )]
    pub(crate) profile: Option<String>,
}

/// The embedding model.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Embedding model")]
pub(crate) struct Embedding {
    /// Who runs the model [default: bedrock]
    #[arg(long, value_name = "WHO", env = "VECFERRY_PROVIDER", hide_env_values = true)]
    pub(crate) provider: Option<Provider>,
    /// The model's id [default: cohere.embed-multilingual-v3]
    #[arg(long, value_name = "ID", env = "VECFERRY_MODEL", hide_env_values = true)]
    pub(crate) model: Option<String>,
    /// Length of its vectors, where the model offers several [default: that of the target's column]
    #[arg(long, value_name = "N", env = "VECFERRY_DIMENSIONS", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=16000))]
    pub(crate) dimensions: Option<u32>,
    /// Region of Bedrock, where it is another one [default: BEDROCK_REGION, or --region]
    #[arg(long, value_name = "REGION", env = "VECFERRY_MODEL_REGION", hide_env_values = true)]
    pub(crate) model_region: Option<String>,
    /// Address of an OpenAI-compatible service, up to /v1 [default: none]
    ///
    /// Its key is read from VECFERRY_MODEL_KEY.
    #[arg(long, value_name = "URL", env = "VECFERRY_MODEL_URL", hide_env_values = true)]
    pub(crate) model_url: Option<String>,
    /// Folder of a sentence-transformer to run here [default: none]
    #[arg(long, value_name = "DIR", env = "VECFERRY_MODEL_FOLDER", hide_env_values = true)]
    pub(crate) model_folder: Option<PathBuf>,
    /// The model that the source's embeddings were made with [default: cohere.embed-multilingual-v3]
    ///
    /// Where it is --model, a chunk whose text has not changed takes its embedding from the source instead of being
    /// paid for again.
    #[arg(long, value_name = "ID", env = "VECFERRY_SOURCE_MODEL", hide_env_values = true)]
    pub(crate) source_model: Option<String>,
    /// Calls per minute that the model allows, over all tasks [default: as many as it answers]
    #[arg(long, value_name = "N", env = "VECFERRY_REQUESTS_PER_MINUTE", hide_env_values = true,
          value_parser = parse_count)]
    pub(crate) requests_per_minute: Option<u64>,
    /// Tokens per minute that the model allows, over all tasks [default: as many as it answers]
    #[arg(long, value_name = "N", env = "VECFERRY_TOKENS_PER_MINUTE", hide_env_values = true,
          value_parser = parse_count)]
    pub(crate) tokens_per_minute: Option<u64>,
    /// Price of a million tokens in USD, 0 where they are free [default: that of --prices, else the published one, where it
    /// is known]
    #[arg(long, value_name = "USD", env = "VECFERRY_PRICE", hide_env_values = true,
          value_parser = parse_price)]
    pub(crate) price: Option<f64>,
}

/// Who runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// Amazon Bedrock
    Bedrock,
    /// An OpenAI-compatible service, see --model-url
    Openai,
    /// This process, see --model-folder
    Local,
}

/// The documents.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Documents")]
pub(crate) struct Documents {
    /// Bucket of uploaded files [default: DOCUMENT_BUCKET, or none]
    #[arg(long, value_name = "NAME", env = "VECFERRY_BUCKET", hide_env_values = true)]
    pub(crate) bucket: Option<String>,
    /// What becomes of a bot with documents that cannot be embedded [default: fail]
    #[arg(long, value_name = "HOW", env = "VECFERRY_LOST_DOCUMENTS", hide_env_values = true)]
    pub(crate) lost_documents: Option<LostDocuments>,
    /// Hosts or networks inside private address ranges that pages may be read from; repeatable [default: none]
    #[arg(
        long,
        value_name = "HOST|CIDR",
        env = "VECFERRY_ALLOW_PRIVATE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) allow_private: Vec<String>,
    /// Read pages whether or not robots.txt allows it
    #[arg(long, env = "VECFERRY_IGNORE_ROBOTS", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) ignore_robots: bool,
    /// Largest document that is read from the web [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "VECFERRY_MAX_PAGE", hide_env_values = true,
          value_parser = parse_size)]
    pub(crate) max_page: Option<u64>,
    /// How long one document may take to be fetched, and again to be read [default: 5min]
    #[arg(long, value_name = "TIME", env = "VECFERRY_DOCUMENT_TIMEOUT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) document_timeout: Option<Duration>,
}

/// What becomes of a bot with documents that cannot be embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LostDocuments {
    /// It keeps its old rows and is failed, with the reasons
    Fail,
    /// The other documents are replaced, the old rows of these stay
    KeepOld,
    /// It goes without them
    Accept,
}

/// How workers are started.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Tasks")]
pub(crate) struct Tasks {
    /// Where workers run [default: local]
    #[arg(long, value_name = "WHERE", env = "VECFERRY_RUNNER", hide_env_values = true)]
    pub(crate) runner: Option<Runner>,
    /// ECS cluster [default: none]
    #[arg(long, value_name = "NAME", env = "VECFERRY_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Option<String>,
    /// ECS task definition, family or family:revision [default: none]
    #[arg(long, value_name = "NAME", env = "VECFERRY_TASK_DEFINITION", hide_env_values = true)]
    pub(crate) task_definition: Option<String>,
    /// Its container that is the worker [default: Container]
    #[arg(long, value_name = "NAME", env = "VECFERRY_CONTAINER", hide_env_values = true)]
    pub(crate) container: Option<String>,
    /// Subnets of the tasks; repeatable [default: none]
    #[arg(
        long,
        value_name = "ID",
        env = "VECFERRY_SUBNETS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) subnets: Vec<String>,
    /// Security groups of the tasks; repeatable [default: the VPC's own]
    #[arg(
        long,
        value_name = "ID",
        env = "VECFERRY_SECURITY_GROUPS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) security_groups: Vec<String>,
    /// Give tasks a public address, for public subnets
    #[arg(long, env = "VECFERRY_ASSIGN_PUBLIC_IP", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) assign_public_ip: bool,
    /// Tasks started per second at most [default: what ECS allows an account, less a fifth for its other users]
    #[arg(long, value_name = "N", env = "VECFERRY_LAUNCH_RATE", hide_env_values = true,
          value_parser = parse_rate)]
    pub(crate) launch_rate: Option<f64>,
    /// Tasks at the same time [default: what the account allows, at most 50; 4 for local]
    #[arg(long, value_name = "N", env = "VECFERRY_IN_FLIGHT", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) in_flight: Option<u32>,
    /// Tasks started for one bot before it is failed [default: 3]
    #[arg(long, value_name = "N", env = "VECFERRY_ATTEMPTS", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) attempts: Option<u32>,
    /// How often running tasks are looked at [default: 5s]
    #[arg(long, value_name = "TIME", env = "VECFERRY_POLL", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) poll: Option<Duration>,
    /// How long to wait for a bot that somebody else's task works on [default: 30min]
    #[arg(long, value_name = "TIME", env = "VECFERRY_BUSY_WAIT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) busy_wait: Option<Duration>,
}

/// Where workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runner {
    /// In this process
    Local,
    /// As tasks of Amazon ECS
    Ecs,
}

/// Where the state of a re-embedding is kept.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct Store {
    /// SQLite file for the state, when this machine has no route to the target [default: the target itself]
    #[arg(long, value_name = "FILE", env = "VECFERRY_STATE", hide_env_values = true)]
    pub(crate) state: Option<PathBuf>,
}
