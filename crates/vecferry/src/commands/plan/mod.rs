//! `plan`: what there is, the methods side by side with time and money, and the steps of one.

mod changed;
mod render;

use tokio_util::sync::CancellationToken;
use vecferry_core::Side;
use vecferry_core::error::on_one_line;
use vecferry_core::plan::{
    Bots, Facts, Models, Origin, Plan, Situation, Unread, gather, gather_target, plan,
};
use vecferry_core::policy::Policy;

use super::reembed::outlook;
use crate::cli;
use crate::error::{Error, Exit, Line};
use crate::interrupt::Interrupt;
use crate::settings::Settings;
use crate::ui::Ui;
use changed::Question;

/// Runs the command.
pub(crate) async fn run(args: &cli::Plan, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let asked = args.method.map(Into::into);
    let interrupt = Interrupt::listen(ui)?;
    let plan = plan(&situation(args, settings, &interrupt.token, ui).await?);
    let possible =
        plan.methods.iter().any(|one| one.possible && asked.is_none_or(|m| m == one.method));
    if ui.json {
        ui.data_json(&plan)?;
    } else {
        ui.data(&shown(&plan, asked, ui))?;
    }
    Ok(if possible { Exit::Done } else { Exit::No })
}

fn shown(plan: &Plan, asked: Option<vecferry_core::plan::Method>, ui: &Ui) -> String {
    let method = plan.methods.iter().find(|one| asked == Some(one.method));
    method.map_or_else(|| render::all(plan, ui), |one| render::alone(plan, one))
}

/// Everything that the plan is made from.
async fn situation(
    args: &cli::Plan,
    settings: &Settings,
    cancel: &CancellationToken,
    ui: &Ui,
) -> Result<Situation, Error> {
    let prices = settings.prices(&args.embedding.prices)?;
    let clusters = clusters(args, settings, cancel, ui).await?;
    let capacity = settings.temporary_capacity();
    let acus = args.embedding.acus(capacity.least, capacity.most);
    let mut origin = Origin::Live;
    if settings.names_snapshot() {
        origin = Origin::Snapshot { restored: clusters.is_ok(), acus };
    } else if args.embedding.temporary_cluster.is_some() {
        origin = Origin::Snapshot { restored: false, acus };
    }
    let flags = args.embedding.reembed();
    let model = settings.model(&flags.embedding, None);
    let models = model.as_ref().map_or_else(
        |_| Models::default(),
        |model| Models { source: model.source_model.clone(), target: model.id.clone() },
    );
    // Where it was not read, nobody asks it again.
    let source = if clusters.is_ok() { settings.source_if_named().await? } else { None };
    let (bots, region) = match outlook(&flags, settings, source, ui).await {
        Ok(outlook) => {
            let (clusters, models, outlook) = (&clusters, &models, &outlook);
            let question = Question { args, settings, clusters, models, outlook };
            let changed = question.answer(cancel, ui).await?;
            (Ok(Bots { all: outlook.estimate().clone(), changed }), outlook.shop.region())
        }
        Err(error) => (Err(in_words(&error)), settings.aws().region.clone()),
    };
    let source_time = settings.said_source_time(args.embedding.delta.source_time);
    Ok(Situation { clusters, origin, source_time, bots, models, prices, region })
}

/// Both clusters; or the target alone, where bots can be embedded without the source.
async fn clusters(
    args: &cli::Plan,
    settings: &Settings,
    cancel: &CancellationToken,
    ui: &Ui,
) -> Result<Result<Facts, Unread>, Error> {
    let method = args.method.map(Into::into);
    let listed = settings.registry(&args.embedding.registry, None).is_ok();
    let clusters = match settings.clusters().await {
        Ok(clusters) => clusters,
        Err(error) => {
            // A snapshot that is not restored yet is no mistake; what else may be wrong is said with it.
            let why = match (settings.names_source(), settings.names_snapshot()) {
                (_, true) => in_words(&error),
                (false, _) if listed => "the source is not named (--source)".to_owned(),
                _ => return Err(error),
            };
            return Ok(Err(unread(why, method, settings, cancel).await?));
        }
    };
    let policy = Policy {
        method,
        follow: settings.follow(&args.follow, &clusters)?,
        ..settings.policy(&args.selection, &args.work)
    };
    ui.say("measuring source and target for a few seconds");
    match gather(&clusters, &policy, cancel).await {
        Ok(facts) => Ok(Ok(facts)),
        Err(error) if listed && error.side() == Some(Side::Source) => {
            let why = format!("the source cannot be read: {}", on_one_line(&error));
            Ok(Err(unread(why, method, settings, cancel).await?))
        }
        Err(error) => Err(error.into()),
    }
}

async fn unread(
    why: String,
    method: Option<vecferry_core::plan::Method>,
    settings: &Settings,
    cancel: &CancellationToken,
) -> Result<Unread, Error> {
    let target = gather_target(&settings.target().await?, cancel).await?;
    Ok(Unread { why, target, method })
}

/// An error on one line, with what to do about it.
fn in_words(error: &Error) -> String {
    let words = error.lines().into_iter().map(|line| match line {
        Line::Error(text) | Line::Cause(text) | Line::Hint(text) => text,
    });
    words.collect::<Vec<_>>().join("; ")
}
