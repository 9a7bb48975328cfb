//! `status`: how far the migration on the target is, from any machine.

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use vecferry_core::cutover::step::{Direction, Step};
use vecferry_core::phase::Phase;
use vecferry_core::reembed::store::Counts;
use vecferry_core::status::{
    CrossingStatus, FollowState, FollowStatus, LinkStatus, Status, status_of,
};

use super::restore::standing::Standing;
use crate::cli;
use crate::error::{Error, Exit};
use crate::services;
use crate::settings::Settings;
use crate::ui::{Colour, Ui, table};
use crate::units::{build_phase, count, counted, duration, rate, size};

/// Between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Characters of the bar.
const BAR: usize = 32;

/// The answer in JSON when there is no migration: the object's shape with nothing in it.
#[derive(Serialize)]
struct Nothing<'a> {
    version: u32,
    migration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary_cluster: Option<&'a Standing>,
}

/// The answer in JSON, with the cluster that was restored for the migration.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    status: &'a Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary_cluster: Option<&'a Standing>,
}

/// Runs the command.
pub(crate) async fn run(args: &cli::Status, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    if let Some(state) = settings.state(&args.store) {
        return of_file(&state, ui).await;
    }
    let (target, source) = (settings.target().await?, settings.source_if_named().await?);
    let standing = Standing::look(settings, ui).await?;
    let temporary_cluster = standing.as_ref();
    let mut lines_above = 0;
    loop {
        let Some(status) = status_of(&target, source.as_ref()).await? else {
            if ui.json {
                ui.data_json(&Nothing { version: 1, migration: None, temporary_cluster })?;
            }
            ui.say(&format!("no migration on {}", target.address()));
            if let (Some(standing), false) = (temporary_cluster, ui.json) {
                ui.data(&standing.line())?;
            }
            return Ok(Exit::Done);
        };
        if ui.json {
            ui.data_json(&Answer { status: &status, temporary_cluster })?;
        } else {
            let mut text = render(&status, ui);
            if let Some(standing) = temporary_cluster {
                text.push_str(&format!("\n{:<12}{}", "temporary", standing.line()));
            }
            ui.data(&format!("{}{text}", rewind(lines_above)))?;
            lines_above = if stdout().is_terminal() { text.lines().count() } else { 0 };
        }
        if !args.watch || ui.is_closed() || status.phase == Phase::Done {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A re-embedding whose state is in a file, as JSON.
#[derive(Serialize)]
struct InFile {
    version: u32,
    migration: Option<String>,
    method: &'static str,
    running: bool,
    bots: Counts,
    started_at: String,
    finished_at: Option<String>,
    last_error: Option<String>,
}

/// The state of a re-embedding that is kept in a file.
async fn of_file(path: &Path, ui: &Ui) -> Result<Exit, Error> {
    let store = services::store(Some(path), None).await?;
    let Some(run) = store.newest().await? else {
        if ui.json {
            ui.data_json(&Nothing { version: 1, migration: None, temporary_cluster: None })?;
        }
        ui.say(&format!("no migration in {}", path.display()));
        return Ok(Exit::Done);
    };
    let bots = store.counts(&run.id).await?;
    let holder = store.holder().await?;
    if ui.json {
        ui.data_json(&InFile {
            version: 1,
            migration: Some(run.id),
            method: "reembed",
            running: holder.is_some(),
            bots,
            started_at: run.started_at.to_string(),
            finished_at: run.finished_at.map(|at| at.to_string()),
            last_error: run.last_error,
        })?;
        return Ok(Exit::Done);
    }
    let phase = match (&run.finished_at, holder) {
        (Some(_), _) => ui.coloured(Colour::Green, "done"),
        (None, Some(holder)) => format!("embedding, running ({holder})"),
        (None, None) => {
            let state = ui.coloured(Colour::Yellow, "not running");
            format!("embedding, {state}; `vecferry migrate --method reembed` goes on from here")
        }
    };
    let mut lines = vec![
        format!("migration {} (reembed) from {}", run.id, run.settings.registry),
        format!("{:<12}{phase}", "phase"),
        format!("{:<12}{}", "bots", bots_line(&bots)),
        format!("{:<12}{}", "begun", run.started_at),
    ];
    lines.extend(run.finished_at.map(|at| format!("{:<12}{at}", "finished")));
    lines.extend(run.last_error.map(|error| format!("{:<12}{error}", "stopped by")));
    ui.data(&lines.join("\n"))?;
    Ok(Exit::Done)
}

/// Moves the cursor to where the last view began and clears from there.
fn rewind(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}F\x1b[J") }
}

fn render(status: &Status, ui: &Ui) -> String {
    let mut lines = vec![
        format!("migration {} ({}) from {}", status.migration, status.method, status.source),
        format!("{:<12}{}", "phase", phase(status, ui)),
    ];
    lines.push(match &status.bots {
        Some(bots) => format!("{:<12}{}", "bots", bots_line(bots)),
        None => format!("{:<12}{}", "rows", rows(status)),
    });
    if status.indexes_total > 0 {
        lines.push(format!(
            "{:<12}{} of {}",
            "indexes", status.indexes_finished, status.indexes_total
        ));
    }
    lines.extend(status.follow.iter().flat_map(|follow| following(follow, status.phase, ui)));
    lines.extend(status.crossings.iter().map(|one| crossing(one, status.running, ui)));
    for index in &status.indexes {
        let percent =
            index.percent.map_or(String::new(), |p| format!("  {} {p:.0}%", bar(p / 100.0)));
        lines.push(format!("  {}: {}{percent}", index.index, build_phase(&index.phase)));
    }
    lines.push(format!("{:<12}{}", "begun", status.started_at));
    match &status.finished_at {
        Some(at) => lines.push(format!("{:<12}{at}", "finished")),
        None => lines.push(format!("{:<12}{}", "recorded", status.updated_at)),
    }
    if let (Some(error), None) = (&status.last_error, &status.finished_at) {
        // Whoever watches a follow may stop watching it: the servers go on.
        let label = if status.phase == Phase::Following { "watch ended" } else { "stopped by" };
        lines.push(format!("{label:<12}{error}"));
    }
    if !status.tables.is_empty() {
        lines.push(String::new());
        lines.push(tables(status));
    }
    lines.join("\n")
}

/// `12 proven of 40, 3 running, 1 failed`.
pub(crate) fn bots_line(counts: &Counts) -> String {
    let mut line = format!("{} proven of {}", count(counts.proven), count(counts.total()));
    let others = [
        (counts.running, "running"),
        (counts.waiting, "waiting"),
        (counts.failed, "failed"),
        (counts.skipped, "left out"),
    ];
    for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
        line.push_str(&format!(", {} {what}", count(number)));
    }
    line
}

fn phase(status: &Status, ui: &Ui) -> String {
    match (status.phase, status.running) {
        (Phase::Done, _) => ui.coloured(Colour::Green, "done"),
        (phase, true) => {
            let eta = status.eta_seconds.map(|seconds| format!(", ETA {}", duration(seconds)));
            format!("{phase}, running{}", eta.unwrap_or_default())
        }
        (Phase::Following, false) => {
            let state = status.follow.as_ref().map_or(FollowState::Unknown, |follow| follow.state);
            format!("following, {}", words(state, ui))
        }
        (phase, false) => {
            let state = ui.coloured(Colour::Yellow, "not running");
            format!("{phase}, {state}; `vecferry migrate` goes on from here")
        }
    }
}

/// A state in words.
fn words(state: FollowState, ui: &Ui) -> String {
    let red = |text| ui.coloured(Colour::Red, text);
    match state {
        FollowState::Applying => ui.coloured(Colour::Green, "applying"),
        FollowState::CatchingUp => ui.coloured(Colour::Yellow, "catching up"),
        FollowState::Unknown => "applying as far as the receiver can tell".into(),
        FollowState::NotSubscribed => "not subscribed".into(),
        FollowState::Disconnected => red("not connected; the server tries again by itself"),
        FollowState::Stopped => {
            red("stopped by an error, or disabled; `vecferry migrate` says why")
        }
        FollowState::PublicationMissing => {
            red("the publication is gone; `vecferry migrate` says more")
        }
        FollowState::SlotMissing => red("the slot is gone; `vecferry migrate` says more"),
        FollowState::SlotLost => red("the slot has lost its WAL; `vecferry migrate` says more"),
    }
}

/// How far a cutover or rollback is, and what leads on where nobody works on it.
fn crossing(one: &CrossingStatus, running: bool, ui: &Ui) -> String {
    let step = one.step.as_str();
    let text = match one.step {
        Step::Finished => {
            let seconds = one.downtime_seconds.unwrap_or_default();
            let at = one.switched_at.as_deref().unwrap_or("an unknown time");
            format!("done at {at}, writes were refused for {seconds:.1}s")
        }
        Step::Undone => {
            format!("undone, nothing was switched: {}", one.last_error.as_deref().unwrap_or("-"))
        }
        _ if running => format!("at step {step}"),
        _ => {
            let stopped = ui.coloured(Colour::Red, &format!("stopped at step {step}"));
            let other = match (one.direction, one.way_back || one.step.is_before_the_switch()) {
                (Direction::Cutover, true) => ", `vecferry rollback` goes back",
                _ => "",
            };
            let fence = "writes may be refused on the";
            let (sender, on) = (one.direction.sender(), one.direction);
            format!("{stopped}, {fence} {sender}; `vecferry {on}` goes on{other}")
        }
    };
    format!("{:<12}{text}", one.direction.as_str())
}

/// How apply is doing; of every link where there are several, or where one is not well.
fn following(follow: &FollowStatus, phase: Phase, ui: &Ui) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String| lines.push(format!("{label:<12}{text}"));
    if let Some(bytes) = follow.lag_bytes {
        let seconds = follow.lag_seconds.map(|seconds| format!(", {}", duration(seconds)));
        line("lag", format!("{}{}", size(bytes), seconds.unwrap_or_default()));
    }
    if let Some(bytes) = follow.bytes_per_second {
        line("apply", rate(bytes));
    }
    if let Some(bytes) = follow.retained_bytes {
        let left = follow.safe_bytes.map(|bytes| match u64::try_from(bytes) {
            Ok(bytes) => format!(", {} more until the slot may be lost", size(bytes)),
            Err(_) => ", and the slot may be lost at any time".into(),
        });
        line("WAL kept", format!("{}{}", size(bytes), left.unwrap_or_default()));
    }
    // Before it subscribes it is said by the phase, and of one link that is well by its lag.
    let plain = follow.links.len() == 1 && follow.state <= FollowState::Unknown;
    if !plain && matches!(phase, Phase::CatchUp | Phase::Following) {
        follow.links.iter().for_each(|one| line("link", link(one, ui)));
    }
    if let Some(back) = &follow.way_back {
        line("way back", link(back, ui));
    }
    if let Some(problem) = &follow.source_problem {
        line("source", format!("not asked: {problem}"));
    }
    for warning in &follow.warnings {
        line("warning", ui.coloured(Colour::Yellow, warning));
    }
    lines
}

fn link(link: &LinkStatus, ui: &Ui) -> String {
    let mut text = format!("{}: {}", link.name, words(link.state, ui));
    if let Some(errors) = link.subscription.as_ref().and_then(|one| one.apply_errors)
        && errors > 0
    {
        text.push_str(&format!(" ({} so far)", counted(errors.cast_unsigned(), "error")));
    }
    text
}

fn rows(status: &Status) -> String {
    let mut words = Vec::new();
    if status.bytes_expected > 0 {
        let part = (status.bytes as f64 / status.bytes_expected as f64).min(1.0);
        words.push(format!("{} {:.0}%", bar(part), part * 100.0));
    }
    words.push(counted(status.rows, "row"));
    words.push(size(status.bytes));
    words.extend(status.bytes_per_second.map(rate));
    words.push(format!("part {} of {}", count(status.parts), count(status.parts_total)));
    words.join("  ")
}

fn bar(part: f64) -> String {
    let full = (part.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "━".repeat(full), "─".repeat(BAR - full))
}

fn tables(status: &Status) -> String {
    let rows = status.tables.iter().map(|table| {
        vec![
            table.table.clone(),
            count(table.rows),
            size(table.bytes),
            format!("{} of {}", table.parts, table.parts_total),
        ]
    });
    table(&["table", "rows", "size", "parts"], &[1, 2, 3], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;
    use vecferry_core::status::{IndexStatus, TableStatus};

    #[test]
    fn a_crashed_run_says_where_it_is_and_how_to_go_on() {
        let status = Status {
            version: 1,
            migration: "0198".into(),
            method: "copy".into(),
            source: "h:5432/kb".into(),
            phase: Phase::Indexes,
            running: false,
            started_at: "2025-01-02T03:04:05Z".into(),
            updated_at: "2025-01-02T03:05:05Z".into(),
            finished_at: None,
            rows: 150_000,
            bytes: 750 << 20,
            bytes_expected: 1000 << 20,
            parts: 12,
            parts_total: 16,
            bytes_per_second: Some(1e8),
            eta_seconds: None,
            bots: None,
            tables: vec![TableStatus {
                table: "public.items".into(),
                rows: 150_000,
                bytes: 750 << 20,
                parts: 12,
                parts_total: 16,
            }],
            indexes: vec![IndexStatus {
                index: "i".into(),
                phase: "loading".into(),
                percent: Some(50.0),
            }],
            indexes_finished: 1,
            indexes_total: 2,
            last_error: Some("target: cannot write".into()),
            follow: None,
            crossings: Vec::new(),
        };
        let text = render(&status, &Ui::new(&Output::default()));
        for part in
            ["indexes, not running", "75%", "150,000 rows", "part 12 of 16", "50%", "cannot write"]
        {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn a_follow_shows_lag_rate_retained_wal_and_what_is_wrong() {
        let link = LinkStatus {
            name: "vecferry_1_0".into(),
            from: vecferry_core::Side::Source,
            state: FollowState::Stopped,
            lag_bytes: Some(3 << 20),
            bytes_per_second: None,
            publication: Some(true),
            slot: None,
            subscription: None,
        };
        let follow = FollowStatus {
            state: FollowState::Stopped,
            lag_bytes: Some(3 << 20),
            lag_seconds: Some(0.5),
            bytes_per_second: Some(2e6),
            retained_bytes: Some(1 << 30),
            safe_bytes: Some(1 << 20),
            links: vec![link],
            source_reachable: true,
            source_problem: None,
            way_back: None,
            warnings: vec!["slot vecferry_1_0 is close to losing its WAL".into()],
        };
        let text = following(&follow, Phase::Following, &Ui::new(&Output::default())).join("\n");
        for line in [
            "lag         3.0 MiB, 0.5s",
            "apply       1.9 MiB/s",
            "WAL kept    1.0 GiB, 1.0 MiB more until the slot may be lost",
            "link        vecferry_1_0: stopped by an error, or disabled; `vecferry migrate` says why",
            "warning     slot vecferry_1_0",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
