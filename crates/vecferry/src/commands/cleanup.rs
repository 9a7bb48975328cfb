//! `cleanup`: lists and removes what a migration left.

use serde::Serialize;
use vecferry_core::cleanup::{Leftover, Scope, cleanup, leftovers};
use vecferry_core::policy::Method;
use vecferry_core::status::status;

use crate::cli::Cleanup;
use crate::confirm;
use crate::error::{Error, Exit};
use crate::settings::Settings;
use crate::ui::{Ui, table};
use crate::units::counted;

/// The answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    version: u32,
    /// Whether they were removed, or only listed.
    removed: bool,
    leftovers: &'a [Leftover],
}

/// Runs the command.
pub(crate) async fn run(args: &Cleanup, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let without_source = args.without_source || had_no_source(settings).await?;
    let (target, source) = match without_source {
        true => (settings.target().await?, None),
        false => {
            let clusters = settings.clusters().await?;
            (clusters.target, Some(clusters.source))
        }
    };
    let scope = Scope { target: &target, source: source.as_ref(), orphans: args.orphans };
    let found = leftovers(scope).await?;
    if number(&found) == 0 || args.dry_run {
        return show(&found, false, ui);
    }
    if !args.yes.yes {
        ui.insist(&render(&found));
    }
    let amount = counted(number(&found), "leftover");
    confirm::destroy(ui, args.yes.yes, &target, &format!("remove {amount}"))?;
    let removed = cleanup(scope).await?;
    // Whoever was asked has just read the list.
    if args.yes.yes || ui.json {
        return show(&removed, true, ui);
    }
    ui.say(&format!("removed {}", counted(number(&removed), "leftover")));
    Ok(Exit::Done)
}

/// Whether the migration on the target is a re-embedding that was given no source: nothing of it is anywhere else.
async fn had_no_source(settings: &Settings) -> Result<bool, Error> {
    if settings.source_if_named().await?.is_some() {
        return Ok(false);
    }
    let status = status(&settings.target().await?).await?;
    Ok(status.is_some_and(|status| status.method == Method::Reembed.as_str()))
}

/// How many of them go.
fn number(leftovers: &[Leftover]) -> u64 {
    leftovers.iter().filter(|leftover| !leftover.kept).count() as u64
}

fn show(leftovers: &[Leftover], removed: bool, ui: &Ui) -> Result<Exit, Error> {
    if ui.json {
        ui.data_json(&Answer { version: 1, removed, leftovers })?;
        return Ok(Exit::Done);
    }
    if !leftovers.is_empty() {
        ui.data(&render(leftovers))?;
    }
    let (amount, goes) = (counted(number(leftovers), "leftover"), number(leftovers) > 0);
    ui.say(&match (goes, removed) {
        (false, _) => "nothing to clean up".into(),
        (true, true) => format!("removed {amount}"),
        (true, false) => format!("{amount}; `vecferry cleanup` removes what is not marked as kept"),
    });
    Ok(Exit::Done)
}

fn render(leftovers: &[Leftover]) -> String {
    let rows = leftovers.iter().map(|leftover| {
        vec![
            leftover.side.to_string(),
            leftover.kind.clone(),
            leftover.name.clone(),
            match leftover.kept {
                true => format!("kept: {}", leftover.effect),
                false => leftover.effect.clone(),
            },
        ]
    });
    table(&["side", "kind", "name", "removing it"], &[], rows.collect())
}
