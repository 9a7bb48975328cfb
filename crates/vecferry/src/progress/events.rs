//! Progress for programs: one JSON object a line on stdout.

use serde::Serialize;
use vecferry_core::report::Event;

use crate::ui::Ui;

/// The stream of events.
#[derive(Debug)]
pub(crate) struct Events;

/// An event with the layout's version and the time.
#[derive(Serialize)]
struct Stamped<'a> {
    version: u32,
    at: jiff::Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

impl Events {
    /// Writes the event.
    pub(crate) fn show(&self, event: &Event, ui: &Ui) {
        // A reader that went away is no reason to stop moving data.
        let _ = ui.data_json(&Stamped { version: 1, at: jiff::Timestamp::now(), event });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecferry_core::phase::Phase;

    #[test]
    fn an_event_carries_version_time_and_name() {
        let event = Event::PhaseFinished { phase: Phase::Rows, seconds: 1.5 };
        let at = "2025-01-02T03:04:05Z".parse().unwrap();
        let json = serde_json::to_string(&Stamped { version: 1, at, event: &event }).unwrap();
        assert_eq!(
            json,
            r#"{"version":1,"at":"2025-01-02T03:04:05Z","event":"phase_finished","phase":"rows","seconds":1.5}"#
        );
    }
}
