//! Running other programs: what is run is shown, and a failure names the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, ensure};

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Builds one of our programs and gives its path.
pub(crate) fn build(package: &str, binary: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--package", package, "--bin", binary]);
    if release {
        cargo.arg("--release");
    }
    succeed(&mut cargo)?;
    // We were built into the same target folder: target/debug/xtask.
    let own = std::env::current_exe().context("find the target folder")?;
    let target = own.ancestors().nth(2).context("find the target folder")?;
    Ok(target.join(if release { "release" } else { "debug" }).join(binary))
}

/// The vecferry to try: the given one, or ours, built.
pub(crate) fn vecferry(given: Option<&Path>, release: bool) -> Result<PathBuf> {
    match given {
        Some(path) => path.canonicalize().with_context(|| format!("find {}", path.display())),
        None => build("vecferry", "vecferry", release),
    }
}

/// Shows and runs a program to its end, its output passed through.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    eprintln!("$ {}", shown(command));
    command.status().with_context(|| format!("start {}", shown(command)))
}

/// The same, and anything but success is an error.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Whether a program of this name is on the PATH.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The command as one would type it, without the folders of its program.
fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
