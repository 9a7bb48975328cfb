//! `worker`: one bot, as a task of ECS or by hand. Everything it needs it finds in flags, in the settings file, or in
//! the variables that a Bedrock Chat container is given.

mod keys;
mod task;

use serde::Serialize;
use vecferry_aws::{database_from_environment, database_from_secret};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::rows::column_dimensions;
use vecferry_core::{Error as CoreError, Side};
use vecferry_embed::work::{Attempt, BotOutcome, Ending, work};

use crate::cli::Worker;
use crate::error::{Error, Exit, GO_ON, Mistake};
use crate::interrupt::Interrupt;
use crate::services::{Making, Services, work_folder};
use crate::settings::{Settings, variable};
use crate::ui::Ui;
use crate::units::{counted, duration};

/// Variables by which a launch says which migration and attempt a worker is part of.
pub(crate) const MIGRATION: &str = "VECFERRY_MIGRATION";
pub(crate) const TOKEN: &str = "VECFERRY_TOKEN";
/// Variable that holds the shape of the knowledge table, as JSON, where it is not the default.
pub(crate) const KNOWLEDGE: &str = "VECFERRY_KNOWLEDGE";

/// Migration of a worker that nobody launched.
const BY_HAND: &str = "by-hand";

/// Runs the command.
pub(crate) async fn run(args: &Worker, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let key = keys::bot_of(args.bot.as_deref(), variable("EVENT").as_deref(), &args.keys)?;
    let interrupt = Interrupt::listen(ui)?;
    let services = Services::new(settings.aws().clone());
    let at = settings.registry(&args.registry, variable("TABLE_NAME"))?;
    let registry = services.registry_of(&at, &key.owner).await?;
    let Some(bot) = registry.get(&key).await? else {
        ui.insist(&format!("bot {key} is not in {}: nothing to do", registry.describe()));
        return Ok(Exit::Done);
    };
    let model = settings.model(&args.embedding, variable("BEDROCK_REGION"))?;
    let documents = settings.documents(&args.documents, variable("DOCUMENT_BUCKET"));
    let target = target(settings, &services).await?;
    let knowledge = knowledge(settings)?;
    let column = column_dimensions(&target, Side::Target, &knowledge).await?;
    let embedder = services.embedder(&model, column).await?;
    let folder = work_folder()?;
    let bench = services
        .workbench(Making {
            source: settings.source_if_named().await?,
            target,
            knowledge,
            registry: registry.keeps_sync().then_some(registry),
            embedder,
            model: &model,
            documents: &documents,
            folder: folder.path(),
            bots: std::slice::from_ref(&bot),
        })
        .await?;
    let attempt = attempt().await?;
    let outcome = work(&bot, &attempt, &bench, &interrupt.token).await;
    match outcome {
        Ok(outcome) => show(&outcome, ui),
        Err(CoreError::Interrupted) => Err(Error::Interrupted { how_to_go_on: GO_ON.into() }),
        Err(error) => Err(error.into()),
    }
}

/// The target that the settings name, else the one that a Bedrock Chat container is given.
async fn target(settings: &Settings, services: &Services) -> Result<Dsn, Error> {
    if let Some(target) = settings.target_if_named().await? {
        return Ok(target);
    }
    if let Some(secret) = variable("DB_SECRETS_ARN") {
        return Ok(database_from_secret(services.account().await, &secret).await?);
    }
    match database_from_environment(variable)? {
        Some(target) => Ok(target),
        // Says what to pass.
        None => settings.target().await,
    }
}

/// The shape of the table, which a launch hands over where it is not the default.
fn knowledge(settings: &Settings) -> Result<Knowledge, Error> {
    let Some(text) = variable(KNOWLEDGE) else { return Ok(settings.knowledge().clone()) };
    serde_json::from_str(&text).map_err(|error| {
        let hint =
            "it is written by `vecferry migrate`; leave it out to use [knowledge] of vecferry.toml";
        Mistake::new(format!("{KNOWLEDGE} is not a knowledge table: {error}"), hint).into()
    })
}

async fn attempt() -> Result<Attempt, Error> {
    let token = variable(TOKEN);
    let exec_id = match variable(task::METADATA) {
        Some(address) => task::id(&address).await?,
        None => variable("VECFERRY_EXEC_ID")
            .or_else(|| token.clone())
            .unwrap_or_else(|| format!("by-hand-{}", std::process::id())),
    };
    let migration = variable(MIGRATION).unwrap_or_else(|| BY_HAND.to_owned());
    Ok(Attempt { migration, token, exec_id })
}

fn show(outcome: &BotOutcome, ui: &Ui) -> Result<Exit, Error> {
    if ui.json {
        ui.data_json(&Versioned { version: 1, outcome })?;
    } else {
        ui.data(&render(outcome))?;
    }
    match &outcome.ending {
        Ending::Swapped | Ending::Gone => Ok(Exit::Done),
        Ending::Failed { reason } => Err(CoreError::Tasks {
            what: format!("bot {} keeps its old rows: {reason}", outcome.bot),
            hint: Some(remedy(outcome).into()),
        }
        .into()),
        Ending::GaveWay { to } => Err(CoreError::Tasks {
            what: format!("another run ({to}) works on bot {}", outcome.bot),
            hint: Some("one run per bot: wait for the other one".into()),
        }
        .into()),
    }
}

/// What leads on from a failure.
fn remedy(outcome: &BotOutcome) -> &'static str {
    match (outcome.documents, outcome.lost.is_empty()) {
        (0, true) => {
            "the registry names no document of this bot that is there: add one in the application, or leave the bot as it is"
        }
        // Nothing would be left of it.
        (0, false) => {
            "mend or remove these documents; --lost-documents does not apply to a bot that lost all of them"
        }
        _ => "mend or remove these documents, or choose --lost-documents keep-old or accept",
    }
}

/// The outcome with its layout's version.
#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    outcome: &'a BotOutcome,
}

fn render(outcome: &BotOutcome) -> String {
    let mut text = format!(
        "bot {}: {}, {} of {} in {}; {} in {}, {} taken from the source",
        outcome.bot,
        outcome.ending,
        counted(outcome.rows, "row"),
        counted(outcome.documents.into(), "document"),
        duration(outcome.seconds),
        counted(outcome.tokens, "token"),
        counted(outcome.calls, "call"),
        counted(outcome.reused, "vector"),
    );
    for lost in &outcome.lost {
        text.push_str(&format!("\nlost: {}: {}", lost.source, lost.lost));
    }
    text
}

#[cfg(test)]
mod tests {
    use vecferry_core::bot::BotKey;
    use vecferry_embed::document::{Lost, Reason};
    use vecferry_embed::stage::LostDocument;

    use super::*;

    #[test]
    fn a_policy_for_lost_documents_is_named_only_where_it_would_help() {
        let key = BotKey { owner: "ann".into(), id: "b".into() };
        let failed = Ending::Failed { reason: String::new() };
        let nothing = BotOutcome::nothing(key, failed);
        let lost = Lost::new(Reason::Missing, "status 404");
        let lost = vec![LostDocument { source: "https://a".into(), lost }];
        let all = BotOutcome { lost: lost.clone(), ..nothing.clone() };
        let some = BotOutcome { documents: 1, lost, ..nothing.clone() };
        assert!(remedy(&nothing).contains("no document") && !remedy(&nothing).contains("--lost"));
        assert!(remedy(&all).contains("does not apply"));
        assert!(remedy(&some).contains("choose --lost-documents"));
    }
}
