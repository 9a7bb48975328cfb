//! Progress in a log: what happened, with the time, and amounts at most every ten seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use vecferry_core::report::Event;

use super::tally::Tally;
use crate::ui::Ui;
use crate::units::{count, counted, duration, printable, size};

/// Somebody scrolls through this later; ten seconds leave six lines a minute.
const EVERY: Duration = Duration::from_secs(10);

/// A follow is watched for days.
const EVERY_WHILE_FOLLOWING: Duration = Duration::from_secs(30);

/// The log.
#[derive(Debug)]
pub(crate) struct Lines {
    last_amounts: Mutex<Instant>,
    /// When it was last said how far apply is behind, and whether it had caught up then.
    last_behind: Mutex<Option<(Instant, bool)>>,
}

impl Lines {
    /// A log whose first amounts come after ten seconds: what is over sooner needs none.
    pub(crate) fn new(now: Instant) -> Lines {
        Lines { last_amounts: Mutex::new(now), last_behind: Mutex::default() }
    }

    /// Writes a line, if the event deserves one now.
    pub(crate) fn show(&self, event: &Event, tally: &Tally, ui: &Ui, now: Instant) {
        let text = match event {
            Event::Copying { .. }
            | Event::Verifying { .. }
            | Event::IndexProgress { .. }
            | Event::Bots { .. } => {
                if self.due(now) {
                    amounts(event, tally, now)
                } else {
                    None
                }
            }
            Event::Following { caught_up, .. } if self.due_behind(now, *caught_up) => {
                tally.behind.map(|behind| format!("following: {}", behind.text()))
            }
            other => happening(other, ui.verbose),
        };
        if let Some(text) = text {
            ui.say(&format!("{}  {text}", clock()));
        }
    }

    fn due_behind(&self, now: Instant, caught_up: bool) -> bool {
        let mut last = self.last_behind.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|(at, before)| {
            before != caught_up || now.duration_since(at) >= EVERY_WHILE_FOLLOWING
        });
        if due {
            *last = Some((now, caught_up));
        }
        due
    }

    fn due(&self, now: Instant) -> bool {
        let mut last = self.last_amounts.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.duration_since(*last) >= EVERY;
        if due {
            *last = now;
        }
        due
    }
}

fn clock() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn amounts(event: &Event, tally: &Tally, now: Instant) -> Option<String> {
    let percent = tally.fraction().map_or(String::new(), |part| format!("{:.0}%  ", part * 100.0));
    match event {
        Event::IndexProgress { index, .. } => tally
            .indexes
            .get(index)
            .map(|building| format!("index {index}: {}", building.text(now))),
        Event::Bots { .. } => Some(format!("bots: {percent}{}", tally.amounts_text())),
        Event::Verifying { what, .. } => {
            Some(format!("verifying {what}: {percent}{}", tally.amounts_text()))
        }
        _ => {
            let (parts, total) = tally.parts()?;
            Some(format!("rows: {percent}{}  part {parts} of {total}", tally.amounts_text()))
        }
    }
}

/// What happened, in one line; `None` when it is not for this verbosity.
pub(crate) fn happening(event: &Event, verbose: u8) -> Option<String> {
    Some(match event {
        Event::Started { migration, resumed, tables, bytes } => {
            let verb = if *resumed { "continuing" } else { "starting" };
            let tables = counted(*tables as u64, "table");
            format!("{verb} migration {migration}: {tables}, {} on the source", size(*bytes))
        }
        Event::PhaseStarted { phase, step, steps } => format!("[{step}/{steps}] {phase}"),
        Event::PhaseFinished { phase, seconds } => {
            format!("{phase} finished in {}", duration(*seconds))
        }
        Event::PartFinished { table, part, parts, rows, bytes, seconds } if verbose > 0 => format!(
            "part {} of {parts} of {table}: {} rows, {} in {}",
            part + 1,
            count(*rows),
            size(*bytes),
            duration(*seconds)
        ),
        Event::TableRedone { table, reason } => format!("{table} is copied again: {reason}"),
        Event::IndexStarted { index, table, memory, fits } => {
            let fits = match fits {
                Some(true) => ", expected to fit",
                Some(false) => ", expected not to fit: the build will be slow (see --index-memory)",
                None => "",
            };
            format!("index {index} on {table}: building with {}{fits}", size(*memory))
        }
        Event::IndexFinished { index, seconds } => {
            format!("index {index} finished in {}", duration(*seconds))
        }
        Event::StageStarted { stage } => format!("{stage} …"),
        Event::StageFinished { stage, seconds } => {
            format!("{stage} done in {:.0} ms", seconds * 1000.0)
        }
        Event::SwitchSaid { line } => format!("switch: {line}"),
        Event::Notice { text } => format!("notice: {text}"),
        Event::Retrying { error, attempt, attempts } => {
            format!("going on after an error (retry {attempt} of {attempts}): {error}")
        }
        Event::PartFinished { .. }
        | Event::Copying { .. }
        | Event::Following { .. }
        | Event::Verifying { .. }
        | Event::IndexProgress { .. }
        | Event::Finished(_) => return None,
        other => return happening_to_bots(other, verbose).as_deref().map(printable),
    })
}

/// The same for the events of a re-embedding.
fn happening_to_bots(event: &Event, verbose: u8) -> Option<String> {
    Some(match event {
        Event::ReembedStarted { migration, resumed, bots } => {
            let verb = if *resumed { "continuing" } else { "starting" };
            format!(
                "{verb} migration {migration}: {} to embed",
                counted(bots.waiting + bots.running, "bot")
            )
        }
        Event::DeltaSettled { rows_removed, .. } if *rows_removed > 0 => {
            format!("removed {} of bots that are gone", counted(*rows_removed, "row"))
        }
        Event::BotStarted { bot, attempt, task } if verbose > 0 => {
            format!("bot {bot}: attempt {attempt} started as task {task}")
        }
        Event::BotProven { bot, rows: Some(rows), .. } if verbose > 0 => {
            format!("bot {bot}: proven with {}", counted(*rows, "row"))
        }
        Event::BotProven { bot, .. } if verbose > 0 => format!("bot {bot}: proven"),
        Event::BotRepeated { bot, reason, seconds, .. } => {
            format!("bot {bot}: again in {}: {reason}", duration(*seconds))
        }
        Event::BotFailed { bot, reason, .. } => format!("bot {bot} failed: {reason}"),
        Event::BotSkipped { bot, why } => format!("bot {bot} is left out: {}", why.as_str()),
        Event::BotBusy { bot, by } => format!("bot {bot}: somebody else works on it ({by})"),
        Event::Throttled { launches_per_second } => {
            format!("slowed down to {launches_per_second:.1} launches a second")
        }
        Event::NoRoom { reason, seconds } => {
            format!("no room for tasks, going on in {}: {reason}", duration(*seconds))
        }
        Event::Braked { bots, reason } => {
            format!("stopping: the tasks of the first {bots} bots all ended alike: {reason}")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_come_at_most_every_ten_seconds() {
        let start = Instant::now();
        let lines = Lines::new(start);
        let due: Vec<u64> =
            (0..25).filter(|second| lines.due(start + Duration::from_secs(*second))).collect();
        assert_eq!(due, [10, 20]);
    }

    #[test]
    fn a_follow_is_told_of_every_half_minute_and_when_it_catches_up_or_falls_behind() {
        let start = Instant::now();
        let lines = Lines::new(start);
        let due: Vec<u64> = (0..70)
            .filter(|second| lines.due_behind(start + Duration::from_secs(*second), *second >= 5))
            .collect();
        assert_eq!(due, [0, 5, 35, 65]);
    }

    #[test]
    fn parts_are_told_only_when_asked_for() {
        let event = Event::PartFinished {
            table: "public.items".into(),
            part: 0,
            parts: 3,
            rows: 1200,
            bytes: 1 << 20,
            seconds: 1.0,
        };
        assert_eq!(happening(&event, 0), None);
        let told = happening(&event, 1);
        assert_eq!(
            told.as_deref(),
            Some("part 1 of 3 of public.items: 1,200 rows, 1.0 MiB in 1.0s")
        );
    }
}
