//! What the workers of a writer share: where they write, and what they have seen.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::WriterOptions;
use super::book::{Book, Key};
use super::ledger::Visit;
use super::link::Ended;
use super::lot::Lot;
use super::outcome::{Operation, Outcome};
use super::plan::Intent;

/// Shared by a writer's workers and its owner.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: WriterOptions,
    pub(super) book: std::sync::Arc<Book>,
    pub(super) started: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

/// All that changes while the writer runs.
#[derive(Debug)]
pub(super) struct State {
    url: String,
    /// What the URL file said last, so that only a change of it counts.
    file_said: String,
    pub(super) visits: Vec<Visit>,
    pub(super) lots: Vec<Lot>,
    pub(super) operations: Vec<Operation>,
    pub(super) surprises: Vec<String>,
    pub(super) connections_failed: u64,
    /// Workers that have come to rest.
    pub(super) idle: BTreeSet<usize>,
    /// Workers that have not ended.
    pub(super) present: usize,
}

impl Shared {
    pub(super) fn new(options: WriterOptions, book: Book) -> Shared {
        let visit = Visit::at(&options.url, Duration::ZERO);
        let state = State {
            url: options.url.clone(),
            file_said: options.url.clone(),
            visits: vec![visit],
            lots: Vec::new(),
            operations: Vec::new(),
            surprises: Vec::new(),
            connections_failed: 0,
            idle: BTreeSet::new(),
            present: 0,
        };
        let (started, book) = (Instant::now(), std::sync::Arc::new(book));
        let state = Mutex::new(state);
        Shared { options, book, started, state, changed: Condvar::new() }
    }

    /// A panic of one worker must not take the others' ledger along.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells [`Shared::wait_until`] that something changed.
    pub(super) fn announce(&self) {
        self.changed.notify_all();
    }

    /// Waits for a state, at most so long; whether it came.
    pub(super) fn wait_until(&self, within: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), within, |state| !reached(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        reached(&state)
    }

    /// Where to write now, and which visit that is.
    pub(super) fn place(&self) -> (String, usize) {
        let state = self.lock();
        (state.url.clone(), state.visits.len() - 1)
    }

    /// Sends all further writes elsewhere.
    pub(super) fn redirect(&self, url: &str) {
        let at = self.started.elapsed();
        let mut state = self.lock();
        if state.url != url {
            url.clone_into(&mut state.url);
            state.visits.push(Visit::at(url, at));
        }
    }

    /// Does what the URL file says, if it says something else than before. A file that is being
    /// written is empty for a moment, and counts as saying nothing.
    pub(super) fn read_file(&self) {
        let Some(said) = self.options.url_file.as_deref().and_then(read) else { return };
        let news = {
            let mut state = self.lock();
            let news = state.file_said != said;
            said.clone_into(&mut state.file_said);
            news
        };
        if news {
            self.redirect(&said);
        }
    }

    /// Writes down how a write ended.
    pub(super) fn note(
        &self,
        intent: &Intent,
        lot: usize,
        visit: usize,
        noted: (Duration, &Ended),
    ) {
        let (latency, ended) = noted;
        let rows: u64 = intent.writes.iter().map(super::lot::Write::rows).sum();
        let operation = Operation {
            kind: intent.kind,
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            ended: self.started.elapsed(),
            latency,
            visit,
            outcome: ended.outcome,
        };
        let mut state = self.lock();
        state.lots[lot].note(intent.version, &intent.writes, ended.outcome);
        if let Some(surprise) = &ended.surprise {
            let surprise = format!("{}: {surprise}", state.lots[lot].name());
            let place = state.visits[visit].database.clone();
            state.surprises.push(format!("{surprise} (at {place})"));
        }
        state.visits[visit].note(&operation);
        state.operations.push(operation);
        drop(state);
        self.announce();
    }

    /// A bot for a worker that lost one to an unknown outcome, or has none yet.
    pub(super) fn add_lot(&self, bot: Option<Key>) -> usize {
        let mut state = self.lock();
        state.lots.push(Lot::new(bot));
        state.lots.len() - 1
    }
}

impl State {
    pub(super) fn count(&self, wanted: impl Fn(Outcome) -> bool) -> u64 {
        self.operations.iter().filter(|operation| wanted(operation.outcome)).count() as u64
    }
}

fn read(file: &Path) -> Option<String> {
    let said = std::fs::read_to_string(file).ok()?.trim().to_owned();
    (said.parse::<tokio_postgres::Config>().is_ok() && !said.is_empty()).then_some(said)
}
