//! Which bots a delta would embed anew: the comparison that `migrate --method delta` makes before it asks, made for the
//! plan. It reads the registry, the source's rows by document and the document store, and writes nothing.
//!
//! A plan must not fail for it, nor take for ever: whatever stands in the way is said, and the plan shows the range from
//! none of the bots to all.

use std::collections::HashSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vecferry_core::Error as CoreError;
use vecferry_core::bot::BotKey;
use vecferry_core::delta::Terms;
use vecferry_core::plan::{Facts, Models, Unread};
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::reembed::estimate::Estimate;

use super::in_words;
use crate::cli;
use crate::commands::delta::{Look, yet_to_come};
use crate::commands::reembed::Outlook;
use crate::error::Error;
use crate::settings::Settings;
use crate::ui::Ui;

/// How long a comparison may take: the plan's other readings of a knowledge base of some GB take as long. A delta itself
/// takes the time it needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a comparison is made of.
pub(super) struct Question<'a> {
    pub(super) args: &'a cli::Plan,
    pub(super) settings: &'a Settings,
    pub(super) clusters: &'a Result<Facts, Unread>,
    pub(super) models: &'a Models,
    pub(super) outlook: &'a Outlook,
}

impl Question<'_> {
    /// What embedding the bots takes that changed, or why they were not compared.
    ///
    /// # Errors
    /// [`CoreError::Interrupted`] alone.
    pub(super) async fn answer(
        &self,
        cancel: &CancellationToken,
        ui: &Ui,
    ) -> Result<Result<Estimate, String>, Error> {
        let (clusters, policy, terms) = match self.comparable().await {
            Ok(comparable) => comparable,
            Err(why) => return Ok(Err(why)),
        };
        ui.say("comparing bots and documents with the source, as a delta would");
        let Outlook { shop, listing, .. } = self.outlook;
        let (clusters, policy) = (&clusters, &policy);
        let look = Look { clusters, policy, terms, shop, restart: false };
        let compared = tokio::time::timeout(PATIENCE, look.compare(listing, None));
        let Some(compared) = cancel.run_until_cancelled(compared).await else {
            return Err(CoreError::Interrupted.into());
        };
        Ok(match compared {
            Ok(Ok(delta)) => {
                let chosen: HashSet<&BotKey> = delta.chosen().map(|bot| &bot.key).collect();
                let fresh = delta.fresh();
                Ok(self.outlook.estimate_of(|bot| chosen.contains(&bot.key), &fresh))
            }
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err(format!("comparing them takes longer than {} s", PATIENCE.as_secs())),
        })
    }

    /// What is compared, unless a delta could not be, or nobody can read what it is measured by.
    async fn comparable(&self) -> Result<(Clusters, Policy, Terms), String> {
        let Question { args, settings, .. } = self;
        if let Err(unread) = self.clusters {
            return Err(format!("the source is not there to be compared: {}", unread.why));
        }
        if !self.models.are_one() {
            return Err("the model changes".into());
        }
        if settings.knowledge().bot.is_none() {
            return Err("[knowledge] names no column for the bot".into());
        }
        if !args.embedding.selection.bots.is_empty() {
            return Err("a delta decides about every bot, and --bots narrows the plan".into());
        }
        let delta = &args.embedding.delta;
        let taken_at = settings.source_time(delta).await.map_err(|error| in_words(&error))?;
        let Some(taken_at) = taken_at else {
            return Err("--source-time does not say when the source was as it is".into());
        };
        if let Some(why) = yet_to_come(taken_at) {
            return Err(why);
        }
        let clusters = settings.clusters().await.map_err(|error| in_words(&error))?;
        let terms = Terms { taken_at, web: settings.web(delta).unwrap_or_default() };
        let policy = settings.policy(&args.selection, &args.work);
        Ok((clusters, Policy { method: Some(Method::Delta), ..policy }, terms))
    }
}
