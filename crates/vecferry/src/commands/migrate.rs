//! `migrate`: runs the migration, shows it, and sums it up.

use serde::Serialize;
use vecferry_core::cutover::step::{Direction, Step};
use vecferry_core::inspect::inspect;
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::pg::Session;
use vecferry_core::phase::Phase;
use vecferry_core::plan::{self, Plan};
use vecferry_core::policy::{self, Clusters, Existing, Policy};
use vecferry_core::preflight::{Severity, check};
use vecferry_core::price::Prices;
use vecferry_core::report::Summary;
use vecferry_core::status::{CrossingStatus, status};
use vecferry_core::{Error as CoreError, Side};

use super::delta::bytes_to_copy;
use super::restore::Ready;
use crate::cli::{Method, Migrate};
use crate::confirm;
use crate::error::{Error, Exit, GO_ON};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::ui::{Ui, table};
use crate::units::{count, counted, duration, size};

/// Said once while a follow is watched.
const CAUGHT_UP: &str = "the target has caught up and follows the source; Ctrl-C only ends this watching\n\
                         next: vecferry status, vecferry verify, then vecferry cutover";

/// What a follow does when its watching is interrupted.
const GOES_ON: &str = "replication goes on without this process; `vecferry status` shows it, `vecferry cutover` ends it";

/// Runs the command.
pub(crate) async fn run(args: &Migrate, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let method = method(args, settings).await?;
    if method == Some(Method::Delta) {
        // Before a cluster is restored for it.
        super::delta::refuse_unfit(args, settings)?;
    }
    let id = match super::restore::before_migrating(args, method, settings, ui).await? {
        Ready::Shown => return Ok(Exit::Done),
        Ready::Stands(temporary) => Some(temporary.migration),
        Ready::NoSnapshot => None,
    };
    match method {
        Some(Method::Reembed) => super::reembed::run(args, settings, ui).await,
        Some(Method::Delta) => super::delta::run(args, settings, id, ui).await,
        _ => move_rows(args, settings, id, ui).await,
    }
}

/// `copy` and `follow`.
async fn move_rows(
    args: &Migrate,
    settings: &Settings,
    id: Option<String>,
    ui: &Ui,
) -> Result<Exit, Error> {
    let clusters = settings.clusters().await?;
    let mut policy = Policy {
        method: args.method.map(Into::into),
        follow: settings.follow(&args.follow, &clusters)?,
        ..settings.policy(&args.selection, &args.work)
    };
    let detach = settings.detach(args.detach);
    let dry_run = args.reembed.dry_run;
    if !args.yes.yes && !dry_run {
        ask(args, &clusters, &policy, ui).await?;
    }
    let interrupt = Interrupt::listen(ui)?;
    let begins = args.restart || status(&clusters.target).await?.is_none();
    if begins && !args.no_check && !may_begin(&clusters, &policy, &interrupt, ui).await? {
        return Ok(Exit::No);
    }
    if dry_run {
        return show_only(args, &clusters, &policy, ui).await;
    }
    let estimates = match begins && !args.no_estimate {
        true => {
            let plan = measure(&clusters, &policy, &interrupt, ui).await?;
            if policy.method == Some(policy::Method::Follow)
                && let Some(choice) = &plan.apply_start
            {
                policy.follow.apply_start = choice.start;
                ui.say(&format!("apply starts {}", choice.why));
            }
            plan.estimates
        }
        // Those of a run that is continued are recorded.
        false => Vec::new(),
    };
    let options = RunOptions { restart: args.restart, detach, estimates, id, terms: None };
    let once_caught_up = (!detach).then_some(CAUGHT_UP);
    let progress = Progress::of_events(ui).saying_once_caught_up(once_caught_up);
    let outcome = migrate(&clusters, &policy, options, &progress, &interrupt.token).await;
    progress.finish();
    match outcome {
        Ok(summary) => {
            if !ui.json {
                let crossings = crossings(&summary, &clusters).await?;
                ui.data(&render(&summary, &crossings))?;
            }
            Ok(Exit::Done)
        }
        Err(CoreError::Interrupted) => Err(Error::Interrupted {
            how_to_go_on: match progress.phase() {
                Some(Phase::Following) => GOES_ON.into(),
                _ => how_to_go_on(progress.parts(), args.restart),
            },
        }),
        Err(error) => Err(error.into()),
    }
}

/// What a run would do, for programs.
#[derive(Serialize)]
struct WouldDo<'a> {
    version: u32,
    event: &'static str,
    method: &'a str,
    /// The migration that would go on.
    migration: Option<&'a str>,
    bytes: u64,
    destroys: &'a [String],
}

/// Says what a run would do that has passed the checks, and does nothing.
async fn show_only(
    args: &Migrate,
    clusters: &Clusters,
    policy: &Policy,
    ui: &Ui,
) -> Result<Exit, Error> {
    let recorded = status(&clusters.target).await?.filter(|_| !args.restart);
    let asked = policy.method.unwrap_or(policy::Method::Copy).as_str();
    let destroys = destroyed(args, clusters, policy).await?;
    let bytes = bytes_to_copy(&clusters.source, policy).await?;
    let earlier = recorded.as_ref();
    if ui.json {
        let method = earlier.map_or(asked, |earlier| earlier.method.as_str());
        let migration = earlier.map(|earlier| earlier.migration.as_str());
        let destroys = &destroys[..];
        ui.data_json(&WouldDo { version: 1, event: "offer", method, migration, bytes, destroys })?;
        return Ok(Exit::Done);
    }
    let mut does = destroys;
    does.push(match earlier {
        Some(it) if it.phase == Phase::Done => format!("find migration {} complete", it.migration),
        Some(it) => format!("go on with migration {} in phase {}", it.migration, it.phase),
        None if asked == policy::Method::Follow.as_str() => {
            format!("copy {} and follow the source", size(bytes))
        }
        None => format!("copy {}", size(bytes)),
    });
    ui.data(&format!("this would {}; nothing was changed", does.join(" and ")))?;
    Ok(Exit::Done)
}

/// The method that is asked for, or that of a re-embedding or delta which the target holds: it is continued without a
/// word.
async fn method(args: &Migrate, settings: &Settings) -> Result<Option<Method>, Error> {
    if args.method.is_some() {
        return Ok(args.method);
    }
    // What is wrong with the settings is told by what follows, all of it at once.
    let sound = match settings.clusters().await {
        Ok(clusters) => settings.follow(&args.follow, &clusters).is_ok(),
        Err(_) => matches!(settings.source_if_named().await, Ok(None)),
    };
    let Ok(Some(target)) = settings.target_if_named().await else { return Ok(None) };
    if !sound {
        return Ok(None);
    }
    let status = status(&target).await?;
    let continued = |method: Method| {
        let name = policy::Method::from(method).as_str();
        status.as_ref().is_some_and(|status| status.method == name).then_some(method)
    };
    Ok(continued(Method::Reembed).or(continued(Method::Delta)))
}

/// The cutover and rollback of a follow, as far as they were begun.
async fn crossings(summary: &Summary, clusters: &Clusters) -> Result<Vec<CrossingStatus>, Error> {
    if summary.method != policy::Method::Follow {
        return Ok(Vec::new());
    }
    Ok(status(&clusters.target).await?.map_or(Vec::new(), |status| status.crossings))
}

/// Asks for consent where something would be destroyed, and only there.
async fn ask(args: &Migrate, clusters: &Clusters, policy: &Policy, ui: &Ui) -> Result<(), Error> {
    let destroys = destroyed(args, clusters, policy).await?;
    if destroys.is_empty() {
        return Ok(());
    }
    confirm::destroy(ui, false, &clusters.target, &destroys.join(" and "))
}

/// What a run would destroy, completing "this will …".
pub(super) async fn destroyed(
    args: &Migrate,
    clusters: &Clusters,
    policy: &Policy,
) -> Result<Vec<String>, Error> {
    let mut destroys = Vec::new();
    // Of a finished migration only the record is forgotten.
    if args.restart
        && let Some(earlier) = status(&clusters.target).await?
        && earlier.phase != Phase::Done
    {
        let rows = counted(earlier.rows, "row");
        destroys.push(format!("throw away migration {} with {rows} copied", earlier.migration));
    }
    if policy.existing == Existing::Replace {
        let tables = tables_with_rows(clusters, policy).await?;
        if tables > 0 {
            let tables = counted(tables, "table");
            destroys.push(format!("replace rows in {tables} of the target"));
        }
    }
    Ok(destroys)
}

/// How many of the target's tables hold rows that `replace` may touch. By pages: an emptied table counts until it
/// is vacuumed, and one question too many does no harm.
async fn tables_with_rows(clusters: &Clusters, policy: &Policy) -> Result<u64, Error> {
    let session =
        Session::open(&clusters.target, Side::Target, "see what would be replaced").await?;
    let tables = inspect(&session).await?.tables;
    Ok(tables.iter().filter(|table| table.heap_bytes > 0 && policy.selects(table)).count() as u64)
}

/// Runs the checks; shows what blocks and says no, or says yes.
pub(super) async fn may_begin(
    clusters: &Clusters,
    policy: &Policy,
    interrupt: &Interrupt,
    ui: &Ui,
) -> Result<bool, Error> {
    // The target has been reached. A source that cannot be is an error here, and no finding.
    drop(Session::open(&clusters.source, Side::Source, "check").await?);
    let mut report = check(clusters, policy, &interrupt.token).await?;
    if !report.blocks() {
        return Ok(true);
    }
    report.findings.retain(|finding| finding.severity == Severity::Blocker);
    ui.insist(&super::check::render(&report, ui));
    Ok(false)
}

/// The plan of a run that begins now.
pub(super) async fn measure(
    clusters: &Clusters,
    policy: &Policy,
    interrupt: &Interrupt,
    ui: &Ui,
) -> Result<Plan, Error> {
    ui.say("measuring source and target for a few seconds (--no-estimate leaves it out)");
    // Whatever the plan would recommend: these are the estimates of what is done.
    let method = Some(policy.method.unwrap_or(policy::Method::Copy));
    let policy = Policy { method, ..policy.clone() };
    let facts = plan::gather(clusters, &policy, &interrupt.token).await?;
    // Only times are asked for.
    Ok(plan::plan(&plan::Situation::of_clusters(facts, Prices::published()?)))
}

pub(super) fn how_to_go_on(parts: Option<(usize, usize)>, restarted: bool) -> String {
    let command = if restarted { "run the same command again, without --restart" } else { GO_ON };
    match parts {
        Some((finished, total)) => format!("{command}; {finished} of {total} parts are finished"),
        None => command.into(),
    }
}

pub(super) fn render(summary: &Summary, crossings: &[CrossingStatus]) -> String {
    let mut blocks = Vec::new();
    if !summary.tables.is_empty() {
        blocks.push(tables(summary));
    }
    blocks.push(phases(summary));
    blocks.push(report_line(summary, &next(summary, crossings)));
    blocks.join("\n\n")
}

fn tables(summary: &Summary) -> String {
    let rows = summary.tables.iter().map(|table| {
        vec![
            table.table.clone(),
            count(table.rows),
            size(table.bytes),
            count(table.parts.into()),
            count(table.indexes.into()),
        ]
    });
    table(&["table", "rows", "size", "parts", "indexes"], &[1, 2, 3, 4], rows.collect())
}

fn phases(summary: &Summary) -> String {
    let estimates = !summary.estimated.is_empty();
    let mut header = vec!["phase", "took"];
    header.extend(estimates.then_some("estimated"));
    let rows = summary.phases.iter().map(|(phase, seconds)| {
        let mut row = vec![phase.to_string(), duration(*seconds)];
        if estimates {
            let estimate = summary.estimated.iter().find(|(estimated, _)| estimated == phase);
            row.push(estimate.map_or("–".into(), |(_, seconds)| duration(*seconds)));
        }
        row
    });
    table(&header, &[1, 2], rows.collect())
}

/// The line that goes into the operator's notes.
fn report_line(summary: &Summary, next: &str) -> String {
    let all: f64 = summary.phases.iter().map(|(_, seconds)| seconds).sum();
    // Phases add up over all runs; the two differ where an interrupted run was continued.
    let this_run = if all > summary.seconds * 1.05 + 1.0 {
        format!(" ({} in this run)", duration(summary.seconds))
    } else {
        String::new()
    };
    let indexes = summary.tables.iter().map(|table| u64::from(table.indexes)).sum();
    format!(
        "migration {}: {} in {}, {}, {} in {}{this_run}\n{}",
        summary.migration,
        counted(summary.rows, "row"),
        counted(summary.tables.len() as u64, "table"),
        size(summary.bytes),
        counted(indexes, "index"),
        duration(all.max(summary.seconds)),
        next,
    )
}

/// What is to be done next. A cutover or rollback that was begun says more than the phase.
fn next(summary: &Summary, crossings: &[CrossingStatus]) -> String {
    let open = |one: &&CrossingStatus| !matches!(one.step, Step::Undone | Step::Finished);
    if let Some(open) = crossings.iter().rfind(open) {
        let (direction, step) = (open.direction, open.step.as_str());
        return format!(
            "a {direction} stopped at step {step}: writes may be refused\nnext: vecferry status, then vecferry {direction}"
        );
    }
    let back =
        |one: &CrossingStatus| one.direction == Direction::Rollback && one.step == Step::Finished;
    match (summary.method, summary.phase) {
        (policy::Method::Follow, _) if crossings.iter().any(back) => {
            "the application was taken back to the source\nnext: vecferry cleanup, before another migration"
        }
        (policy::Method::Follow, Phase::Done) => {
            "the application was cut over to the target\nnext: vecferry cleanup, when the way back is not needed any more"
        }
        (policy::Method::Follow, _) => {
            "the target has caught up and follows the source by itself\n\
             next: vecferry status, vecferry verify, then vecferry cutover"
        }
        (policy::Method::Delta, Phase::Embedding) => {
            "the copy is complete; its bots are next"
        }
        _ => "next: vecferry verify",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecferry_core::report::TableSummary;

    #[test]
    fn the_summary_sets_estimate_and_outcome_side_by_side() {
        let summary = Summary {
            migration: "0198".into(),
            method: policy::Method::Copy,
            phase: Phase::Done,
            tables: vec![TableSummary {
                table: "public.items".into(),
                rows: 200_000,
                bytes: 1 << 30,
                parts: 17,
                indexes: 2,
            }],
            rows: 200_000,
            bytes: 1 << 30,
            phases: vec![(Phase::Rows, 6.8), (Phase::Indexes, 84.0)],
            estimated: vec![(Phase::Rows, 7.1)],
            seconds: 12.0,
        };
        let text = render(&summary, &[]);
        assert!(text.contains("\nrows        6.8s        7.1s\n"), "{text}");
        assert!(text.contains("1m 24s           –"), "{text}");
        let last = "migration 0198: 200,000 rows in 1 table, 1.0 GiB, 2 indexes in 1m 31s (12s in this run)";
        assert!(text.ends_with(&format!("{last}\nnext: vecferry verify")), "{text}");
        let follow = Summary { method: policy::Method::Follow, phase: Phase::Following, ..summary };
        let text = render(&follow, &[]);
        assert!(text.contains("follows the source") && text.contains("vecferry cutover"), "{text}");
    }

    #[test]
    fn an_interrupted_restart_is_not_restarted_again() {
        assert_eq!(
            how_to_go_on(Some((3, 9)), true),
            "run the same command again, without --restart; 3 of 9 parts are finished"
        );
        assert_eq!(how_to_go_on(None, false), "run the same command again");
    }
}
