//! `cargo xtask test`: every test, with one pair of servers and one moto for all test binaries.

use std::process::ExitCode;

use anyhow::{Context, Result};
use vecferry_testkit::{MOTO_ENV, Moto, Options, PAIR_ENV, Pair, Version};

use crate::program;

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also the crates that take minutes to build (the local embedding model)
    #[arg(long)]
    all: bool,
    /// Passed on to `cargo test`, e.g. `-p vecferry-core` or `-- a_test_name`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the tests and passes their exit code on.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    for version in Version::ALL {
        version.bin_dir().context("fetch PostgreSQL")?;
    }
    Moto::fetch().context("fetch moto")?;
    // Built before the servers start, so that they do not idle for minutes, and a compiler error
    // comes first.
    let mut build = program::cargo();
    build.arg("test").args(arguments.scope()).arg("--no-run").args(arguments.cargo_words());
    if !program::status(&mut build)?.success() {
        return Ok(ExitCode::FAILURE);
    }
    let pair = Pair::start(&Options::new()).context("start the pair of test servers")?;
    let moto = Moto::start().context("start moto")?;
    let mut test = program::cargo();
    test.arg("test").args(arguments.scope()).arg("--no-fail-fast").args(&arguments.rest);
    test.env(PAIR_ENV, pair.lend()).env(MOTO_ENV, moto.lend());
    let status = program::status(&mut test)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into))
}

impl Arguments {
    fn scope(&self) -> &'static [&'static str] {
        if self.all { &["--workspace"] } else { &[] }
    }

    /// What is for cargo itself, not for the test binaries.
    fn cargo_words(&self) -> impl Iterator<Item = &String> {
        self.rest.iter().take_while(|word| *word != "--")
    }
}
