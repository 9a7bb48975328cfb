//! Which account PostgreSQL runs as. `postgres` and `initdb` refuse to run as root, so a root
//! process hands them, and everything they write, to an unprivileged account.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result, file};

/// `nobody` wherever Linux is; the number is used so that no account database is needed.
const NOBODY: u32 = 65534;

/// The account to drop to, or `None` when we are unprivileged already.
pub(crate) fn dropped() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(NOBODY)
}

/// Makes `command` run unprivileged (std clears the supplementary groups along with it).
pub(crate) fn unprivileged(command: &mut Command) -> &mut Command {
    match dropped() {
        Some(id) => command.uid(id).gid(id),
        None => command,
    }
}

/// Gives a folder to the account PostgreSQL runs as.
pub(crate) fn hand_over(folder: &Path) -> Result<()> {
    match dropped() {
        Some(id) => chown(folder, Some(id), Some(id)).map_err(file("hand over", folder)),
        None => Ok(()),
    }
}

/// Refuses a folder that the account PostgreSQL runs as could not get to.
pub(crate) fn check_reachable(folder: &Path) -> Result<()> {
    let Some(uid) = dropped() else { return Ok(()) };
    for ancestor in folder.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        let mode = fs::metadata(ancestor).map_err(file("look at", ancestor))?.permissions().mode();
        if mode & 0o001 == 0 {
            return Err(Error::Unreachable { path: ancestor.to_owned(), uid });
        }
    }
    Ok(())
}
