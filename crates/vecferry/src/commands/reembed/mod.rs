//! `migrate --method reembed`: asks once, starts one task per bot, and sums up what was proven.

mod check;
mod consent;
mod outcome;
mod outlook;
mod shop;
mod size;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vecferry_core::bot::BotKey;
use vecferry_core::reembed::store::{BotState, MigrationStore, Settings as RunSettings};
use vecferry_core::reembed::{ReembedOrder, Summary, run as reembed};
use vecferry_core::{Error as CoreError, Side};

use super::bots::selection;
use crate::cli::Migrate;
use crate::error::{Error, Exit, GO_ON};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::services;
use crate::settings::Settings;
use crate::ui::{Ui, table};
use crate::units::{count, counted, duration, printable};
pub(super) use check::{check, check_without_source};
pub(super) use outlook::{Outlook, outlook};
pub(super) use shop::{Ready, Shop, resolve};

/// Runs the command.
pub(crate) async fn run(args: &Migrate, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let flags = &args.reembed;
    let resolved = resolve(flags, settings).await?;
    let state = settings.state(&flags.store);
    let store = services::store(state.as_deref(), resolved.target.as_ref()).await?;
    let shop = Shop::open(resolved, flags, settings, Side::Target).await?;
    let selection = selection(&flags.selection)?;
    let mut listing = selection.apply(shop.listing(flags.skip_odd).await?)?;
    let proven = match args.restart {
        true => HashSet::new(),
        false => proven(store.as_ref(), &shop.recorded()).await?,
    };
    listing.bots.retain(|bot| !proven.contains(&bot.key));
    let access = shop.check_bucket(&listing).await?;
    // Tasks on ECS read with a role of their own; here only the sizes stay unknown.
    if shop.runs_here() {
        access.granted()?;
    }
    let ready = shop.ready(&listing, &HashMap::new(), ui).await?;
    let offer = shop.offer(&ready, &listing, store.describe(), proven.len() as u64);
    offer.show(ui)?;
    offer.within(flags.max_cost)?;
    if flags.dry_run {
        return Ok(Exit::Done);
    }
    offer.ask(args.yes.yes, args.restart, ui)?;
    let interrupt = Interrupt::listen(ui)?;
    embed(shop.order(ready, store, selection, args.restart)?, &interrupt, ui).await
}

/// Runs the order and shows what comes of it.
pub(super) async fn embed(
    order: ReembedOrder,
    interrupt: &Interrupt,
    ui: &Ui,
) -> Result<Exit, Error> {
    let progress = Arc::new(Progress::of_events(ui));
    let outcome = reembed(order, progress.clone(), interrupt.token.clone()).await;
    progress.finish();
    match outcome {
        Ok(summary) => finish(&summary, ui),
        Err(CoreError::Interrupted) => Err(Error::Interrupted { how_to_go_on: GO_ON.into() }),
        Err(error) => Err(error.into()),
    }
}

/// Bots that the run which would be continued has proven: nothing more is done or paid for them. With other settings a
/// new run begins, and every bot is embedded.
pub(super) async fn proven(
    store: &dyn MigrationStore,
    settings: &RunSettings,
) -> Result<HashSet<BotKey>, Error> {
    let continued =
        store.newest().await?.filter(|run| settings.differences(&run.settings).is_empty());
    let Some(run) = continued else { return Ok(HashSet::new()) };
    let bots = store.bots(&run.id).await?;
    let proven = bots.into_iter().filter(|bot| bot.state == BotState::Proven);
    Ok(proven.map(|bot| bot.key).collect())
}

/// Shows what came of it: every bot proven is a yes, anything else is exit code 5.
fn finish(summary: &Summary, ui: &Ui) -> Result<Exit, Error> {
    if !ui.json {
        ui.data(&render(summary))?;
    }
    let failed = summary.counts.failed + summary.counts.waiting + summary.counts.running;
    if failed == 0 {
        return Ok(Exit::Done);
    }
    let bots = counted(failed, "bot");
    Err(CoreError::Tasks {
        what: format!("{bots} of {} not embedded", count(summary.counts.total())),
        hint: Some(outcome::how_to_finish(summary)),
    }
    .into())
}

fn render(summary: &Summary) -> String {
    let mut blocks = Vec::new();
    if !summary.failed.is_empty() {
        let rows = summary.failed.iter().map(|bot| {
            let texts = [&bot.bot.to_string(), &bot.title, &bot.reason];
            texts.map(|text| printable(text)).to_vec()
        });
        blocks.push(table(&["failed bot", "title", "reason"], &[], rows.collect()));
    }
    blocks.extend(outcome::beside_estimate(summary));
    let Summary { counts, .. } = summary;
    let mut line = format!(
        "migration {}: {} proven, {}in {}",
        summary.migration,
        counted(counts.proven, "bot"),
        // Without a target nobody could count.
        if summary.rows > 0 { format!("{} ", counted(summary.rows, "row")) } else { String::new() },
        duration(summary.seconds),
    );
    if summary.tokens > 0 || summary.reused > 0 {
        line.push_str(&format!(
            "; {} paid for, {} taken from the source",
            counted(summary.tokens, "token"),
            counted(summary.reused, "vector"),
        ));
    }
    if counts.skipped > 0 {
        line.push_str(&format!("; {} left out", counted(counts.skipped, "bot")));
    }
    line.push_str(if counts.failed > 0 {
        "\nnext: vecferry bots shows every bot's state"
    } else {
        "\nnext: vecferry bots, then point the application at the target"
    });
    blocks.push(line);
    blocks.join("\n\n")
}
