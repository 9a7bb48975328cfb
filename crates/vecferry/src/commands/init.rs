//! `init`: writes the commented settings file, filled from a deployed stack where one is named.

mod stack;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use vecferry_aws::Account;

use crate::cli::{Init, Place};
use crate::error::{Error, Exit, Mistake};
use crate::settings::{TEMPLATE, file_to_write, filled};
use crate::ui::Ui;
use crate::units::counted;

/// Runs the command.
pub(crate) async fn run(args: &Init, place: &Place, ui: &Ui) -> Result<Exit, Error> {
    let path = file_to_write(place);
    if args.stack.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(Mistake::new(
            "--stack is empty: it names no stack",
            "give the name of the stack, BedrockChatStack say, or leave out --stack (and VECFERRY_STACK) for the \
             commented template",
        )
        .into());
    }
    // Asked before the stack is, and again when it is written.
    if !args.force && path.exists() {
        return Err(there_already(&path));
    }
    let Some(name) = &args.stack else {
        save(&path, TEMPLATE, args.force)?;
        ui.say(&format!(
            "wrote {}; fill in source and target, then run `vecferry check`",
            path.display()
        ));
        return Ok(Exit::Done);
    };
    let account = Account::load(place.aws.region.clone(), place.aws.profile.clone()).await;
    let deployed = vecferry_aws::stack::read(&account, name).await?;
    let known = stack::settings(&deployed, place.aws.profile.as_deref());
    save(&path, &filled(&known), args.force)?;
    for line in stack::remarks(&deployed) {
        ui.insist(&line);
    }
    ui.say(&format!(
        "wrote {} with {} from stack {}; {}",
        path.display(),
        counted(known.len() as u64, "setting"),
        deployed.name,
        stack::next(&deployed),
    ));
    Ok(Exit::Done)
}

fn there_already(path: &Path) -> Error {
    Mistake::new(
        format!("{} is there already", path.display()),
        "pass --force to overwrite it, or --config FILE to write another one",
    )
    .into()
}

fn save(path: &Path, text: &str, overwrite: bool) -> Result<(), Error> {
    write(path, text, overwrite).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there_already(path),
        _ => Error::from(vecferry_core::Error::Local {
            doing: format!("write {}", path.display()),
            source: error,
        }),
    })
}

fn write(path: &Path, text: &str, overwrite: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600); // somebody will write a password into it after all
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)?.write_all(text.as_bytes())
}
