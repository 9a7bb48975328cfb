//! Consent to destroy: the name of the target's database, typed, or `--yes`.

use std::io::{self, BufRead, IsTerminal};

use vecferry_core::pg::Dsn;

use crate::error::Error;
use crate::ui::Ui;

/// Asks, unless consent was given in advance. `what` completes "this will …".
pub(crate) fn destroy(ui: &Ui, yes: bool, target: &Dsn, what: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage {
            what: format!("this will {what}, and nobody is here to confirm it"),
            hint: Some("pass --yes, or run it on a terminal".into()),
        });
    }
    ui.insist(&format!("This will {what}."));
    ui.insist(&format!("Type the name of the target's database ({}) to go on:", target.database));
    let mut typed = String::new();
    let read = io::stdin().lock().read_line(&mut typed);
    if read.is_ok() && typed.trim() == target.database { Ok(()) } else { Err(Error::Declined) }
}
