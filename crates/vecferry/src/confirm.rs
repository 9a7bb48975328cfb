//! Consent: to destroy, the name of the target's database, typed; to spend, a yes; or `--yes` for both.

use std::io::{self, BufRead, IsTerminal};

use vecferry_core::pg::Dsn;

use crate::error::Error;
use crate::ui::Ui;

/// Whether somebody is here to ask.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Asks before money is spent, unless consent was given in advance. `what` completes "this will …".
pub(crate) fn spend(ui: &Ui, yes: bool, what: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !is_possible() {
        return Err(nobody(what));
    }
    ui.insist(&format!("This will {what}.\nType yes to go on:"));
    let mut typed = String::new();
    let read = io::stdin().lock().read_line(&mut typed);
    if read.is_ok() && typed.trim() == "yes" { Ok(()) } else { Err(Error::Declined) }
}

fn nobody(what: &str) -> Error {
    Error::Usage {
        what: format!("this will {what}, and nobody is here to confirm it"),
        hint: Some("pass --yes, or run it on a terminal".into()),
    }
}

/// Asks, unless consent was given in advance. `what` completes "this will …".
pub(crate) fn destroy(ui: &Ui, yes: bool, target: &Dsn, what: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !is_possible() {
        return Err(nobody(what));
    }
    ui.insist(&format!("This will {what}."));
    ui.insist(&format!("Type the name of the target's database ({}) to go on:", target.database));
    let mut typed = String::new();
    let read = io::stdin().lock().read_line(&mut typed);
    if read.is_ok() && typed.trim() == target.database { Ok(()) } else { Err(Error::Declined) }
}
