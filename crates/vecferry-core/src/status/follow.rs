//! How a `follow` is doing, from what each cluster says. The source may be out of reach: then the target tells what it
//! can, and the rest is unknown.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Error, Result, Side};
use crate::follow::health::{Health, LinkState, SlotState, SubscriptionState};
use crate::follow::link::Link;
use crate::follow::links;
use crate::follow::state::{current_lsn, publication_exists, read_slot, read_subscription};
use crate::follow::watch::CAUGHT_UP_BYTES;
use crate::inspect::inspect_server;
use crate::pg::{Dsn, Lsn, Session};
use crate::phase::Phase;
use crate::store::MigrationRecord;

/// How long the source may take to answer: `status` is also asked when something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two readings, for the rate.
const APART: Duration = Duration::from_secs(1);

/// A slot with less than this part of its WAL left is in danger.
const NARROW: f64 = 0.2;

/// How a `follow` is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FollowStatus {
    /// Of the link that is worst off; after a cutover of the way back.
    pub state: FollowState,
    /// Bytes of WAL written on the sender and not confirmed by the receiver, of the link furthest behind.
    pub lag_bytes: Option<u64>,
    /// Seconds the receiver is behind, as far as the sender can tell.
    pub lag_seconds: Option<f64>,
    /// Bytes of WAL confirmed per second just now.
    pub bytes_per_second: Option<f64>,
    /// Bytes of WAL that the sender keeps for the slots.
    pub retained_bytes: Option<u64>,
    /// Bytes of WAL until a slot is in danger of being lost; `None` when nothing limits it or it is not known.
    pub safe_bytes: Option<i64>,
    /// Every link from source to target.
    pub links: Vec<LinkStatus>,
    /// Whether the source answered.
    pub source_reachable: bool,
    /// Why it was not asked or did not answer.
    pub source_problem: Option<String>,
    /// The link from target to source, after a cutover that made one.
    pub way_back: Option<LinkStatus>,
    /// What somebody should look into, each in one line.
    pub warnings: Vec<String>,
}

/// A state, the worse the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowState {
    /// Changes are applied as they come.
    Applying,
    /// Changes are applied, some way behind.
    CatchingUp,
    /// The side that could tell was not reached.
    Unknown,
    /// There is no subscription: not yet, or no longer.
    NotSubscribed,
    /// The receiver's apply process does not run or does not reach the sender.
    Disconnected,
    /// Apply fails at the same change again and again, or somebody disabled it.
    Stopped,
    /// The publication is gone.
    PublicationMissing,
    /// The slot is gone.
    SlotMissing,
    /// WAL that the slot needs is gone.
    SlotLost,
}

/// One link: publication, slot and subscription of one name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkStatus {
    /// Their name.
    pub name: String,
    /// The cluster that sends.
    pub from: Side,
    /// How it is doing.
    pub state: FollowState,
    /// Bytes of WAL written and not confirmed.
    pub lag_bytes: Option<u64>,
    /// Bytes of WAL confirmed per second just now.
    pub bytes_per_second: Option<f64>,
    /// Whether the publication is there; `None` when the sender was not reached.
    pub publication: Option<bool>,
    /// The slot; `None` when it is gone or the sender was not reached.
    pub slot: Option<SlotState>,
    /// The subscription; `None` when it is gone or the receiver was not reached.
    pub subscription: Option<SubscriptionState>,
}

/// What was seen of a link at one moment.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    link: Link,
    /// Position, whether the publication is there, and the slot.
    sender: Option<(Lsn, bool, Option<SlotState>)>,
    /// The subscription.
    receiver: Option<Option<SubscriptionState>>,
}

/// Reads the state of the migration's links.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub(super) async fn read(
    target: &Session,
    source: Option<&Dsn>,
    record: &MigrationRecord,
) -> Result<FollowStatus> {
    let mut all = links(target, &record.id).await?;
    all.push(Link::back(&record.id));
    let (mut session, mut problem) = reach(source, record).await;
    let begun = Instant::now();
    let first = look(target, &mut session, &mut problem, &all).await?;
    let mut second = None;
    let moves = |seen: &Seen| seen.state(record.phase) <= FollowState::CatchingUp;
    if session.is_some() && first.iter().any(moves) {
        tokio::time::sleep(APART).await;
        second = Some((look(target, &mut session, &mut problem, &all).await?, begun.elapsed()));
    }
    let mut told: Vec<LinkStatus> = match &second {
        // A source that went silent in between leaves what it said before.
        Some((second, apart)) if session.is_some() => {
            let pairs = second.iter().zip(&first);
            pairs.map(|(now, before)| now.told(record.phase, Some((before, *apart)))).collect()
        }
        _ => first.iter().map(|seen| seen.told(record.phase, None)).collect(),
    };
    let way_back = told.pop().filter(LinkStatus::is_there);
    Ok(sum_up(told, way_back, problem, record.phase))
}

/// The source, if it answers and is the recorded one; else why not.
async fn reach(
    source: Option<&Dsn>,
    record: &MigrationRecord,
) -> (Option<Session>, Option<String>) {
    let Some(dsn) = source else { return (None, Some("no source is named".into())) };
    let reached = async {
        let session = Session::open(dsn, Side::Source, "status").await?;
        let server = inspect_server(&session).await?;
        Ok::<_, Error>((session, server))
    };
    match tokio::time::timeout(PATIENCE, reached).await {
        Err(_) => (None, Some(format!("{dsn} does not answer within {} s", PATIENCE.as_secs()))),
        Ok(Err(error)) => (None, Some(said(&error))),
        Ok(Ok((session, server))) if record.source.is_of(&server) => (Some(session), None),
        Ok(Ok(_)) => {
            let recorded = &record.source.address;
            (None, Some(format!("{dsn} is another source than the recorded {recorded}")))
        }
    }
}

fn said(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Looks at every link once. A source that fails is let go.
async fn look(
    target: &Session,
    source: &mut Option<Session>,
    problem: &mut Option<String>,
    links: &[Link],
) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for link in links {
        let mut one = Seen { link: link.clone(), sender: None, receiver: None };
        // The sender first: what the receiver then says is as new or newer.
        for side in [link.from, link.from.other()] {
            let session = match side {
                Side::Target => target,
                Side::Source => match source.as_ref() {
                    Some(session) => session,
                    None => continue,
                },
            };
            let read = one.read(session, side);
            let failed = match (side, tokio::time::timeout(PATIENCE, read).await) {
                (_, Ok(Ok(()))) => continue,
                (Side::Target, Ok(Err(error))) => return Err(error),
                (Side::Source, Ok(Err(error))) => said(&error),
                (_, Err(_)) => {
                    format!("the {side} does not answer within {} s", PATIENCE.as_secs())
                }
            };
            *problem = Some(failed);
            *source = None;
        }
        seen.push(one);
    }
    Ok(seen)
}

impl Seen {
    async fn read(&mut self, session: &Session, side: Side) -> Result<()> {
        let name = &self.link.name;
        if side == self.link.from {
            let at = current_lsn(session).await?;
            let publication = publication_exists(session, name).await?;
            self.sender = Some((at, publication, read_slot(session, name).await?));
        } else {
            self.receiver = Some(read_subscription(session, name).await?);
        }
        Ok(())
    }

    /// Errors of apply so far; lost connections are among them.
    fn errors(&self) -> i64 {
        let subscription = self.receiver.as_ref().and_then(Option::as_ref);
        subscription.and_then(|subscription| subscription.apply_errors).unwrap_or(0)
    }

    fn lag(&self) -> Option<u64> {
        let (at, _, slot) = self.sender.as_ref()?;
        Some(at.since(slot.as_ref()?.confirmed_lsn))
    }

    fn state(&self, phase: Phase) -> FollowState {
        let state = match (&self.sender, &self.receiver) {
            (Some((at, publication, slot)), receiver) => {
                // The sender's word for a receiver that was not reached: its slot is in use or it is not.
                let in_use = SubscriptionState {
                    enabled: true,
                    running: true,
                    received_lsn: None,
                    reported_lsn: None,
                    apply_errors: None,
                };
                let both = LinkState {
                    name: self.link.name.clone(),
                    sender_lsn: *at,
                    slot: slot.clone(),
                    publication: *publication,
                    subscription: receiver.clone().unwrap_or(Some(in_use)),
                };
                of_health(&both.health())
            }
            (None, Some(None)) => FollowState::NotSubscribed,
            (None, Some(Some(subscription))) if !subscription.enabled => FollowState::Stopped,
            (None, Some(Some(subscription))) if !subscription.running => FollowState::Disconnected,
            (None, _) => FollowState::Unknown,
        };
        let behind = self.lag().is_some_and(|lag| lag > CAUGHT_UP_BYTES);
        match state {
            FollowState::Applying if behind || phase == Phase::CatchUp => FollowState::CatchingUp,
            // The server starts apply again every few seconds. We reach the sender, so what fails is more than the
            // way there.
            FollowState::Disconnected if self.sender.is_some() && self.errors() > 0 => {
                FollowState::Stopped
            }
            state => state,
        }
    }

    fn told(&self, phase: Phase, before: Option<(&Seen, Duration)>) -> LinkStatus {
        let confirmed = |seen: &Seen| Some(seen.sender.as_ref()?.2.as_ref()?.confirmed_lsn);
        let rate = before.and_then(|(before, apart)| {
            #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
            let bytes = confirmed(self)?.since(confirmed(before)?) as f64;
            Some(bytes / apart.as_secs_f64().max(1e-3))
        });
        let fails = before.is_some_and(|(before, _)| self.errors() > before.errors());
        LinkStatus {
            name: self.link.name.clone(),
            from: self.link.from,
            state: if fails { FollowState::Stopped } else { self.state(phase) },
            lag_bytes: self.lag(),
            bytes_per_second: rate,
            publication: self.sender.as_ref().map(|(_, publication, _)| *publication),
            slot: self.sender.as_ref().and_then(|(_, _, slot)| slot.clone()),
            subscription: self.receiver.clone().flatten(),
        }
    }
}

impl LinkStatus {
    /// Whether anything of it was seen.
    fn is_there(&self) -> bool {
        self.slot.is_some() || self.subscription.is_some() || self.publication == Some(true)
    }
}

fn of_health(health: &Health) -> FollowState {
    match health {
        Health::SlotMissing => FollowState::SlotMissing,
        Health::SlotLost { .. } => FollowState::SlotLost,
        Health::PublicationMissing => FollowState::PublicationMissing,
        Health::NotSubscribed => FollowState::NotSubscribed,
        Health::Stopped => FollowState::Stopped,
        Health::Disconnected => FollowState::Disconnected,
        Health::Applying => FollowState::Applying,
    }
}

fn sum_up(
    links: Vec<LinkStatus>,
    way_back: Option<LinkStatus>,
    problem: Option<String>,
    phase: Phase,
) -> FollowStatus {
    // After a cutover nothing comes from the source any more; what is left of those links tells nothing.
    let done = phase == Phase::Done;
    let links: Vec<_> = links.into_iter().filter(|link| !done || link.is_there()).collect();
    let concerned = || match done {
        true => way_back.as_slice(),
        false => links.as_slice(),
    };
    let slots = || concerned().iter().filter_map(|link| link.slot.as_ref());
    let state = concerned().iter().map(|link| link.state).max();
    let rates = concerned().iter().filter_map(|link| link.bytes_per_second);
    FollowStatus {
        state: state.unwrap_or(FollowState::NotSubscribed),
        lag_bytes: concerned().iter().filter_map(|link| link.lag_bytes).max(),
        lag_seconds: slots().filter_map(|slot| slot.replay_lag_seconds).reduce(f64::max),
        bytes_per_second: rates.reduce(f64::min),
        retained_bytes: slots().map(|slot| slot.retained_bytes).max(),
        safe_bytes: slots().filter_map(|slot| slot.safe_bytes).min(),
        warnings: links.iter().chain(&way_back).flat_map(|link| warnings(link, phase)).collect(),
        links,
        source_reachable: problem.is_none(),
        source_problem: problem,
        way_back,
    }
}

/// What somebody should look into before it is too late.
fn warnings(link: &LinkStatus, phase: Phase) -> Vec<String> {
    let Some(slot) = &link.slot else { return Vec::new() };
    let (name, from) = (&link.name, link.from);
    let mut found = Vec::new();
    if slot.is_lost() {
        return found;
    }
    #[allow(clippy::cast_precision_loss, reason = "a share needs no more than a few digits")]
    let narrow = slot.safe_bytes.is_some_and(|safe| {
        let all = slot.retained_bytes as f64 + safe.max(0) as f64;
        safe.max(0) as f64 <= NARROW * all
    });
    if narrow || slot.wal_status.as_deref() == Some("unreserved") {
        found.push(format!(
            "slot {name} is close to losing its WAL; raise max_slot_wal_keep_size on the {from}"
        ));
    }
    let expected = matches!(phase, Phase::CatchUp | Phase::Following | Phase::Done);
    if expected && !slot.active && link.state == FollowState::Disconnected {
        found.push(format!(
            "slot {name} keeps WAL on the {from} and nobody reads it; see the server log of the {}",
            from.other()
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::health::tests::applying;

    fn seen(change: impl FnOnce(&mut LinkState)) -> Seen {
        let mut state = applying();
        change(&mut state);
        Seen {
            link: Link { name: state.name, from: Side::Source },
            sender: Some((state.sender_lsn, state.publication, state.slot)),
            receiver: Some(state.subscription),
        }
    }

    #[test]
    fn a_link_far_behind_catches_up_and_a_rate_comes_from_two_looks() {
        let before = seen(|_| {});
        assert_eq!(before.state(Phase::Following), FollowState::Applying);
        assert_eq!(before.state(Phase::CatchUp), FollowState::CatchingUp);
        let now = seen(|state| {
            state.sender_lsn = Lsn(100 << 20);
            state.slot.as_mut().unwrap().confirmed_lsn = Lsn(6 << 20);
        });
        let told = now.told(Phase::Following, Some((&before, Duration::from_secs(2))));
        assert_eq!((told.state, told.lag_bytes), (FollowState::CatchingUp, Some(94 << 20)));
        assert_eq!(told.bytes_per_second, Some(f64::from(1 << 20)));
    }

    #[test]
    fn without_the_source_the_target_tells_what_it_knows() {
        let alone = |change: fn(&mut LinkState)| {
            let seen = Seen { sender: None, ..seen(change) };
            (seen.state(Phase::Following), seen.told(Phase::Following, None).lag_bytes)
        };
        assert_eq!(alone(|_| {}), (FollowState::Unknown, None));
        assert_eq!(alone(|state| state.subscription = None).0, FollowState::NotSubscribed);
        let stopped = alone(|state| state.subscription.as_mut().unwrap().enabled = false);
        assert_eq!(stopped.0, FollowState::Stopped);
        let ended = alone(|state| state.subscription.as_mut().unwrap().running = false);
        assert_eq!(ended.0, FollowState::Disconnected);
        let failing = seen(|state| {
            let subscription = state.subscription.as_mut().unwrap();
            (subscription.running, subscription.apply_errors) = (false, Some(3));
        });
        assert_eq!(failing.state(Phase::Following), FollowState::Stopped);
        let alone = Seen { sender: None, ..failing.clone() };
        assert_eq!(
            alone.state(Phase::Following),
            FollowState::Disconnected,
            "the source may be down"
        );
        let told = failing.told(Phase::Following, Some((&seen(|_| {}), Duration::from_secs(1))));
        assert_eq!(told.state, FollowState::Stopped);
        let sender_only = Seen { receiver: None, ..seen(|_| {}) };
        assert_eq!(sender_only.state(Phase::Done), FollowState::Applying);
    }

    #[test]
    fn the_link_that_is_worst_off_counts_and_after_a_cutover_the_way_back() {
        let told = |seen: Seen| seen.told(Phase::Following, None);
        let stopped = || told(seen(|state| state.subscription.as_mut().unwrap().enabled = false));
        let both = vec![told(seen(|_| {})), stopped()];
        let status = sum_up(both.clone(), None, None, Phase::Following);
        assert_eq!((status.state, status.source_reachable), (FollowState::Stopped, true));
        let status = sum_up(both, Some(told(seen(|_| {}))), None, Phase::Done);
        assert_eq!(status.state, FollowState::Applying);
        let gone = told(Seen {
            sender: Some((Lsn(1), false, None)),
            receiver: Some(None),
            ..seen(|_| {})
        });
        let status = sum_up(vec![gone], None, None, Phase::Done);
        assert_eq!((status.state, status.links.len()), (FollowState::NotSubscribed, 0));
    }

    #[test]
    fn a_slot_that_runs_out_of_wal_or_is_read_by_nobody_is_warned_of() {
        let of = |phase, change: fn(&mut SlotState)| {
            warnings(&seen(|state| change(state.slot.as_mut().unwrap())).told(phase, None), phase)
        };
        assert!(of(Phase::Following, |_| {}).is_empty());
        assert!(of(Phase::Following, |slot| slot.safe_bytes = Some(1 << 30)).is_empty());
        let narrow = of(Phase::Following, |slot| slot.safe_bytes = Some(100 << 10));
        assert!(narrow[0].contains("max_slot_wal_keep_size"), "{narrow:?}");
        assert_eq!(of(Phase::Following, |slot| slot.active = false).len(), 1);
        assert!(of(Phase::Rows, |slot| slot.active = false).is_empty(), "nobody reads it yet");
    }
}
