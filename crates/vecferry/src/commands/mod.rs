//! One file per command: what it asks core for and how it shows the answer.

mod cleanup;
mod init;
mod migrate;
mod status;
mod verify;

use crate::cli::{Cli, Command};
use crate::error::{Error, Exit};
use crate::settings::Settings;
use crate::ui::Ui;

/// Runs the command.
pub(crate) async fn run(cli: &Cli, ui: &Ui) -> Result<Exit, Error> {
    // The only command that must work with a settings file that is absent or wrong.
    if let Command::Init(args) = &cli.command {
        return init::run(args, &cli.place, ui);
    }
    let settings = Settings::read(&cli.place)?;
    match &cli.command {
        Command::Init(args) => init::run(args, &cli.place, ui),
        Command::Migrate(args) => migrate::run(args, &settings, ui).await,
        Command::Status(args) => status::run(args, &settings, ui).await,
        Command::Verify(args) => verify::run(args, &settings, ui).await,
        Command::Cleanup(args) => cleanup::run(args, &settings, ui).await,
    }
}
