//! `cleanup`: lists and removes what a migration left.

use serde::Serialize;
use vecferry_core::cleanup::{Leftover, cleanup, leftovers};

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
    let clusters = settings.clusters()?;
    let found = leftovers(&clusters).await?;
    if found.is_empty() || args.dry_run {
        return show(&found, false, ui);
    }
    if !args.yes.yes {
        ui.insist(&render(&found));
    }
    let what = format!("remove {}", counted(found.len() as u64, "leftover"));
    confirm::destroy(ui, args.yes.yes, &clusters.target, &what)?;
    show(&cleanup(&clusters).await?, true, ui)
}

fn show(leftovers: &[Leftover], removed: bool, ui: &Ui) -> Result<Exit, Error> {
    if ui.json {
        ui.data_json(&Answer { version: 1, removed, leftovers })?;
        return Ok(Exit::Done);
    }
    if leftovers.is_empty() {
        ui.say("nothing to clean up");
        return Ok(Exit::Done);
    }
    ui.data(&render(leftovers))?;
    let amount = counted(leftovers.len() as u64, "leftover");
    ui.say(&if removed {
        format!("removed {amount}")
    } else {
        format!("{amount}; `vecferry cleanup` removes what is listed")
    });
    Ok(Exit::Done)
}

fn render(leftovers: &[Leftover]) -> String {
    let rows = leftovers.iter().map(|leftover| {
        vec![
            leftover.side.to_string(),
            leftover.kind.clone(),
            leftover.name.clone(),
            leftover.effect.clone(),
        ]
    });
    table(&["side", "kind", "name", "removing it"], &[], rows.collect())
}
