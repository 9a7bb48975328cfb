//! The temporary cluster in `status`: it is paid for as long as it stands.

use serde::Serialize;
use vecferry_aws::cluster::Temporary;
use vecferry_core::error::on_one_line;

use super::offer::{PerHour, per_hour};
use crate::cli::PriceFile;
use crate::error::Error;
use crate::settings::Settings;
use crate::ui::Ui;

/// A temporary cluster and its price.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    #[serde(flatten)]
    temporary: Temporary,
    /// USD without its storage; unknown for classes that are not serverless.
    usd_per_hour: Option<PerHour>,
}

impl Standing {
    /// Looks, when the source is a snapshot. What AWS does not tell keeps no status back.
    pub(crate) async fn look(settings: &Settings, ui: &Ui) -> Result<Option<Standing>, Error> {
        if settings.snapshot().is_none() {
            return Ok(None);
        }
        let prices = settings.prices(&PriceFile::default())?;
        match settings.temporary().await {
            Ok(found) => Ok(found.map(|temporary| Standing {
                usd_per_hour: temporary.capacity.map(|range| per_hour(range, 0, &prices)),
                temporary,
            })),
            Err(Error::Core(error)) => {
                let why = on_one_line(&error);
                ui.say(&format!("whether a temporary cluster stands cannot be seen: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Temporary { cluster, status, ready, .. } = &self.temporary;
        let state = if *ready { "can be used" } else { "`vecferry restore` goes on with it" };
        let costs = self.usd_per_hour.map_or(String::new(), |usd| {
            format!(
                ", about ${:.2} to ${:.2} an hour until `vecferry cleanup`",
                usd.least, usd.most
            )
        });
        format!("cluster {cluster} is {status}, {state}{costs}")
    }
}
