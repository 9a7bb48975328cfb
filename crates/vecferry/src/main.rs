//! The program `vecferry`: reads the command line, runs one command, renders its outcome. What a migration is and
//! does lives in `vecferry-core`; terminals, settings and exit codes live here and nowhere else.

mod cli;
mod commands;
mod confirm;
mod error;
mod interrupt;
mod progress;
mod services;
mod settings;
mod ui;
mod units;

use std::process::ExitCode;

use cli::{Cli, Command};
use error::{Error, Exit};
use ui::Ui;

fn main() -> ExitCode {
    error::exit_on_panic();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    if let Command::Worker(worker) = &cli.command
        && worker.extract
    {
        // A child of a worker: reads documents for it, within limits of its own, and does nothing else.
        return vecferry_embed::text::extract_in_child();
    }
    let ui = Ui::new(&cli.output);
    ui.listen_to_tracing();
    match run(&cli, &ui) {
        Ok(exit) => exit.into(),
        Err(error) => ui.failure(&error).into(),
    }
}

fn run(cli: &Cli, ui: &Ui) -> Result<Exit, Error> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // The copy brings threads of its own; these two poll signals, progress views and single connections.
    let runtime = runtime.worker_threads(2).enable_all().build().map_err(error::no_runtime)?;
    runtime.block_on(commands::run(cli, ui))
}
