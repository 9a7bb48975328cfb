//! The command line of `restore`, and of the temporary cluster in `migrate` and `cleanup`.

use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::PriceFile;
use crate::units::{parse_duration, parse_rate};

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Snapshot to restore, by identifier or ARN [default: the newest one of the only cluster that is gone]
    ///
    /// Also what `--source snapshot:ID` names.
    #[arg(long, value_name = "ID", env = "VECFERRY_SNAPSHOT", hide_env_values = true)]
    pub(crate) snapshot: Option<String>,
    /// List the snapshots that could be restored, with what speaks for each, and change nothing
    #[arg(long, env = "VECFERRY_LIST", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) list: bool,
    /// Show what would be made and what it costs, and change nothing
    #[arg(long, env = "VECFERRY_DRY_RUN", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) dry_run: bool,
    /// Make nothing when a day of it at its most may cost more than this many USD [default: no limit]
    #[arg(long, value_name = "USD", env = "VECFERRY_MAX_COST", hide_env_values = true,
          value_parser = parse_rate)]
    pub(crate) max_cost: Option<f64>,
    /// Make it without asking
    #[arg(short = 'y', long, env = "VECFERRY_YES", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) temporary: TemporaryCluster,
    #[command(flatten)]
    pub(crate) at: TargetAt,
    #[command(flatten)]
    pub(crate) prices: PriceFile,
}

/// What a snapshot is restored as.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Temporary cluster")]
pub(crate) struct TemporaryCluster {
    /// Cluster whose data is wanted, by identifier, gone or not [default: the one at --source, or the only one gone]
    #[arg(long, value_name = "ID", env = "VECFERRY_SOURCE_CLUSTER", hide_env_values = true)]
    pub(crate) source_cluster: Option<String>,
    /// Take a snapshot of it first, when it is still there; asked for on a terminal
    #[arg(long, env = "VECFERRY_TAKE_SNAPSHOT", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) take_snapshot: bool,
    /// Database in the snapshot [default: called like the target's]
    #[arg(long, value_name = "NAME", env = "VECFERRY_SOURCE_DATABASE", hide_env_values = true)]
    pub(crate) source_database: Option<String>,
    /// Security group of the temporary cluster; repeatable [default: those of the target's cluster]
    #[arg(
        long = "security-group",
        id = "temporary_security_group",
        value_name = "ID",
        env = "VECFERRY_SECURITY_GROUP",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) security_groups: Vec<String>,
    /// Encrypt its storage with this KMS key, or with the account's own for RDS [default: as the snapshot is]
    #[arg(
        long,
        value_name = "KEY",
        env = "VECFERRY_ENCRYPT",
        hide_env_values = true,
        num_args = 0..=1,
        default_missing_value = "alias/aws/rds"
    )]
    pub(crate) encrypt: Option<String>,
    /// Least capacity in ACUs [default: 2]
    #[arg(long, value_name = "ACUS", env = "VECFERRY_MIN_CAPACITY", hide_env_values = true)]
    pub(crate) min_capacity: Option<f64>,
    /// Most capacity in ACUs [default: 16]
    #[arg(long, value_name = "ACUS", env = "VECFERRY_MAX_CAPACITY", hide_env_values = true)]
    pub(crate) max_capacity: Option<f64>,
    /// Raise the least capacity of the target's cluster to this many ACUs until cleanup [default: as it is]
    ///
    /// What it was is kept as a tag of that cluster, whatever becomes of this process.
    #[arg(
        long,
        value_name = "ACUS",
        env = "VECFERRY_RAISE_TARGET_CAPACITY",
        hide_env_values = true
    )]
    pub(crate) raise_target_capacity: Option<f64>,
    /// Instance class, where it is not to be serverless [default: db.serverless]
    #[arg(long, value_name = "CLASS", env = "VECFERRY_INSTANCE_CLASS", hide_env_values = true)]
    pub(crate) instance_class: Option<String>,
    /// Engine version, where RDS has that of the snapshot no more [default: the snapshot's]
    #[arg(long, value_name = "VERSION", env = "VECFERRY_ENGINE_VERSION", hide_env_values = true)]
    pub(crate) engine_version: Option<String>,
}

/// The target in RDS, and how long RDS is waited for.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "RDS")]
pub(crate) struct TargetAt {
    /// The target's cluster, by identifier, when it is reached through a tunnel [default: the one at the target's address]
    #[arg(long, value_name = "ID", env = "VECFERRY_TARGET_CLUSTER", hide_env_values = true)]
    pub(crate) target_cluster: Option<String>,
    /// How long RDS is waited for; what was begun goes on and is found again [default: 60min]
    #[arg(long, value_name = "TIME", env = "VECFERRY_WAIT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,
    /// Longest pause between two looks at RDS [default: 15s]
    #[arg(long, value_name = "TIME", env = "VECFERRY_LOOK_EVERY", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) look_every: Option<Duration>,
}
