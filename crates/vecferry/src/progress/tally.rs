//! What the events add up to: phase, amounts, rate, time left. Pure; the clock is a parameter.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use vecferry_core::cutover::step::Stage;
use vecferry_core::phase::Phase;
use vecferry_core::reembed::store::Counts;
use vecferry_core::report::Event;

use crate::commands::bots_line;
use crate::units::{build_phase, count, duration, rate, size};

/// Rates are taken over this long: short enough to follow a change, long enough not to jump with every part.
const WINDOW: Duration = Duration::from_secs(10);

/// Bytes moved, as of the last event that told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Amounts {
    /// Rows moved.
    pub(crate) rows: u64,
    /// Bytes moved.
    pub(crate) bytes: u64,
    /// Bytes expected in all.
    pub(crate) bytes_expected: u64,
    /// Parts finished.
    pub(crate) parts: usize,
    /// Parts in all.
    pub(crate) parts_total: usize,
}

/// An index under construction.
#[derive(Debug, Clone)]
pub(crate) struct Building {
    /// The server's name of the phase.
    pub(crate) phase: String,
    /// Percent of that phase.
    pub(crate) percent: Option<f64>,
    /// When that phase began, and at how many percent it was seen first.
    since: Instant,
    first_percent: f64,
}

/// How far apply is behind, as of the last event that told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Behind {
    /// Bytes of WAL not confirmed.
    pub(crate) lag_bytes: u64,
    /// Seconds behind.
    pub(crate) lag_seconds: Option<f64>,
    /// Bytes of WAL that the source keeps.
    pub(crate) retained_bytes: u64,
    /// Bytes of WAL confirmed per second.
    pub(crate) bytes_per_second: Option<f64>,
    /// Whether the target has caught up.
    pub(crate) caught_up: bool,
}

/// Everything the reporters show.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Phase in progress and its place among the phases.
    pub(crate) phase: Option<(Phase, usize, usize)>,
    /// What is compared, during a verification.
    pub(crate) verifying: Option<String>,
    /// How far apply is behind, while it is watched.
    pub(crate) behind: Option<Behind>,
    /// Where the bots of a re-embedding are, and how many launches a second are allowed now.
    pub(crate) bots: Option<(Counts, Option<f64>)>,
    /// Stage of a cutover or rollback in progress.
    pub(crate) stage: Option<Stage>,
    /// What has moved, or was read for a verification.
    pub(crate) amounts: Amounts,
    /// Indexes under construction by name.
    pub(crate) indexes: BTreeMap<String, Building>,
    samples: VecDeque<(Instant, u64)>,
}

impl Tally {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Tally {
        Tally {
            phase: None,
            stage: None,
            verifying: None,
            behind: None,
            bots: None,
            amounts: Amounts::default(),
            indexes: BTreeMap::new(),
            samples: VecDeque::new(),
        }
    }

    /// Adds an event.
    pub(crate) fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::PhaseStarted { phase, step, steps } => {
                self.phase = Some((*phase, *step, *steps));
                self.behind = None;
            }
            Event::Following {
                lag_bytes,
                lag_seconds,
                retained_bytes,
                bytes_per_second,
                caught_up,
            } => {
                self.behind = Some(Behind {
                    lag_bytes: *lag_bytes,
                    lag_seconds: *lag_seconds,
                    retained_bytes: *retained_bytes,
                    bytes_per_second: *bytes_per_second,
                    caught_up: *caught_up,
                });
            }
            Event::Copying { rows, bytes, parts, parts_total, bytes_expected } => {
                self.amounts = Amounts {
                    rows: *rows,
                    bytes: *bytes,
                    bytes_expected: *bytes_expected,
                    parts: *parts,
                    parts_total: *parts_total,
                };
                self.sample(*bytes, now);
            }
            Event::Verifying { what, bytes, bytes_expected } => {
                self.verifying = Some(what.clone());
                self.amounts.bytes = *bytes;
                self.amounts.bytes_expected = *bytes_expected;
                self.sample(*bytes, now);
            }
            Event::ReembedStarted { bots, .. } => self.bots = Some((*bots, None)),
            Event::Bots { counts, launches_per_second } => {
                self.bots = Some((*counts, Some(*launches_per_second)));
                // What is settled moves the rate, and with it the time left.
                self.sample(settled(counts), now);
            }
            Event::StageStarted { stage } => {
                self.stage = Some(*stage);
                self.verifying = None;
            }
            Event::IndexStarted { index, .. } => self.build(index, "starting", None, now),
            Event::IndexProgress { index, phase, percent } => {
                self.build(index, phase, *percent, now);
            }
            Event::IndexFinished { index, .. } => {
                self.indexes.remove(index);
            }
            // The lost connections took their builds and their rate with them.
            Event::Retrying { .. } => {
                self.indexes.clear();
                self.samples.clear();
            }
            _ => {}
        }
    }

    fn sample(&mut self, bytes: u64, now: Instant) {
        // A run that starts over counts down to what is recorded; older samples would give a negative rate.
        if self.samples.back().is_some_and(|(_, last)| *last > bytes) {
            self.samples.clear();
        }
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) >= WINDOW {
            self.samples.pop_front();
        }
    }

    fn build(&mut self, index: &str, phase: &str, percent: Option<f64>, now: Instant) {
        let fresh = Building {
            phase: phase.to_owned(),
            percent,
            since: now,
            first_percent: percent.unwrap_or(0.0),
        };
        match self.indexes.get_mut(index) {
            Some(building) if building.phase == phase => building.percent = percent,
            Some(building) => *building = fresh,
            None => {
                self.indexes.insert(index.to_owned(), fresh);
            }
        }
    }

    /// Whether the copy is over and the target only follows.
    pub(crate) fn follows(&self) -> bool {
        matches!(self.phase, Some((Phase::Following, ..)))
    }

    /// Parts finished and in all, once rows have moved.
    pub(crate) fn parts(&self) -> Option<(usize, usize)> {
        (self.amounts.parts_total > 0).then_some((self.amounts.parts, self.amounts.parts_total))
    }

    /// Bytes (or bots settled) a second over the last seconds.
    pub(crate) fn per_second(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        // Less than this is noise of the first events.
        (seconds >= 0.2).then(|| (to - from) as f64 / seconds)
    }

    /// Part of the bytes that are moved, 0 to 1.
    pub(crate) fn fraction(&self) -> Option<f64> {
        if let Some((counts, _)) = &self.bots {
            return (counts.total() > 0).then(|| settled(counts) as f64 / counts.total() as f64);
        }
        let Amounts { bytes, bytes_expected, .. } = self.amounts;
        (bytes_expected > 0).then(|| (bytes as f64 / bytes_expected as f64).min(1.0))
    }

    /// Seconds left for the bytes that are still to move.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let left = self.amounts.bytes_expected.checked_sub(self.amounts.bytes)?;
        let rate = self.per_second().filter(|rate| *rate > 0.0)?;
        (left > 0).then(|| left as f64 / rate)
    }

    /// Whether rows move, or are read, or bots are embedded, in the present phase.
    pub(crate) fn counts_up(&self) -> bool {
        self.bots.is_some()
            || self.amounts.bytes_expected > 0
                && (self.verifying.is_some()
                    || matches!(self.phase, Some((Phase::Rows, ..)) | None))
    }

    /// `12 proven of 40, 3 running  ETA 2m 5s`, as far as it is known.
    fn bots_text(&self, counts: &Counts, launches: Option<f64>) -> String {
        let mut words = vec![bots_line(counts)];
        if counts.waiting > 0 {
            words.extend(launches.map(|rate| format!("at most {rate:.1} launches/s")));
        }
        let rate = self.per_second().filter(|rate| *rate > 0.0);
        let left = (counts.total() - settled(counts)) as f64;
        words.extend(rate.map(|rate| format!("ETA {}", duration(left / rate))));
        words.join("  ")
    }

    /// `1,234 rows  1.2 GiB  310 MiB/s  ETA 12s`, as far as it is known.
    pub(crate) fn amounts_text(&self) -> String {
        if let Some((counts, launches)) = &self.bots {
            return self.bots_text(counts, *launches);
        }
        let mut words = Vec::new();
        if self.amounts.rows > 0 {
            words.push(format!("{} rows", count(self.amounts.rows)));
        }
        words.push(size(self.amounts.bytes));
        words.extend(self.per_second().map(rate));
        words.extend(self.seconds_left().map(|seconds| format!("ETA {}", duration(seconds))));
        words.join("  ")
    }
}

/// Bots for which nothing more is done.
fn settled(counts: &Counts) -> u64 {
    counts.proven + counts.failed + counts.skipped
}

impl Behind {
    /// `caught up  lag 1.2 MiB, 0.4s  applying 3.1 MiB/s  WAL kept 17.0 MiB`, as far as it is known.
    pub(crate) fn text(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.caught_up.then(|| "caught up".to_owned()));
        let seconds = self.lag_seconds.map(|seconds| format!(", {}", duration(seconds)));
        words.push(format!("lag {}{}", size(self.lag_bytes), seconds.unwrap_or_default()));
        words.extend(self.bytes_per_second.map(|bytes| format!("applying {}", rate(bytes))));
        words.push(format!("WAL kept {}", size(self.retained_bytes)));
        words.join("  ")
    }
}

impl Building {
    /// `loading tuples 45%  ETA 1m 05s`, as far as it is known.
    pub(crate) fn text(&self, now: Instant) -> String {
        let mut text = build_phase(&self.phase).to_owned();
        if let Some(percent) = self.percent {
            text.push_str(&format!(" {percent:.0}%"));
        }
        if let Some(seconds) = self.seconds_left(now) {
            text.push_str(&format!("  ETA {}", duration(seconds)));
        }
        text
    }

    fn seconds_left(&self, now: Instant) -> Option<f64> {
        let gained = self.percent? - self.first_percent;
        let seconds = now.duration_since(self.since).as_secs_f64();
        // A first percent or two say nothing about the rest.
        (gained >= 2.0 && seconds >= 2.0)
            .then(|| seconds / gained * (100.0 - self.percent.unwrap_or(100.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copying(bytes: u64) -> Event {
        Event::Copying { rows: 10, bytes, parts: 1, parts_total: 4, bytes_expected: 1000 << 20 }
    }

    #[test]
    fn rate_and_time_left_come_from_the_last_seconds() {
        let start = Instant::now();
        let mut tally = Tally::new();
        for second in 0..=20_u64 {
            // Slow first, then 20 MiB/s.
            let mib = if second < 5 { second } else { 5 + (second - 5) * 20 };
            tally.take(&copying(mib << 20), start + Duration::from_secs(second));
        }
        assert_eq!(tally.per_second().map(rate).as_deref(), Some("20.0 MiB/s"));
        assert_eq!(tally.seconds_left().map(duration).as_deref(), Some("35s"));
        assert_eq!(tally.parts(), Some((1, 4)));
    }

    #[test]
    fn a_run_that_starts_over_has_no_negative_rate() {
        let start = Instant::now();
        let mut tally = Tally::new();
        tally.take(&copying(50 << 20), start);
        tally.take(&copying(10 << 20), start + Duration::from_secs(1));
        assert_eq!(tally.per_second(), None);
        tally.take(&copying(20 << 20), start + Duration::from_secs(2));
        assert_eq!(tally.per_second().map(rate).as_deref(), Some("10.0 MiB/s"));
    }

    #[test]
    fn a_follow_tells_how_far_behind_it_is() {
        let now = Instant::now();
        let mut tally = Tally::new();
        let started = |phase| Event::PhaseStarted { phase, step: 1, steps: 2 };
        tally.take(&started(Phase::Following), now);
        assert!(tally.follows() && tally.behind.is_none());
        let event = Event::Following {
            lag_bytes: 3 << 20,
            lag_seconds: Some(0.4),
            retained_bytes: 17 << 20,
            bytes_per_second: Some(2e6),
            caught_up: true,
        };
        tally.take(&event, now);
        assert_eq!(
            tally.behind.unwrap().text(),
            "caught up  lag 3.0 MiB, 0.4s  applying 1.9 MiB/s  WAL kept 17.0 MiB"
        );
    }

    #[test]
    fn an_index_build_tells_when_it_will_end() {
        let start = Instant::now();
        let mut tally = Tally::new();
        let progress = |percent| Event::IndexProgress {
            index: "i".into(),
            phase: "building index: loading tuples".into(),
            percent: Some(percent),
        };
        tally.take(&progress(10.0), start);
        tally.take(&progress(20.0), start + Duration::from_secs(10));
        let text = tally.indexes["i"].text(start + Duration::from_secs(10));
        assert_eq!(text, "loading tuples 20%  ETA 1m 20s");
        tally.take(&Event::IndexFinished { index: "i".into(), seconds: 1.0 }, start);
        assert!(tally.indexes.is_empty());
    }
}
