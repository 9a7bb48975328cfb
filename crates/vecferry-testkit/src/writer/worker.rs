//! One connection's loop: choose, write, note, and go on whatever happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::link::{Ended, Link};
use super::outcome::Outcome;
use super::plan::{Intent, Open, Planner};
use super::state::Shared;

/// After a failure; doubled with each further one.
const PAUSE: Duration = Duration::from_millis(5);

/// Never longer, or the writer would notice a switch late.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// What the owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    Pause,
    Stop,
}

/// A worker with the bots that belong to it.
pub(super) struct Worker {
    number: usize,
    shared: Arc<Shared>,
    command: watch::Receiver<Command>,
    planner: Planner,
    open: Open,
    bots_used: usize,
    link: Option<Link>,
    next_at: Instant,
    pause: Duration,
    written: u64,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        shared: Arc<Shared>,
        command: watch::Receiver<Command>,
    ) -> Self {
        let options = &shared.options;
        let seed = options.seed.wrapping_mul(0x9e37_79b9).wrapping_add(number as u64);
        let planner = Planner::new(seed, options.mix.clone(), options.rows_per_bot);
        let side = (number == 0 && options.side_table.is_some()).then(|| shared.add_lot(None));
        // Spread over one period, so that the workers do not write all at once.
        let offset = period(&shared).mul_f64(number as f64 / options.connections.max(1) as f64);
        shared.lock().present += 1;
        let mut worker = Worker {
            number,
            command,
            planner,
            open: Open { bots: Vec::new(), side },
            bots_used: 0,
            link: None,
            next_at: Instant::now() + offset,
            pause: PAUSE,
            written: 0,
            shared,
        };
        for _ in 0..worker.shared.options.bots_per_connection.max(1) {
            let bot = worker.fresh_bot();
            worker.open.bots.push(bot);
        }
        worker
    }

    /// Writes until told to stop.
    pub(super) async fn run(mut self) {
        while self.wanted().await {
            self.wait_for_turn().await;
            if *self.command.borrow() != Command::Run {
                continue;
            }
            let Some(link) = self.connected().await else { continue };
            let (intent, bot) = {
                let state = self.shared.lock();
                let intent = self.planner.next(&self.shared.book, &state.lots, &self.open);
                let bot = state.lots[intent.lot].bot.clone();
                (intent, bot)
            };
            let patience = self.shared.options.patience;
            let started = Instant::now();
            let ended = link.attempt(&self.shared.book, bot.as_ref(), &intent, patience).await;
            let latency = started.elapsed().saturating_sub(intent.hold);
            self.shared.note(&intent, intent.lot, link.visit, (latency, &ended));
            self.after(&intent, &ended, link).await;
        }
    }

    /// Whether to go on; waits while the owner wants a pause.
    async fn wanted(&mut self) -> bool {
        loop {
            let command = *self.command.borrow_and_update();
            match command {
                Command::Run => return true,
                Command::Stop => return false,
                Command::Pause => {
                    self.shared.lock().idle.insert(self.number);
                    self.shared.announce();
                    if self.command.changed().await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// Keeps the rate. Turns missed while the server did not answer are not made up for: an
    /// application's users do not come back all at once either.
    async fn wait_for_turn(&mut self) {
        let period = period(&self.shared);
        if period.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.next_at > now {
            tokio::select! {
                () = tokio::time::sleep_until(self.next_at.into()) => {}
                _ = self.command.changed() => return self.command.mark_changed(),
            }
        }
        self.next_at = (self.next_at + period).max(now);
    }

    /// The connection, taken out of its place: it comes back only if it may be used again.
    async fn connected(&mut self) -> Option<Link> {
        let (url, visit) = self.shared.place();
        if let Some(link) = self.link.take().filter(|link| link.visit == visit) {
            return Some(link);
        }
        match Link::open(&url, visit, &self.shared.options).await {
            Ok(link) => Some(link),
            Err(_) => {
                // Why it failed is no news to the ledger: nothing was written.
                self.shared.lock().connections_failed += 1;
                self.recover().await;
                None
            }
        }
    }

    async fn after(&mut self, intent: &Intent, ended: &Ended, link: Link) {
        if ended.usable {
            self.link = Some(link);
        }
        if ended.outcome == Outcome::Unknown {
            // What is in the lot is not known any more, so nothing can be built on it.
            match self.open.bots.iter().position(|lot| *lot == intent.lot) {
                Some(place) => self.open.bots[place] = self.fresh_bot(),
                None => self.open.side = None,
            }
        }
        self.written += 1;
        if matches!(ended.outcome, Outcome::Acknowledged | Outcome::RolledBack) {
            self.pause = PAUSE;
            if self.written.is_multiple_of(u64::from(self.shared.options.url_file_every.max(1))) {
                self.shared.read_file();
            }
        } else {
            self.recover().await;
        }
    }

    /// Waits a little, longer each time, and looks whether the place has changed.
    async fn recover(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.shared.read_file();
    }

    fn fresh_bot(&mut self) -> usize {
        self.bots_used += 1;
        let bot = self.shared.book.bot(self.number, self.bots_used);
        self.shared.add_lot(Some(bot))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.present -= 1;
        state.idle.remove(&self.number);
        drop(state);
        self.shared.announce();
    }
}

/// Between two writes of one worker; zero when as fast as possible.
fn period(shared: &Shared) -> Duration {
    let connections = shared.options.connections.max(1) as f64;
    let rate = shared.options.rate.filter(|rate| *rate > 0.0);
    rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(connections / rate))
}
