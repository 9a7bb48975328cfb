//! Watches apply until it has caught up, and after that until somebody cuts over: the servers do the work, this tells
//! how it goes and stops at what they will not mend by themselves.
//!
//! A connection of ours that is lost is made again for as long as it takes; the servers' own go on meanwhile. What
//! ends the watch with an error: a slot that is lost, objects that somebody dropped, a change that cannot be applied,
//! a source whose tables changed their shape.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::conflict::{Stopped, diagnose};
use super::health::{Health, LinkState};
use super::link::{self, Link};
use super::links;
use super::state::{current_lsn, nudge, read_link};
use crate::copy::resume::altered;
use crate::error::{Class, Error, Result, Side};
use crate::inspect::inspect;
use crate::migration::Run;
use crate::pg::{Login, Lsn, Session};
use crate::phase::Phase;
use crate::policy::Clusters;
use crate::report::Event;
use crate::schema::shape;
use crate::store::{self, MigrationRecord, RelationRecord};

/// How often the servers are asked.
const TICK: Duration = Duration::from_secs(1);

/// How often they are asked while somebody waits for the answer.
const CATCHING_UP: Duration = Duration::from_millis(200);

/// How often the source's tables are compared with the record.
const LOOK_AT_TABLES: Duration = Duration::from_secs(10);

/// How far behind the target may be and count as caught up: what a busy server writes in a second or two.
pub(crate) const CAUGHT_UP_BYTES: u64 = 16 << 20;

/// How often apply may fail, or be found disabled, at the same place before the cause counts as lasting. The server
/// tries again by itself: a deadlock with somebody's query on the target passes, a lost connection does, a conflict does
/// not.
const TRIES: i64 = 3;

/// Waits until everything written before now is applied and the target is close behind the source.
///
/// # Errors
/// What the head of this file says; [`Error::Interrupted`] when cancelled.
pub(crate) async fn until_caught_up(run: &Run<'_>) -> Result<()> {
    let mut watch = Watch::open(run).await?;
    let goal = current_lsn(&watch.sender).await?;
    loop {
        match watch.step_catching_up(goal).await {
            Ok(true) => return Ok(()),
            Ok(false) => watch.pause(CATCHING_UP).await?,
            Err(error) if error.class() == Class::Transient => watch.reconnect(&error).await?,
            Err(error) => return Err(error),
        }
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
        match watch.step_following().await {
            Ok(true) => return Ok(()),
            Ok(false) => watch.pause(TICK).await?,
            Err(error) if error.class() == Class::Transient => watch.reconnect(&error).await?,
            Err(error) => return Err(error),
        }
    }
}

/// How often the slots are looked at while something else is done.
const LOOK_AT_SLOTS: Duration = Duration::from_secs(5);

/// Does `work`, which may take hours, and tells meanwhile what WAL the source keeps for the slots: they must not fill
/// its disk unseen, nor be found lost only at the end.
///
/// # Errors
/// Those of `work`; [`Error::Refused`] as soon as a slot is gone or lost.
pub(crate) async fn beside<T>(run: &Run<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(LOOK_AT_SLOTS) => {}
        }
        tokio::select! {
            biased;
            done = &mut work => return done,
            looked = look_at_slots(run) => match looked {
                // The work may need the source less than this does.
                Err(error) if error.class() == Class::Transient => {
                    tracing::debug!(%error, "the slots could not be looked at");
                }
                looked => looked?,
            },
        }
    }
}

async fn look_at_slots(run: &Run<'_>) -> Result<()> {
    let (sender, receiver) = sessions(run).await?;
    let (mut lag, mut retained) = (0, 0);
    for link in links(&receiver, &run.id).await? {
        let state = read_link(&sender, &receiver, &link).await?;
        let health = state.health();
        if matches!(health, Health::SlotMissing | Health::SlotLost { .. }) {
            return Err(ended(&link, &health));
        }
        lag = lag.max(state.lag_bytes().unwrap_or(0));
        retained = retained.max(state.slot.map_or(0, |slot| slot.retained_bytes));
    }
    run.reporter.event(&Event::Following {
        lag_bytes: lag,
        lag_seconds: None,
        retained_bytes: retained,
        bytes_per_second: None,
        caught_up: false,
    });
    Ok(())
}

/// What the watch remembers between two looks.
struct Watch<'a> {
    run: &'a Run<'a>,
    sender: Session,
    receiver: Session,
    links: Vec<Link>,
    /// When and where each slot was confirmed at the last look, for the rate.
    before: Option<(Instant, Lsn)>,
    /// What was seen of each link's failures.
    failures: HashMap<String, Failures>,
    looked_at_tables: Option<Instant>,
    /// The login that each subscription was given here, by the link's name.
    logins: HashMap<String, Login>,
    /// The last thing said, so that it is said once.
    said: String,
}

/// Failures of one link's apply at one place.
#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    /// Where the receiver stood.
    at: Lsn,
    /// The server's count of errors when it was first seen there.
    errors: i64,
    /// How often it was found disabled there.
    disabled: i64,
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
            failures: HashMap::new(),
            looked_at_tables: None,
            logins: HashMap::new(),
            said: String::new(),
        })
    }

    async fn pause(&self, pause: Duration) -> Result<()> {
        tokio::select! {
            () = self.run.cancel.cancelled() => Err(Error::Interrupted),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Connects again, for as long as it takes.
    async fn reconnect(&mut self, error: &Error) -> Result<()> {
        let mut why = error.to_string();
        loop {
            self.say(format!("connection lost, trying again: {why}"));
            self.pause(TICK).await?;
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

    /// One look while catching up; whether it has.
    async fn step_catching_up(&mut self, goal: Lsn) -> Result<bool> {
        nudge(&self.sender).await?;
        let states = self.look().await?;
        let caught_up = states.iter().all(|state| {
            state.has_passed(goal) && state.lag_bytes().is_some_and(|lag| lag <= CAUGHT_UP_BYTES)
        });
        self.tell(&states, caught_up);
        Ok(caught_up)
    }

    /// One look while following; whether the migration has ended.
    async fn step_following(&mut self) -> Result<bool> {
        let record = match store::exists(&self.receiver).await? {
            true => MigrationRecord::newest(&self.receiver).await?,
            false => None,
        };
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
        let close = |state: &LinkState| {
            state.health() == Health::Applying
                && state.lag_bytes().is_some_and(|lag| lag <= CAUGHT_UP_BYTES)
        };
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

    /// Gives a subscription that does not connect the login that works now, where logins may change: the one that it
    /// was made with may have been rotated. Whether there was another one to give.
    async fn give_login(&mut self, link: &Link) -> Result<bool> {
        let source = super::source_from_target(self.run.clusters, self.run.policy);
        if !source.changes_login() {
            return Ok(false);
        }
        // Ours may be older than the rotation; whoever logs in anew learns of it.
        Session::open(&self.run.clusters.source, Side::Source, "follow").await?;
        let login = source.login();
        if self.logins.get(&link.name) == Some(&login) {
            return Ok(false);
        }
        link::set_connection(&self.receiver, link, &source).await?;
        self.logins.insert(link.name.clone(), login);
        self.say(format!("apply of {} was given the login as it is now", link.name));
        Ok(true)
    }

    async fn act(&mut self, link: &Link, state: &LinkState) -> Result<()> {
        let health = state.health();
        let given = health == Health::Disconnected && self.give_login(link).await?;
        let failures = self.failures.entry(link.name.clone()).or_default();
        let at = state.slot.as_ref().map_or(failures.at, |slot| slot.confirmed_lsn);
        let errors = state.subscription.as_ref().and_then(|subscription| subscription.apply_errors);
        // Some way on, with a login that may be the right one, or the statistics were reset.
        if given || at > failures.at || errors.is_some_and(|errors| errors < failures.errors) {
            *failures = Failures { at, errors: errors.unwrap_or(0), disabled: 0 };
        }
        failures.disabled += i64::from(health == Health::Stopped);
        let failed = errors.map_or(0, |errors| errors - failures.errors);
        if failed >= TRIES || failures.disabled > TRIES {
            return Err(failing(self.run.clusters, link).await);
        }
        match health {
            Health::Applying => Ok(()),
            Health::Disconnected if given => Ok(()),
            Health::Disconnected => {
                self.say(format!("apply of {} is not connected to the source; the target's server tries again by itself", link.name));
                Ok(())
            }
            Health::Stopped => {
                self.say(format!("apply of {} was disabled; it is started again", link.name));
                link::set_enabled(&self.receiver, link, true).await
            }
            health => Err(ended(link, &health)),
        }
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

/// Refuses to go on when the source's tables are not what was copied. A change that somebody has made on the target as
/// well is taken over into the record.
///
/// # Errors
/// [`Error::Refused`] naming what differs.
pub(crate) async fn refuse_altered(
    run: &Run<'_>,
    sender: &Session,
    receiver: &Session,
) -> Result<()> {
    let mut records = RelationRecord::all(receiver, &run.id).await?;
    let source = inspect(sender).await?;
    if altered(run.policy, &source, &records).is_empty() {
        return Ok(());
    }
    let target = inspect(receiver).await?;
    for record in &mut records {
        let relation = &mut record.relation;
        let (Some(theirs), Some(ours)) =
            (source.table(&relation.name), target.table(&relation.name))
        else {
            continue;
        };
        if theirs.oid == relation.oid
            && shape(theirs) != relation.shape
            && shape(theirs) == shape(ours)
        {
            relation.shape = shape(theirs);
            store::record_shape(receiver, &run.id, relation).await?;
            let text = format!("{} was altered on both clusters alike", relation.name.plain());
            run.reporter.event(&Event::Notice { text });
        }
    }
    let found = altered(run.policy, &source, &records);
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        side: Side::Source,
        what: format!("the source's schema changed while it is followed: {}", found.join(", ")),
        hint: Some(
            "make the same change on the target, then run `vecferry migrate` again; leave a new table out with --exclude; \
             or begin again with `vecferry migrate --method follow --restart`"
                .into(),
        ),
    })
}

/// What keeps apply from going on, with the ways out. Apply is left to try again by itself: once its cause is removed
/// it goes on without us.
async fn failing(clusters: &Clusters, link: &Link) -> Error {
    let stopped = Stopped {
        slot: link.name.clone(),
        publications: vec![link.name.clone()],
        subscription: link.name.clone(),
    };
    let (why, hint) = match diagnose(clusters, &stopped).await {
        Ok(diagnosis) => (diagnosis.line(), diagnosis.ways_out().join("; ")),
        Err(error) => (
            format!("and what stops it could not be found out: {error}"),
            "the target server's log names the error of its apply worker".to_owned(),
        ),
    };
    Error::Refused {
        side: link.from.other(),
        what: format!("apply fails again and again at the same change: {why}"),
        hint: Some(hint),
    }
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
        _ => (link.from.other(), format!("subscription {name} was dropped")),
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
