//! What the application's writes to the source take: without us, during the copy, while the target
//! follows; all in one run of one writer at one rate.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use vecferry_testkit::{Ledger, percentile};

use super::cutovers::check;
use super::ground::{Course, Ground, PATIENCE};

/// Between two looks at a target that follows.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Latency in one stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) writes: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) longest: Duration,
}

/// The windows, and what must not be.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) windows: Vec<Window>,
    pub(super) violations: Vec<String>,
}

/// Measures all windows.
pub(super) fn measure(ground: &Ground) -> Result<Latency> {
    let course = ground.fresh()?;
    let writer = ground.writer(&course, 1, None)?;
    let seconds = Duration::from_secs(ground.arguments.seconds);
    let mut marks = vec![("without vecferry", writer.elapsed())];
    std::thread::sleep(seconds);
    if let Some(vecferry) = ground.vecferry(&course) {
        marks.push(("during migrate", writer.elapsed()));
        vecferry.migrate()?;
        marks.push(("while following", writer.elapsed()));
        std::thread::sleep(seconds);
    }
    let end = writer.elapsed();
    let ledger = writer.stop();
    let mut windows = Vec::new();
    for (place, (name, start)) in marks.iter().enumerate() {
        let end = marks.get(place + 1).map_or(end, |(_, next)| *next);
        windows.extend(window(name, &ledger, *start..end));
    }
    ensure!(windows.len() == marks.len(), "no write was acknowledged in one of {marks:?}");
    let mut violations = check(ground, &ledger, &course.source, "the source")?;
    if let Some(vecferry) = ground.vecferry(&course) {
        violations.extend(followed(ground, &course, &ledger)?);
        // That it can be read is part of the contract; its value is of no account here.
        vecferry.lag_bytes()?;
        vecferry.cleanup()?;
    }
    Ok(Latency { windows, violations })
}

fn window(name: &'static str, ledger: &Ledger, time: Range<Duration>) -> Option<Window> {
    let latencies = ledger.latencies(time.clone());
    Some(Window {
        name,
        seconds: (time.end - time.start).as_secs_f64(),
        writes: latencies.len(),
        p50: percentile(&latencies, 0.5)?,
        p99: percentile(&latencies, 0.99)?,
        longest: percentile(&latencies, 1.0)?,
    })
}

/// What the target still lacks when it has had time to catch up.
fn followed(ground: &Ground, course: &Course, ledger: &Ledger) -> Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let violations = check(ground, ledger, &course.target, "the target that followed")?;
        if violations.is_empty() || started.elapsed() > PATIENCE {
            return Ok(violations);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
