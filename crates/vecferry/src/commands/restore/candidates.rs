//! The snapshots that could be restored, as a table.

use serde::Serialize;
use vecferry_aws::cluster::Candidate;

use crate::error::Error;
use crate::ui::{Ui, list};
use crate::units::counted;

#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    candidates: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    likely: bool,
    #[serde(flatten)]
    candidate: &'a Candidate,
}

/// Shows them as the command's result.
pub(super) fn show(candidates: &[Candidate], ui: &Ui) -> Result<(), Error> {
    if ui.json {
        let one = |candidate| One { likely: Candidate::is_likely(candidate), candidate };
        return ui
            .data_json(&Json { version: 1, candidates: candidates.iter().map(one).collect() });
    }
    if !candidates.is_empty() {
        ui.data(&render(candidates))?;
    }
    let likely = candidates.iter().filter(|one| one.is_likely()).count() as u64;
    ui.say(&format!(
        "{}, {likely} likely; `vecferry restore --snapshot ID` restores one",
        counted(candidates.len() as u64, "snapshot")
    ));
    Ok(())
}

/// Newest first; a star marks the likely ones.
pub(super) fn render(candidates: &[Candidate]) -> String {
    let rows = candidates.iter().map(|one| {
        let snapshot = &one.snapshot;
        let time = snapshot.time.map_or_else(|| snapshot.status.clone(), |time| time.to_string());
        let size = if snapshot.gib > 0 { format!("{} GiB", snapshot.gib) } else { "–".into() };
        let encrypted = if snapshot.encrypted { "encrypted, " } else { "" };
        let state = match snapshot.status.as_str() {
            "available" => String::new(),
            other => format!("{other}, "),
        };
        vec![
            format!("{}{}", if one.is_likely() { "* " } else { "  " }, snapshot.id),
            snapshot.cluster.clone(),
            snapshot.engine_version.clone(),
            time,
            size,
            format!("{state}{encrypted}{}", one.why()),
        ]
    });
    list(&["snapshot", "cluster", "version", "taken", "size", "why"], &[4], rows.collect())
}
