//! Progress on a terminal: one bar for the phase, one line below it for each index under construction.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use vecferry_core::report::Event;

use super::lines::happening;
use super::tally::Tally;
use crate::ui::Ui;

/// A command that is over sooner draws nothing.
const QUIET_START: Duration = Duration::from_millis(250);

/// How often the spinner turns: a phase without events must not look hung.
const TICK: Duration = Duration::from_millis(125);

/// The bar counts thousandths of the phase, so that one style serves bytes and percents.
const STEPS: u64 = 1000;

/// A phase that moves bytes.
const MOVING: &str = "{spinner} {prefix:16} {bar:24} {elapsed:>4}  {msg}";

/// A phase that cannot say how far it is; an empty bar would look like one that is stuck.
const WORKING: &str = "{spinner} {prefix:16} {elapsed:>4}  {msg}";

/// An index under construction.
const BUILDING: &str = "    {prefix:28!} {bar:24} {elapsed:>4}  {msg}";

/// Done, the tip, to do.
const GLYPHS: &str = "━╸─";

/// The bars of one run.
#[derive(Debug)]
pub(crate) struct Bars {
    multi: MultiProgress,
    drawn: Mutex<Drawn>,
}

#[derive(Debug, Default)]
struct Drawn {
    main: Option<ProgressBar>,
    indexes: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// Draws into `multi`, which is hidden until the quiet start is over.
    pub(crate) fn new(multi: &MultiProgress) -> Bars {
        let hidden = multi.clone();
        // No event may come for minutes (an index build), so the start cannot be left to the next event. Revealing
        // a run that is over shows nothing: its bars are gone.
        std::thread::spawn(move || {
            std::thread::sleep(QUIET_START);
            hidden.set_draw_target(ProgressDrawTarget::stderr());
        });
        Bars { multi: multi.clone(), drawn: Mutex::default() }
    }

    /// Brings the bars up to date and writes above them what should stay.
    pub(crate) fn show(&self, event: &Event, tally: &Tally, ui: &Ui) {
        if stays(event)
            && let Some(text) = happening(event, ui.verbose)
        {
            ui.say(&text);
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let main = drawn.main.get_or_insert_with(|| self.main_bar()).clone();
        main.set_prefix(prefix(tally));
        let template = if tally.counts_up() { MOVING } else { WORKING };
        if let Ok(style) = ProgressStyle::with_template(template) {
            main.set_style(style.progress_chars(GLYPHS));
        }
        let moving = tally.fraction().filter(|_| tally.counts_up());
        main.set_position((moving.unwrap_or(0.0) * STEPS as f64) as u64);
        let amounts = moving.map(|_| tally.amounts_text());
        let behind = tally.behind.map(|behind| behind.text());
        let words = tally.verifying.iter().cloned().chain(amounts).chain(behind);
        main.set_message(words.collect::<Vec<_>>().join("  "));
        self.draw_indexes(&mut drawn, tally);
    }

    fn draw_indexes(&self, drawn: &mut Drawn, tally: &Tally) {
        drawn.indexes.retain(|name, bar| {
            let building = tally.indexes.contains_key(name);
            if !building {
                bar.finish_and_clear();
                self.multi.remove(bar);
            }
            building
        });
        let now = Instant::now();
        for (name, building) in &tally.indexes {
            let bar = drawn.indexes.entry(name.clone()).or_insert_with(|| self.index_bar(name));
            bar.set_position((building.percent.unwrap_or(0.0) * STEPS as f64 / 100.0) as u64);
            bar.set_message(building.text(now));
        }
    }

    fn main_bar(&self) -> ProgressBar {
        self.bar(WORKING)
    }

    fn index_bar(&self, name: &str) -> ProgressBar {
        let bar = self.bar(BUILDING);
        bar.set_prefix(name.to_owned());
        bar
    }

    fn bar(&self, template: &str) -> ProgressBar {
        let bar = self.multi.add(ProgressBar::new(STEPS));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars(GLYPHS));
        }
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn = std::mem::take(&mut *drawn);
        for bar in drawn.main.iter().chain(drawn.indexes.values()) {
            bar.finish_and_clear();
            self.multi.remove(bar);
        }
    }
}

/// What a person wants to find above the bars afterwards; the rest the bars say.
fn stays(event: &Event) -> bool {
    !matches!(
        event,
        Event::PhaseStarted { .. }
            | Event::StageStarted { .. }
            | Event::IndexStarted { fits: None | Some(true), .. }
    )
}

fn prefix(tally: &Tally) -> String {
    if let Some(stage) = tally.stage {
        return stage.to_string();
    }
    if tally.bots.is_some() {
        return "embedding".into();
    }
    match (&tally.verifying, tally.phase) {
        (Some(_), _) => "verifying".into(),
        (None, Some((phase, step, steps))) => format!("[{step}/{steps}] {phase}"),
        (None, None) => "starting".into(),
    }
}
