//! `cargo xtask check`: the whole local gate, the same here and in CI. Every step runs, whatever
//! the ones before it said, so that one run shows all there is to mend.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{lint, program, tidy};

/// Pinned, so that a new release does not change what is accepted.
const CARGO_DENY: &str = "0.20.2";

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leave out cargo-deny, which is built once and then cached (minutes)
    #[arg(long)]
    skip_deny: bool,
}

/// Runs every step and lists those that failed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, passed: bool| {
        if !passed {
            failed.push(name);
        }
    };
    step("fmt", cargo(&["fmt", "--all", "--check"], &[])?);
    step("tidy", tidy_rules()?);
    let strict: &[&str] = &["--", "-D", "warnings"];
    step("clippy", cargo(&["clippy", "--quiet", "--all-targets"], strict)?);
    step("doc", documentation()?);
    step("deploy", lint::deploy(program::root())?);
    if arguments.skip_deny {
        eprintln!("deny: left out");
    } else {
        step("deny", deny()?);
    }
    if failed.is_empty() {
        eprintln!("check: all passed");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("check: failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn cargo(command: &[&str], rest: &[&str]) -> Result<bool> {
    let mut cargo = program::cargo();
    Ok(program::status(cargo.args(command).args(rest))?.success())
}

fn documentation() -> Result<bool> {
    let mut cargo = program::cargo();
    cargo.args(["doc", "--quiet", "--no-deps", "--document-private-items"]);
    Ok(program::status(
        cargo.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
    )?
    .success())
}

fn tidy_rules() -> Result<bool> {
    eprintln!("$ tidy");
    let findings = tidy::check(program::root())?;
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    Ok(findings.is_empty())
}

/// Advisories are not checked: their database is a git repository that a build machine may not
/// reach, and a check must not depend on the day it runs.
fn deny() -> Result<bool> {
    let program = cargo_deny()?;
    let mut deny = std::process::Command::new(program);
    deny.current_dir(program::root());
    Ok(program::status(deny.args(["check", "bans", "licenses", "sources"]))?.success())
}

/// cargo-deny of the pinned version, built into the cache the first time.
fn cargo_deny() -> Result<PathBuf> {
    let cache = vecferry_testkit::cache_dir().context("find the cache folder")?;
    let folder = cache.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let mut install = program::cargo();
        install
            .args(["install", "--quiet", "--locked", "--version", CARGO_DENY, "cargo-deny"])
            .arg("--root")
            .arg(&folder)
            // Its build has nothing to share with ours.
            .env_remove("CARGO_TARGET_DIR");
        program::succeed(&mut install)?;
    }
    Ok(program)
}
