//! `check --print-policy`: the permissions of a method or a worker as an IAM policy. Asks nobody anything, so that it
//! can be run where nothing is allowed yet.

use serde::Serialize;
use vecferry_aws::permission::{Policy, Unknown, policy, statements};

use crate::cli::{PolicyFor, Reembed};
use crate::error::{Error, Exit};
use crate::settings::Settings;
use crate::ui::Ui;

/// The policy with its layout's version, for `--json`.
#[derive(Serialize)]
struct Printed<'a> {
    version: u32,
    policy: &'a Policy,
    reasons: Vec<Reason>,
    unknown: Vec<Missing>,
}

#[derive(Serialize)]
struct Reason {
    sid: &'static str,
    why: &'static str,
}

#[derive(Serialize)]
struct Missing {
    word: &'static str,
    what: &'static str,
}

/// Prints the policy on stdout; on stderr what each statement is for and what is still to be filled in.
pub(super) fn print(
    wanted: PolicyFor,
    flags: &Reembed,
    settings: &Settings,
    ui: &Ui,
) -> Result<Exit, Error> {
    let purpose = wanted.into();
    let statements = statements(purpose, &settings.scope(purpose, flags)?);
    let (policy, unknown) = (policy(&statements), Unknown::of(&statements));
    if ui.json {
        let reasons = statements.iter().map(|one| Reason { sid: one.sid, why: one.why }).collect();
        let unknown =
            unknown.iter().map(|one| Missing { word: one.word, what: one.what }).collect();
        ui.data_json(&Printed { version: 1, policy: &policy, reasons, unknown })?;
        return Ok(Exit::Done);
    }
    for statement in &statements {
        ui.say(&format!("{}: {}", statement.sid, statement.why));
    }
    for unknown in &unknown {
        ui.insist(&format!("not known: {} stands for {}", unknown.word, unknown.what));
    }
    let characters = policy.characters().map_err(|error| Error::Output(error.into()))?;
    if characters > Policy::LONGEST {
        let most = Policy::LONGEST;
        ui.insist(&format!(
            "the policy has {characters} characters, and a managed one takes {most}: divide its statements between two"
        ));
    }
    let text =
        serde_json::to_string_pretty(&policy).map_err(|error| Error::Output(error.into()))?;
    ui.data(&text)?;
    Ok(Exit::Done)
}
