//! `init`: writes the commented settings file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::cli::{Init, Place};
use crate::error::{Error, Exit, Mistake};
use crate::settings::{TEMPLATE, file_to_write};
use crate::ui::Ui;

/// Runs the command.
pub(crate) fn run(args: &Init, place: &Place, ui: &Ui) -> Result<Exit, Error> {
    let path = file_to_write(place);
    write(&path, args.force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Mistake::new(
            format!("{} is there already", path.display()),
            "pass --force to overwrite it, or --config FILE to write another one",
        )
        .into(),
        _ => Error::from(vecferry_core::Error::Local {
            doing: format!("write {}", path.display()),
            source: error,
        }),
    })?;
    ui.say(&format!(
        "wrote {}; fill in source and target, then run `vecferry check`",
        path.display()
    ));
    Ok(Exit::Done)
}

fn write(path: &Path, overwrite: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600); // somebody will write a password into it after all
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)?.write_all(TEMPLATE.as_bytes())
}
