//! Developer tasks, run as `cargo xtask TASK`. What a task needs beyond Rust, Python 3 and pip it
//! fetches itself, pinned; what it starts it stops, however it ends.

mod bench;
mod check;
mod demo;
mod lint;
mod program;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of vecferry
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Move a knowledge base between two throwaway clusters and ask both the same questions
    Demo(demo::Arguments),
    /// Run every test against throwaway PostgreSQL servers
    Test(test::Arguments),
    /// The whole local gate: format, clippy, tidy rules, documentation, deploy/, licences
    Check(check::Arguments),
    /// Measure vecferry beside what one would use instead
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Check(arguments) => check::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        for cause in error.chain().skip(1) {
            eprintln!("caused by: {cause}");
        }
        ExitCode::from(70)
    })
}
