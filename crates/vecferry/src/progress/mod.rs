//! How a migration's events are shown: bars where somebody watches, lines in a log, JSON for programs. All three
//! feed one [`Tally`], which alone knows rates and remaining time.

mod bars;
mod events;
mod lines;
mod tally;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vecferry_core::phase::Phase;
use vecferry_core::report::{Event, Reporter};

use crate::ui::Ui;
use bars::Bars;
use events::Events;
use lines::Lines;
pub(crate) use tally::Tally;

/// Shows events and remembers how far things are.
pub(crate) struct Progress {
    ui: Ui,
    tally: Mutex<Tally>,
    shown: Shown,
    /// What is said once when a follow that goes on has caught up.
    once_caught_up: Mutex<Option<&'static str>>,
}

/// The one way in which this run shows its progress.
enum Shown {
    Nothing,
    Bars(Bars),
    Lines(Lines),
    Events(Events),
}

impl Progress {
    /// For a command whose JSON is its events.
    pub(crate) fn of_events(ui: &Ui) -> Progress {
        if ui.json { Progress::showing(ui, Shown::Events(Events)) } else { Progress::of_result(ui) }
    }

    /// For a command whose JSON is one result: progress goes to stderr, whatever stdout carries.
    pub(crate) fn of_result(ui: &Ui) -> Progress {
        let shown = if ui.quiet {
            Shown::Nothing
        } else if ui.watched() {
            Shown::Bars(Bars::new(&ui.bars))
        } else {
            Shown::Lines(Lines::new(Instant::now()))
        };
        Progress::showing(ui, shown)
    }

    fn showing(ui: &Ui, shown: Shown) -> Progress {
        Progress {
            ui: ui.clone(),
            tally: Mutex::new(Tally::new()),
            shown,
            once_caught_up: Mutex::default(),
        }
    }

    /// Says this, once, when the target has caught up and is watched on.
    pub(crate) fn saying_once_caught_up(self, text: Option<&'static str>) -> Progress {
        Progress { once_caught_up: Mutex::new(text), ..self }
    }

    /// The phase in progress.
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.tally().phase.map(|(phase, ..)| phase)
    }

    /// Parts finished and parts in all, once rows have moved.
    pub(crate) fn parts(&self) -> Option<(usize, usize)> {
        self.tally().parts()
    }

    /// Removes the bars; what comes next is the result.
    pub(crate) fn finish(&self) {
        if let Shown::Bars(bars) = &self.shown {
            bars.clear();
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // A tally is plain numbers: one left half-updated by a panic is still worth showing.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Progress {
    fn event(&self, event: &Event) {
        let now = Instant::now();
        let mut tally = self.tally();
        tally.take(event, now);
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bars(bars) => bars.show(event, &tally, &self.ui),
            Shown::Lines(lines) => lines.show(event, &tally, &self.ui, now),
            Shown::Events(events) => events.show(event, &self.ui),
        }
        if matches!(event, Event::Following { caught_up: true, .. })
            && tally.follows()
            && let Shown::Bars(_) | Shown::Lines(_) = self.shown
            && let Some(text) =
                self.once_caught_up.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            self.ui.say(text);
        }
    }
}
