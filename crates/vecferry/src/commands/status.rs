//! `status`: how far the migration on the target is, from any machine.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use serde_json::json;
use vecferry_core::phase::Phase;
use vecferry_core::status::{Status, status};

use crate::cli;
use crate::error::{Error, Exit};
use crate::settings::Settings;
use crate::ui::{Colour, Ui, table};
use crate::units::{count, counted, duration, rate, size};

/// Between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Characters of the bar.
const BAR: usize = 32;

/// Runs the command.
pub(crate) async fn run(args: &cli::Status, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let target = settings.target()?;
    let mut lines_above = 0;
    loop {
        let Some(status) = status(&target).await? else {
            if ui.json {
                ui.data_json(&json!({ "version": 1, "migration": null }))?;
            }
            ui.say(&format!("no migration on {}", target.address()));
            return Ok(Exit::Done);
        };
        if ui.json {
            ui.data_json(&status)?;
        } else {
            let text = render(&status, ui);
            ui.data(&format!("{}{text}", rewind(lines_above)))?;
            lines_above = if stdout().is_terminal() { text.lines().count() } else { 0 };
        }
        if !args.watch || status.phase == Phase::Done {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Moves the cursor to where the last view began and clears from there.
fn rewind(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}F\x1b[J") }
}

fn render(status: &Status, ui: &Ui) -> String {
    let mut lines = vec![
        format!("migration {} ({}) from {}", status.migration, status.method, status.source),
        format!("{:<10}{}", "phase", phase(status, ui)),
        format!("{:<10}{}", "rows", rows(status)),
    ];
    if status.indexes_total > 0 {
        lines.push(format!(
            "{:<10}{} of {}",
            "indexes", status.indexes_finished, status.indexes_total
        ));
    }
    for index in &status.indexes {
        let percent =
            index.percent.map_or(String::new(), |p| format!("  {} {p:.0}%", bar(p / 100.0)));
        lines.push(format!("  {}: {}{percent}", index.index, index.phase));
    }
    lines.push(format!("{:<10}{}", "begun", status.started_at));
    match &status.finished_at {
        Some(at) => lines.push(format!("{:<10}{at}", "finished")),
        None => lines.push(format!("{:<10}{}", "recorded", status.updated_at)),
    }
    if let (Some(error), None) = (&status.last_error, &status.finished_at) {
        lines.push(format!("{:<10}{error}", "stopped by"));
    }
    if !status.tables.is_empty() {
        lines.push(String::new());
        lines.push(tables(status));
    }
    lines.join("\n")
}

fn phase(status: &Status, ui: &Ui) -> String {
    match (status.phase, status.running) {
        (Phase::Done, _) => ui.coloured(Colour::Green, "done"),
        (phase, true) => {
            let eta = status.eta_seconds.map(|seconds| format!(", ETA {}", duration(seconds)));
            format!("{phase}, running{}", eta.unwrap_or_default())
        }
        (phase, false) => {
            let state = ui.coloured(Colour::Yellow, "not running");
            format!("{phase}, {state}; `vecferry migrate` goes on from here")
        }
    }
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
        };
        let text = render(&status, &Ui::new(&Output::default()));
        for part in
            ["indexes, not running", "75%", "150,000 rows", "part 12 of 16", "50%", "cannot write"]
        {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
