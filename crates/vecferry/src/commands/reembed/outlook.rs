//! What embedding the bots of a registry takes, for `plan`: the same estimate that a run shows before it starts.

use std::collections::HashMap;

use vecferry_core::Side;
use vecferry_core::bot::{Bot, BotKey};
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::estimate::{Estimate, Fresh};
use vecferry_core::reembed::registry::Listing;

use super::shop::{Ready, Shop, resolve_with};
use crate::cli::Reembed;
use crate::commands::bots::selection;
use crate::error::Error;
use crate::settings::Settings;
use crate::ui::Ui;

/// What a plan needs to know of bots.
pub(in crate::commands) struct Outlook {
    /// Registry, model and documents.
    pub(in crate::commands) shop: Shop,
    /// The bots that are selected.
    pub(in crate::commands) listing: Listing,
    ready: Ready,
}

impl Outlook {
    /// What embedding all of them takes.
    pub(in crate::commands) fn estimate(&self) -> &Estimate {
        self.ready.estimate()
    }

    /// What embedding those of them takes that are wanted, with what a comparison has learnt of them.
    pub(in crate::commands) fn estimate_of(
        &self,
        wanted: impl Fn(&Bot) -> bool,
        fresh: &HashMap<BotKey, Fresh>,
    ) -> Estimate {
        self.shop.estimate_of(&self.ready, &self.listing, wanted, fresh)
    }
}

/// Reads the registry, and the bots' sizes from the source where it can be read. Starts and pays nothing.
///
/// # Errors
/// When settings are missing, or the registry, the target or the runner does not answer.
pub(in crate::commands) async fn outlook(
    flags: &Reembed,
    settings: &Settings,
    source: Option<Dsn>,
    ui: &Ui,
) -> Result<Outlook, Error> {
    let resolved = resolve_with(flags, settings, source).await?;
    let shop = Shop::open(resolved, flags, settings, Side::Target).await?;
    ui.say(&format!("reading bots and sizes of documents in {}", shop.registry()));
    let listing = selection(&flags.selection)?.apply(shop.listing(flags.skip_odd).await?)?;
    let ready = shop.ready(&listing, &HashMap::new(), ui).await?;
    Ok(Outlook { shop, listing, ready })
}
