//! The flag of what prices are read from, and what `plan` asks besides clusters and tables.

use std::path::PathBuf;

use clap::Args;
use vecferry_core::plan::Range;

use super::{BotSelection, Delta, Documents, Embedding, Reembed, Registry, Tasks};
use crate::units::parse_rate;

/// What services cost.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Prices")]
pub(crate) struct PriceFile {
    /// TOML file of prices that go before the published ones, value by value [default: none]
    ///
    /// For example: `aurora_acu_hour = 0.14`, `fargate_vcpu_hour = 0.05`, `[embedding]`,
    /// `"cohere.embed-multilingual-v3" = 0.11`, all in USD.
    #[arg(long, value_name = "FILE", env = "VECFERRY_PRICES", hide_env_values = true)]
    pub(crate) prices: Option<PathBuf>,
}

/// What `plan` needs to know to price the methods that embed, and a source that is restored first.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlanEmbedding {
    /// Price the source as a snapshot that is restored into a temporary Aurora cluster, which takes so many ACUs while it
    /// is read [default: half way between the capacities that `restore` gives it]
    #[arg(
        long,
        value_name = "ACUS",
        env = "VECFERRY_TEMPORARY_CLUSTER",
        hide_env_values = true,
        num_args = 0..=1,
        require_equals = true,
        value_parser = parse_rate
    )]
    pub(crate) temporary_cluster: Option<Option<f64>>,
    #[command(flatten)]
    pub(crate) delta: Delta,
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
    pub(crate) prices: PriceFile,
}

impl PlanEmbedding {
    /// What a temporary cluster takes, given the least and the most that it may.
    pub(crate) fn acus(&self, least: f64, most: f64) -> Range {
        match self.temporary_cluster.flatten() {
            Some(acus) => Range { low: acus.min(least), expected: acus, high: acus.max(most) },
            None => Range { low: least, expected: f64::midpoint(least, most), high: most },
        }
    }

    /// As what re-embedding asks; items that are not understood are left out, for nothing is done.
    pub(crate) fn reembed(&self) -> Reembed {
        let PlanEmbedding { selection, registry, embedding, documents, tasks, prices, .. } =
            self.clone();
        Reembed {
            skip_odd: true,
            selection,
            registry,
            embedding,
            documents,
            tasks,
            prices,
            ..Reembed::default()
        }
    }
}
