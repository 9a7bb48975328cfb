//! The command lines of `cutover` and `rollback`.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use super::{Selection, Yes};
use crate::units::{parse_duration, parse_size};

/// Arguments of `cutover`.
#[derive(Debug, Args)]
pub(crate) struct Cutover {
    /// Set up no link back to the source; a rollback is then not possible
    #[arg(long, env = "VECFERRY_NO_WAY_BACK", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) no_way_back: bool,
    /// The most that the target may be behind when the cutover begins [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "VECFERRY_MAX_LAG", hide_env_values = true,
          value_parser = parse_size)]
    pub(crate) max_lag: Option<u64>,
    #[command(flatten)]
    pub(crate) crossing: Crossing,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The most that the source may be behind when the rollback begins [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "VECFERRY_MAX_LAG", hide_env_values = true,
          value_parser = parse_size)]
    pub(crate) max_lag: Option<u64>,
    #[command(flatten)]
    pub(crate) crossing: Crossing,
}

/// What both ask.
#[derive(Debug, Args)]
pub(crate) struct Crossing {
    /// Say whether it would be done now, and change nothing
    #[arg(long, env = "VECFERRY_DRY_RUN", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) dry_run: bool,
    /// Command that points the application at the other cluster [default: none, you do it]
    ///
    /// Run by `sh -c` while writes are refused, with the cluster's address in PGHOST, PGPORT, PGUSER, PGPASSWORD,
    /// PGDATABASE, PGSSLMODE and VECFERRY_SWITCH_URL, and VECFERRY_SWITCH_TO set to target or source. Exit code 0
    /// means switched, any other not switched. It must be safe to repeat.
    #[arg(long, value_name = "COMMAND", env = "VECFERRY_SWITCH", hide_env_values = true)]
    pub(crate) switch: Option<String>,
    /// Secret of Secrets Manager that the application reads its database from, ARN or name [default: none]
    ///
    /// Its host, port, dbname, username and password become the other cluster's; all else stays, and the version
    /// before is kept under the label vecferry-MIGRATION. In place of --switch.
    #[arg(
        long,
        value_name = "SECRET",
        env = "VECFERRY_SWITCH_SECRET",
        hide_env_values = true,
        conflicts_with = "switch"
    )]
    pub(crate) switch_secret: Option<String>,
    /// Refuse writes on the cluster the application leaves, after a copy or delta too; a follow always does
    #[arg(long, env = "VECFERRY_FENCE", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) fence: bool,
    /// How long the switch may take; after it nobody knows, and the fence stays [default: 60s]
    #[arg(long, value_name = "TIME", env = "VECFERRY_SWITCH_TIMEOUT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) switch_timeout: Option<Duration>,
    /// What is proved while writes are refused: row counts, or every row by digest [default: quick]
    #[arg(long, value_name = "HOW", env = "VECFERRY_VERIFY", hide_env_values = true)]
    pub(crate) verify: Option<Proof>,
    /// How long one try of the fence waits for a lock; writes wait behind it [default: 1500ms]
    #[arg(long, value_name = "TIME", env = "VECFERRY_FENCE_TIMEOUT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) fence_timeout: Option<Duration>,
    /// How often the fence is tried [default: 15]
    #[arg(long, value_name = "N", env = "VECFERRY_FENCE_TRIES", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) fence_tries: Option<u32>,
    /// How long applying what was written before the fence may take [default: 60s]
    #[arg(long, value_name = "TIME", env = "VECFERRY_DRAIN_TIMEOUT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How many values beyond the ones in use sequences go on [default: 1000]
    #[arg(long, value_name = "N", env = "VECFERRY_SEQUENCE_MARGIN", hide_env_values = true)]
    pub(crate) sequence_margin: Option<u64>,
    /// The target as the source's server reaches it, for the way back [default: as --target]
    #[arg(long, value_name = "URL", env = "VECFERRY_TARGET_FROM_SOURCE", hide_env_values = true)]
    pub(crate) target_from_source: Option<String>,
    /// Connections that compare at the same time, on each side [default: 4]
    #[arg(long, value_name = "N", env = "VECFERRY_JOBS", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) jobs: Option<u32>,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// How much is proved while writes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proof {
    /// Structure and row counts by table and bot
    Quick,
    /// Every row by digest, and every vector; takes as long as reading both clusters
    Full,
}
