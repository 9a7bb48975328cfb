//! The flag of what prices are read from.

use std::path::PathBuf;

use clap::Args;

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
