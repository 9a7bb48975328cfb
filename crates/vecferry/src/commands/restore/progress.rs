//! What is told while RDS works: lines for people, events for programs.

use serde::Serialize;
use vecferry_aws::cluster::Progress;

use crate::ui::Ui;
use crate::units::duration;

/// Tells it.
pub(crate) struct Told {
    ui: Ui,
    /// Whether stdout carries events.
    events: bool,
}

/// An event with the layout's version and the time.
#[derive(Serialize)]
struct Stamped<'a> {
    version: u32,
    at: jiff::Timestamp,
    #[serde(flatten)]
    progress: &'a Progress,
}

impl Told {
    /// For a command whose JSON is its events.
    pub(crate) fn new(ui: &Ui) -> Told {
        Told { ui: ui.clone(), events: ui.json }
    }

    /// For a command whose JSON is one result.
    pub(crate) fn beside_a_result(ui: &Ui) -> Told {
        Told { ui: ui.clone(), events: false }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        if self.events {
            // A reader that went away is no reason to stop.
            let _ =
                self.ui.data_json(&Stamped { version: 1, at: jiff::Timestamp::now(), progress });
            return;
        }
        self.ui.say(&line(progress));
    }
}

fn line(progress: &Progress) -> String {
    match progress {
        Progress::Doing { what } => format!("{what} …"),
        Progress::Waiting { what, id, status, seconds, limit } => format!(
            "waiting for {what} {id}: {status} ({} of at most {})",
            duration(*seconds as f64),
            duration(*limit as f64)
        ),
        Progress::Again { error } => format!("trying again: {error}"),
    }
}
