//! Which tables take part, and how rows are moved: what `check`, `plan` and `migrate` ask alike.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use crate::units::{parse_duration, parse_size};

/// Which tables take part.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Tables")]
pub(crate) struct Selection {
    /// Move only tables like this, schema.table with * and ?; repeatable [default: all user tables]
    #[arg(
        long,
        value_name = "PATTERN",
        env = "VECFERRY_INCLUDE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) include: Vec<String>,
    /// Leave tables like this; repeatable [default: none]
    #[arg(
        long,
        value_name = "PATTERN",
        env = "VECFERRY_EXCLUDE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) exclude: Vec<String>,
}

/// How the work is done.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct Work {
    /// Connections that copy at the same time, on each side [default: 4]
    #[arg(long, value_name = "N", env = "VECFERRY_JOBS", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) jobs: Option<u32>,
    /// Size of the part of a table that one connection copies at a time [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "VECFERRY_PART_SIZE", hide_env_values = true,
          value_parser = parse_size)]
    pub(crate) part_size: Option<u64>,
    /// What to do with rows that are on the target already [default: refuse]
    #[arg(long, value_name = "WHAT", env = "VECFERRY_EXISTING", hide_env_values = true)]
    pub(crate) existing: Option<Existing>,
    /// How long to wait for a lock that somebody holds, on either side [default: 30s]
    #[arg(long, value_name = "TIME", env = "VECFERRY_LOCK_TIMEOUT", hide_env_values = true,
          value_parser = parse_duration)]
    pub(crate) lock_timeout: Option<Duration>,
    /// Memory of the target that index builds may use together [default: detected]
    #[arg(long, value_name = "SIZE", env = "VECFERRY_INDEX_MEMORY", hide_env_values = true,
          value_parser = parse_size)]
    pub(crate) index_memory: Option<u64>,
    /// Indexes built at the same time [default: as many as the memory allows]
    #[arg(long, value_name = "N", env = "VECFERRY_INDEX_JOBS", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) index_jobs: Option<u32>,
    /// `lists` of IVFFlat indexes: as defined, or as many as suit the rows [default: keep]
    #[arg(long, value_name = "HOW", env = "VECFERRY_IVFFLAT_LISTS", hide_env_values = true)]
    pub(crate) ivfflat_lists: Option<IvfflatLists>,
    /// Directory of pg_dump and pg_restore [default: found on PATH]
    #[arg(long, value_name = "DIR", env = "VECFERRY_PG_BIN_DIR", hide_env_values = true)]
    pub(crate) pg_bin_dir: Option<PathBuf>,
    /// How often to go on by itself after a lost connection [default: 3]
    #[arg(long, value_name = "N", env = "VECFERRY_RETRIES", hide_env_values = true)]
    pub(crate) retries: Option<u32>,
}

/// How a source that stays in use is followed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Follow")]
pub(crate) struct Follow {
    /// Give tables of the source without a replica identity one; cleanup sets back what was there
    ///
    /// Updates and deletes of a table can be followed only when it has one, usually its primary key.
    #[arg(long, env = "VECFERRY_SET_REPLICA_IDENTITY", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) set_replica_identity: bool,
    /// The source as the target's server reaches it [default: as --source]
    ///
    /// Without a password it takes that of --source when the user is the same.
    #[arg(long, value_name = "URL", env = "VECFERRY_SOURCE_FROM_TARGET", hide_env_values = true)]
    pub(crate) source_from_target: Option<String>,
    /// The target as the source's server reaches it, for the way back after a cutover [default: as --target]
    ///
    /// Without a password it takes that of --target when the user is the same.
    #[arg(long, value_name = "URL", env = "VECFERRY_TARGET_FROM_SOURCE", hide_env_values = true)]
    pub(crate) target_from_source: Option<String>,
    /// When changes begin to be applied: after all indexes, or after the keys [default: auto]
    #[arg(long, value_name = "WHEN", env = "VECFERRY_APPLY_START", hide_env_values = true)]
    pub(crate) apply_start: Option<ApplyStart>,
}

/// When changes begin to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApplyStart {
    /// As the plan advises
    Auto,
    /// When every index is built: the builds are fastest, the source keeps the WAL written meanwhile
    Last,
    /// When the keys are built: the other indexes take longer, little WAL is kept
    First,
}

impl From<ApplyStart> for vecferry_core::policy::ApplyStart {
    fn from(start: ApplyStart) -> Self {
        match start {
            ApplyStart::Auto => Self::Auto,
            ApplyStart::Last => Self::Last,
            ApplyStart::First => Self::First,
        }
    }
}

/// What to do with rows that are on the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Existing {
    /// Do not start
    Refuse,
    /// Bots that have rows on the target keep them
    Keep,
    /// Replace the rows of the source's bots (asks first)
    Replace,
}

/// How many lists an IVFFlat index gets when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IvfflatLists {
    /// As many as its definition says
    Keep,
    /// As many as suit the rows that are there now
    Auto,
}

impl From<IvfflatLists> for vecferry_core::policy::IvfflatLists {
    fn from(lists: IvfflatLists) -> Self {
        match lists {
            IvfflatLists::Keep => Self::Keep,
            IvfflatLists::Auto => Self::Auto,
        }
    }
}

impl From<Existing> for vecferry_core::policy::Existing {
    fn from(existing: Existing) -> Self {
        match existing {
            Existing::Refuse => Self::Refuse,
            Existing::Keep => Self::Keep,
            Existing::Replace => Self::Replace,
        }
    }
}
