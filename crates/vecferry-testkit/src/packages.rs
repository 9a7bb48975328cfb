//! Python packages that tests and checks use: fetched by pip from a list that pins every one of them by hash, once per
//! machine, into the folder where wheels are kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Result, file};
use crate::wheel::{kept, run};

/// Packages in a folder of their own.
#[derive(Debug, Clone, Copy)]
pub struct Packages {
    /// What the folder is called, before Python's version and the list's checksum.
    pub name: &'static str,
    /// pip's list of requirements; every package with its version and the hashes of its files.
    pub requirements: &'static str,
}

impl Packages {
    /// The folder that holds them, filled first where it is not there yet. Their programs are in its `bin`.
    ///
    /// # Errors
    /// No Python 3, no pip, or pip does not get them.
    pub fn fetch(&self) -> Result<PathBuf> {
        // Some packages hold code for one version of Python; the list is part of the name, so a changed list never
        // meets an old installation.
        let version = "import sys; print('%d.%d' % sys.version_info[:2])";
        let python = run(python().args(["-c", version]), "python3")?;
        let list = checksum(self.requirements.as_bytes());
        let folder = format!("{}-py{}-{list:08x}", self.name, python.trim());
        kept(&folder, |folder| self.install(folder))
    }

    /// Python with these packages and no others.
    ///
    /// # Errors
    /// As [`Packages::fetch`].
    pub fn python(&self) -> Result<Command> {
        let mut command = python();
        command.env("PYTHONPATH", self.fetch()?);
        Ok(command)
    }

    fn install(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(file("create", folder))?;
        let list = folder.join("requirements.txt");
        std::fs::write(&list, self.requirements).map_err(file("write", &list))?;
        let mut pip = python();
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--require-hashes", "--root-user-action", "ignore"])
            .arg("--target")
            .arg(folder)
            .arg("--requirement")
            .arg(&list);
        run(&mut pip, "pip install").map(drop)
    }
}

/// Python as the machine has it, without what the environment or the account would add to its packages.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-s").env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    command
}

/// FNV-1a: tells one list from another, nothing more.
fn checksum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
