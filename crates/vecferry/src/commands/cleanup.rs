//! `cleanup`: lists and removes what a migration left.

use serde::Serialize;
use vecferry_core::cleanup::{Leftover, Scope, cleanup, leftovers};
use vecferry_core::error::on_one_line;
use vecferry_core::pg::Dsn;
use vecferry_core::policy::Method;
use vecferry_core::status::status;
use vecferry_core::{Error as CoreError, Side};

use super::restore::removal::{Made, TEMPORARY_CLUSTER};
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
    let made = Made::look(settings, &target, &args.at, ui).await?;
    let of_made = made.as_ref().map(Made::leftovers).unwrap_or_default();
    let found = match leftovers(scope).await {
        Ok(found) => [found, of_made.clone()].concat(),
        // What was made in AWS costs money, whether or not its target can be reached any more.
        Err(error) if !of_made.is_empty() && error.side() == Some(Side::Target) => {
            if !args.orphans {
                let amount = counted(number(&of_made), "leftover");
                ui.insist(&format!(
                    "{amount} in AWS cost money; `vecferry cleanup --orphans` removes them without the target"
                ));
                return Err(error.into());
            }
            ui.say(&format!("the target is left alone: {}", on_one_line(&error)));
            return without_target(made, args, &target, ui).await;
        }
        Err(error) => return Err(error.into()),
    };
    if number(&found) == 0 || args.dry_run {
        return show(&found, Shown::Listed { orphans: args.orphans }, ui);
    }
    refuse_source_in_use(&target, &of_made).await?;
    if !args.yes.yes {
        ui.insist(&render(&found));
    }
    let amount = counted(number(&found), "leftover");
    confirm::destroy(ui, args.yes.yes, &target, &format!("remove {amount}"))?;
    let removed = [cleanup(scope).await?, of_made].concat();
    // After what is on the clusters: the temporary one may be the source.
    if let Some(made) = made {
        made.remove(ui).await?;
    }
    // Whoever was asked has just read the list.
    if args.yes.yes || ui.json {
        return show(&removed, Shown::Removed, ui);
    }
    ui.say(&format!("removed {}", counted(number(&removed), "leftover")));
    Ok(Exit::Done)
}

/// After a rollback the application is on the source; a temporary cluster then is no leftover.
async fn refuse_source_in_use(target: &Dsn, of_made: &[Leftover]) -> Result<(), Error> {
    let goes = of_made.iter().find(|one| one.kind == TEMPORARY_CLUSTER && !one.kept);
    let Some(cluster) = goes else { return Ok(()) };
    if !status(target).await?.is_some_and(|status| status.rolled_back()) {
        return Ok(());
    }
    Err(CoreError::Refused {
        side: Side::Source,
        what: format!(
            "the application was taken back to the temporary cluster {}, which a cleanup deletes",
            cluster.name
        ),
        hint: Some(
            "`vecferry cutover` brings it to the target again, and also notes that you have pointed it there yourself"
                .into(),
        ),
    }
    .into())
}

/// Removes what was made in AWS for a target that cannot be reached.
async fn without_target(
    made: Option<Made>,
    args: &Cleanup,
    target: &Dsn,
    ui: &Ui,
) -> Result<Exit, Error> {
    let Some(made) = made else { return Ok(Exit::Done) };
    let found = made.leftovers();
    if number(&found) == 0 || args.dry_run {
        return show(&found, Shown::Listed { orphans: args.orphans }, ui);
    }
    if !args.yes.yes {
        ui.insist(&render(&found));
    }
    let amount = counted(number(&found), "leftover");
    confirm::destroy(ui, args.yes.yes, target, &format!("remove {amount}"))?;
    made.remove(ui).await?;
    show(&found, Shown::Removed, ui)
}

/// Whether the migration on the target is a re-embedding that was given no source: nothing of it is anywhere else.
async fn had_no_source(settings: &Settings) -> Result<bool, Error> {
    if settings.source_if_named().await?.is_some() {
        return Ok(false);
    }
    if settings.snapshot().is_some() {
        // The temporary cluster is gone, or was never finished: nothing of a migration can be on it.
        return Ok(true);
    }
    match status(&settings.target().await?).await {
        Ok(status) => Ok(status.is_some_and(|status| status.method == Method::Reembed.as_str())),
        // What is on it is asked for below; what was made in AWS is found without it.
        Err(_) => Ok(true),
    }
}

/// How many of them go.
fn number(leftovers: &[Leftover]) -> u64 {
    leftovers.iter().filter(|leftover| !leftover.kept).count() as u64
}

/// What became of leftovers that are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Listed {
        /// Whether the list was asked for with --orphans.
        orphans: bool,
    },
    Removed,
}

fn show(leftovers: &[Leftover], shown: Shown, ui: &Ui) -> Result<Exit, Error> {
    let removed = shown == Shown::Removed;
    if ui.json {
        ui.data_json(&Answer { version: 1, removed, leftovers })?;
        return Ok(Exit::Done);
    }
    if !leftovers.is_empty() {
        ui.data(&render(leftovers))?;
    }
    let (amount, goes) = (counted(number(leftovers), "leftover"), number(leftovers) > 0);
    ui.say(&match (goes, shown) {
        (false, _) => "nothing to clean up".into(),
        (true, Shown::Removed) => format!("removed {amount}"),
        (true, Shown::Listed { orphans }) => {
            let orphans = if orphans { " --orphans" } else { "" };
            format!("{amount}; `vecferry cleanup{orphans}` removes what is not marked as kept")
        }
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
