//! Watches apply until it has caught up, and after that until somebody cuts over: the servers do the work, this tells
//! how it goes and stops at what they will not mend by themselves.
//!
//! A connection of ours that is lost is made again for as long as it takes; the servers' own go on meanwhile. What
//! ends the watch with an error: a slot that is lost, objects that somebody dropped, a change that cannot be applied,
//! a source whose tables changed their shape.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::health::{Health, LinkState};
use super::link::{self, Link};
use super::links;
use super::state::{current_lsn, read_link};
use crate::copy::resume::altered;
use crate::error::{Class, Error, Result, Side};
use crate::inspect::inspect;
use crate::migration::Run;
use crate::pg::{Lsn, Session};
use crate::phase::Phase;
use crate::report::Event;
use crate::store::{self, MigrationRecord, RelationRecord};

/// How often the servers are asked.
const TICK: Duration = Duration::from_secs(1);

/// How often the source's tables are compared with the record.
const LOOK_AT_TABLES: Duration = Duration::from_secs(10);

/// How far behind the target may be and count as caught up: what a busy server writes in a second or two.
pub(crate) const CAUGHT_UP_BYTES: u64 = 16 << 20;

/// How often apply is started again at the same place before its cause counts as lasting. A deadlock with somebody's
/// query on the target passes; a conflict does not.
const STARTS: u32 = 3;

/// Waits until everything written before now is applied and the target is close behind the source.
///
/// # Errors
/// What the head of this file says; [`Error::Interrupted`] when cancelled.
pub(crate) async fn until_caught_up(run: &Run<'_>) -> Result<()> {
    let mut watch = Watch::open(run).await?;
    let goal = current_lsn(&watch.sender).await?;
    loop {
        let states = watch.look().await?;
        let caught_up = states.iter().all(|state| {
            state.has_passed(goal) && state.lag_bytes().is_some_and(|lag| lag <= CAUGHT_UP_BYTES)
        });
        watch.tell(&states, caught_up);
        if caught_up {
            return Ok(());
        }
        watch.pause().await?;
    }
}

/// Watches until a cutover has ended the migration. Gives the target's lock back first: the cutover needs it.
///
/// # Errors
/// What the head of this file says; [`Error::Interrupted`] when cancelled.
pub(crate) async fn until_cut_over(run: &Run<'_>) -> Result<()> {
    store::unlock(&run.control).await?;
    let mut watch = Watch::open(run).await?;
    loop {
        let ended = watch.step_following().await;
        match ended {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.class() == Class::Transient => watch.reconnect(&error).await?,
            Err(error) => return Err(error),
        }
        watch.pause().await?;
    }
}

/// What the watch remembers between two looks.
struct Watch<'a> {
    run: &'a Run<'a>,
    sender: Session,
    receiver: Session,
    links: Vec<Link>,
    /// When and where each slot was confirmed at the last look, for the rate.
    before: Option<(Instant, Lsn)>,
    /// How often apply was started at a position.
    starts: HashMap<(String, Lsn), u32>,
    looked_at_tables: Option<Instant>,
    /// The last thing said, so that it is said once.
    said: String,
}

impl<'a> Watch<'a> {
    async fn open(run: &'a Run<'a>) -> Result<Watch<'a>> {
        let (sender, receiver) = sessions(run).await?;
        let links = links(&receiver, &run.id).await?;
        Ok(Watch {
            run,
            sender,
            receiver,
            links,
            before: None,
            starts: HashMap::new(),
            looked_at_tables: None,
            said: String::new(),
        })
    }

    async fn pause(&self) -> Result<()> {
        tokio::select! {
            () = self.run.cancel.cancelled() => Err(Error::Interrupted),
            () = tokio::time::sleep(TICK) => Ok(()),
        }
    }

    /// Connects again, for as long as it takes.
    async fn reconnect(&mut self, error: &Error) -> Result<()> {
        let mut why = error.to_string();
        loop {
            self.say(format!("connection lost, trying again: {why}"));
            self.pause().await?;
            match sessions(self.run).await {
                Ok((sender, receiver)) => {
                    (self.sender, self.receiver) = (sender, receiver);
                    self.say("connected again".into());
                    return Ok(());
                }
                Err(error) if error.class() == Class::Transient => why = error.to_string(),
                Err(error) => return Err(error),
            }
        }
    }

    /// One look while following; whether the migration has ended.
    async fn step_following(&mut self) -> Result<bool> {
        let record = MigrationRecord::newest(&self.receiver).await?;
        match record.filter(|record| record.id == self.run.id).map(|record| record.phase) {
            Some(Phase::Following) => {}
            Some(Phase::Done) => return Ok(true),
            _ => {
                return Err(Error::Refused {
                    side: Side::Target,
                    what: "the migration was cleaned up or begun again by another process".into(),
                    hint: None,
                });
            }
        }
        if store::lock_holder(&self.receiver).await?.is_some() {
            self.say("another process works on the migration".into());
            return Ok(false);
        }
        let states = self.look().await?;
        let close = |state: &LinkState| state.lag_bytes().is_some_and(|lag| lag <= CAUGHT_UP_BYTES);
        self.tell(&states, states.iter().all(close));
        Ok(false)
    }

    /// Reads every link and acts on what is wrong with it.
    async fn look(&mut self) -> Result<Vec<LinkState>> {
        let mut states = Vec::new();
        for link in self.links.clone() {
            let state = read_link(&self.sender, &self.receiver, &link).await?;
            self.act(&link, &state).await?;
            states.push(state);
        }
        if self.looked_at_tables.is_none_or(|at| at.elapsed() >= LOOK_AT_TABLES) {
            refuse_altered(self.run, &self.sender, &self.receiver).await?;
            self.looked_at_tables = Some(Instant::now());
        }
        Ok(states)
    }

    async fn act(&mut self, link: &Link, state: &LinkState) -> Result<()> {
        match state.health() {
            Health::Applying => Ok(()),
            Health::Disconnected => {
                self.say(format!("apply of {} is not connected to the source; the target's server tries again by itself", link.name));
                Ok(())
            }
            Health::Stopped => self.start_again(link, state).await,
            health => Err(ended(link, &health)),
        }
    }

    /// Starts apply again a few times; then says what stops it.
    async fn start_again(&mut self, link: &Link, state: &LinkState) -> Result<()> {
        let at = state.slot.as_ref().map_or(Lsn::default(), |slot| slot.confirmed_lsn);
        let starts = self.starts.entry((link.name.clone(), at)).or_default();
        *starts += 1;
        if *starts > STARTS {
            return Err(ended(link, &Health::Stopped));
        }
        self.say(format!("apply of {} had stopped; it is started again", link.name));
        link::set_enabled(&self.receiver, link, true).await
    }

    fn tell(&mut self, states: &[LinkState], caught_up: bool) {
        let confirmed = states
            .iter()
            .filter_map(|state| state.slot.as_ref())
            .map(|slot| slot.confirmed_lsn)
            .min()
            .unwrap_or_default();
        let now = Instant::now();
        let rate = self.before.filter(|(_, lsn)| *lsn <= confirmed).map(|(at, lsn)| {
            #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
            let bytes = confirmed.since(lsn) as f64;
            bytes / now.duration_since(at).as_secs_f64().max(1e-3)
        });
        self.before = Some((now, confirmed));
        let slots = || states.iter().filter_map(|state| state.slot.as_ref());
        self.run.reporter.event(&Event::Following {
            lag_bytes: states.iter().filter_map(LinkState::lag_bytes).max().unwrap_or(0),
            lag_seconds: slots().filter_map(|slot| slot.replay_lag_seconds).reduce(f64::max),
            retained_bytes: slots().map(|slot| slot.retained_bytes).max().unwrap_or(0),
            bytes_per_second: rate,
            caught_up,
        });
    }

    fn say(&mut self, text: String) {
        if text != self.said {
            self.run.reporter.event(&Event::Notice { text: text.clone() });
            self.said = text;
        }
    }
}

async fn sessions(run: &Run<'_>) -> Result<(Session, Session)> {
    Ok((
        Session::open(&run.clusters.source, Side::Source, "follow").await?,
        Session::open(&run.clusters.target, Side::Target, "follow").await?,
    ))
}

/// Refuses to go on when the source's tables are not what was copied.
///
/// # Errors
/// [`Error::Refused`] naming what differs.
pub(crate) async fn refuse_altered(
    run: &Run<'_>,
    sender: &Session,
    receiver: &Session,
) -> Result<()> {
    let records = RelationRecord::all(receiver, &run.id).await?;
    let found = altered(run.policy, &inspect(sender).await?, &records);
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        side: Side::Source,
        what: format!("the source's schema changed while it is followed: {}", found.join(", ")),
        hint: Some(
            "undo the change, or begin again with `vecferry migrate --method follow --restart`; a new table may be left out with --exclude"
                .into(),
        ),
    })
}

/// The end of a link that no waiting brings back.
pub(crate) fn ended(link: &Link, health: &Health) -> Error {
    let name = &link.name;
    let (side, what) = match health {
        Health::SlotMissing => (
            link.from,
            format!(
                "slot {name} is gone: its cluster failed over or was restored, or somebody dropped it"
            ),
        ),
        Health::SlotLost { why } => (
            link.from,
            format!("slot {name} is lost ({why}); max_slot_wal_keep_size may be too small"),
        ),
        Health::PublicationMissing => (link.from, format!("publication {name} was dropped")),
        _ => (other(link.from), format!("subscription {name} was dropped")),
    };
    Error::Refused {
        side,
        what,
        hint: Some(
            "changes since are lost to the target; begin again with `vecferry migrate --method follow --restart`"
                .into(),
        ),
    }
}

/// The other side.
pub(crate) fn other(side: Side) -> Side {
    match side {
        Side::Source => Side::Target,
        Side::Target => Side::Source,
    }
}
