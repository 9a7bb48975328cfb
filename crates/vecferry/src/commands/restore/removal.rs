//! The temporary cluster in `cleanup`: what was made for the target is listed and removed with the rest.

use vecferry_aws::Account;
use vecferry_aws::cluster::{Holding, Kind, Patience, TargetName, holdings, remove};
use vecferry_core::Side;
use vecferry_core::cleanup::Leftover;
use vecferry_core::error::on_one_line;
use vecferry_core::pg::Dsn;

use super::progress::Told;
use crate::cli::TargetAt;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::settings::Settings;
use crate::ui::Ui;

/// What a line of the list calls the temporary cluster.
pub(crate) const TEMPORARY_CLUSTER: &str = Kind::Cluster.as_str();

/// What was made in AWS for a target.
pub(crate) struct Made {
    account: Account,
    target: TargetName,
    holdings: Vec<Holding>,
    patience: Patience,
}

impl Made {
    /// Looks, where there may be something: the source is a snapshot, or the target is a cluster of RDS. `None` when
    /// there can be nothing, or, unless the source is a snapshot, when AWS cannot be asked.
    pub(crate) async fn look(
        settings: &Settings,
        target: &Dsn,
        at: &TargetAt,
        ui: &Ui,
    ) -> Result<Option<Made>, Error> {
        let identifier = settings.target_cluster();
        let from_snapshot = settings.snapshot().is_some();
        let name = TargetName::from(target);
        if !(from_snapshot || identifier.is_some() || name.is_of_rds()) {
            return Ok(None);
        }
        let account = settings.account().await;
        match holdings(&account, &name, identifier).await {
            Ok(holdings) => {
                let patience = settings.patience(at);
                Ok(Some(Made { account, target: name, holdings, patience }))
            }
            Err(error) if from_snapshot => Err(error.into()),
            Err(error) => {
                let why = on_one_line(&error);
                ui.say(&format!("whether a temporary cluster stands cannot be seen: {why}"));
                Ok(None)
            }
        }
    }

    /// As lines of the list.
    pub(crate) fn leftovers(&self) -> Vec<Leftover> {
        let line = |holding: &Holding| Leftover {
            side: match holding.kind {
                Kind::Capacity | Kind::Reservation => Side::Target,
                _ => Side::Source,
            },
            kind: holding.kind.as_str().to_owned(),
            name: holding.id.clone(),
            effect: holding.effect.clone(),
            kept: holding.kept,
        };
        self.holdings.iter().map(line).collect()
    }

    /// Removes it.
    pub(crate) async fn remove(&self, ui: &Ui) -> Result<(), Error> {
        if self.holdings.is_empty() {
            return Ok(());
        }
        let interrupt = Interrupt::listen(ui)?;
        let told = Told::beside_a_result(ui);
        let report = |progress: &_| told.show(progress);
        let both = (&report as _, &interrupt.token);
        Ok(remove(&self.account, &self.target, &self.holdings, self.patience, both).await?)
    }
}
