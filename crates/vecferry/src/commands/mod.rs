//! One file per command: what it asks core for and how it shows the answer.

mod bots;
mod check;
mod cleanup;
mod crossing;
mod delta;
mod init;
mod migrate;
mod plan;
mod policy;
mod reembed;
mod restore;
mod status;
mod verify;
mod worker;

pub(crate) use status::bots_line;

use crate::cli::{Cli, Command};
use crate::error::{Error, Exit};
use crate::settings::Settings;
use crate::ui::Ui;

/// Runs the command.
pub(crate) async fn run(cli: &Cli, ui: &Ui) -> Result<Exit, Error> {
    // The only command that must work with a settings file that is absent or wrong.
    if let Command::Init(args) = &cli.command {
        return init::run(args, &cli.place, ui).await;
    }
    let at = match &cli.command {
        Command::Migrate(args) => Some(&args.at),
        Command::Cleanup(args) => Some(&args.at),
        Command::Restore(args) => Some(&args.at),
        _ => None,
    };
    let settings = Settings::read(&cli.place)?.at(at);
    match &cli.command {
        Command::Init(args) => init::run(args, &cli.place, ui).await,
        Command::Check(args) => check::run(args, &settings, ui).await,
        Command::Plan(args) => plan::run(args, &settings, ui).await,
        Command::Bots(args) => bots::run(args, &settings, ui).await,
        Command::Migrate(args) => migrate::run(args, &settings, ui).await,
        Command::Status(args) => status::run(args, &settings, ui).await,
        Command::Verify(args) => verify::run(args, &settings, ui).await,
        Command::Cutover(args) => crossing::cutover(args, &settings, ui).await,
        Command::Rollback(args) => crossing::rollback(args, &settings, ui).await,
        Command::Cleanup(args) => cleanup::run(args, &settings, ui).await,
        Command::Restore(args) => restore::run(args, &settings, ui).await,
        Command::Worker(args) => worker::run(args, &settings, ui).await,
    }
}
