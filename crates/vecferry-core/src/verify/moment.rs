//! Which way changes flow while verify reads, and the moments at which both clusters are read in turn.
//!
//! The order behind a round, on which [`super::reread`] relies: the sender's snapshot, then its position, then the
//! receiver's snapshot once it has applied up to that position, then at once the sender's next snapshot. Everything
//! is read in these snapshots afterwards; how long that takes does not matter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::keys::Places;
use super::reading::Place;
use super::snapshot::{Held, View};
use super::structure::Progress;
use crate::error::{Result, Side};
use crate::follow::health::{Health, LinkState};
use crate::follow::link::Link;
use crate::follow::state::{current_lsn, nudge, read_link, read_slot};
use crate::pg::{Lsn, QualifiedName, Session};
use crate::phase::{Phase, Route};
use crate::policy::{Clusters, Method};
use crate::source::SourceIdentity;
use crate::store::{self, MigrationRecord, RelationRecord};

/// How often a link is asked whether it has applied enough: often at first, because the longer it takes, the more is
/// written on the sender.
const ASK: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];

/// A migration whose changes flow from one cluster to the other.
pub(super) struct Flow {
    /// The cluster in use.
    pub(super) sender: Side,
    /// The migration's phase.
    pub(super) phase: Phase,
    clusters: Clusters,
    /// The link that carries each table.
    links: BTreeMap<QualifiedName, Link>,
    /// Outside any transaction: what a server says of its replication is then as of now.
    at_sender: Session,
    at_receiver: Session,
    /// How long to wait for apply in each round.
    patience: Duration,
    waited_micros: AtomicU64,
}

impl Flow {
    /// The flow of the target's newest migration; `None` where nothing flows between these two clusters.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when either side cannot be read.
    pub(super) async fn find(
        clusters: &Clusters,
        (source, target): (&View, &View),
        patience: Duration,
    ) -> Result<Option<Flow>> {
        let Some(record) = record(&target.session).await? else { return Ok(None) };
        let identity = SourceIdentity::new(&clusters.source, &source.catalog.inventory);
        if identity.conflict_with(&record.source).is_some() {
            return Ok(None);
        }
        let back = Link::back(&record.id);
        let sender = match record.phase {
            Phase::Done if read_slot(&target.session, &back.name).await?.is_some() => Side::Target,
            Phase::Done => return Ok(None),
            phase if applies(record.route, phase) => Side::Source,
            _ => return Ok(None),
        };
        let mut links = BTreeMap::new();
        for table in RelationRecord::all(&target.session, &record.id).await? {
            let link = match (sender, table.relation.link) {
                (Side::Target, _) => back.clone(),
                (Side::Source, Some(ordinal)) => Link::forward(&record.id, ordinal),
                (Side::Source, None) => continue,
            };
            links.insert(table.relation.name, link);
        }
        let receiver = sender.other();
        Ok(Some(Flow {
            sender,
            phase: record.phase,
            clusters: clusters.clone(),
            links,
            at_sender: Session::open(clusters.at(sender), sender, "verify").await?,
            at_receiver: Session::open(clusters.at(receiver), receiver, "verify").await?,
            patience,
            waited_micros: AtomicU64::new(0),
        }))
    }

    /// The cluster that applies.
    pub(super) fn receiver(&self) -> Side {
        self.sender.other()
    }

    /// The link that carries a table's changes; `None` for a table that nothing carries, which cannot lag.
    pub(super) fn link(&self, table: &QualifiedName) -> Option<&Link> {
        self.links.get(table)
    }

    /// How long was waited for apply so far.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }

    /// What the migration has yet to do to the structure.
    pub(super) fn progress(&self) -> Progress {
        let building = matches!(self.phase, Phase::Indexes | Phase::Constraints);
        Progress {
            positions_later: self.sender == Side::Source,
            building: building.then_some(self.phase),
        }
    }

    /// Takes the snapshots of two rounds.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`].
    pub(super) async fn two_rounds(&self, tables: &[&QualifiedName]) -> Result<TwoRounds> {
        let mut moments = self.begin().await?;
        let first = moments.next(tables.iter().copied()).await?;
        let again = moments.next(tables.iter().copied()).await?;
        Ok(TwoRounds { first, again })
    }

    /// Takes the sender's first snapshot.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`].
    pub(super) async fn begin(&self) -> Result<Moments<'_>> {
        let (sender, lsn) = self.sending(self.connect(self.sender).await?).await?;
        Ok(Moments { flow: self, sender, lsn })
    }

    async fn connect(&self, side: Side) -> Result<Session> {
        Session::open(self.clusters.at(side), side, "verify").await
    }

    /// A snapshot of the sender and a position at or beyond every commit it shows.
    async fn sending(&self, session: Session) -> Result<(Held, Lsn)> {
        let held = Held::take_in(session, self.clusters.at(self.sender)).await?;
        let lsn = current_lsn(&self.at_sender).await?;
        // A server sends what is flushed, and leaves the last records of a pause unflushed for many seconds.
        nudge(&self.at_sender).await?;
        Ok((held, lsn))
    }

    /// Waits until the receiver has applied everything up to `lsn`; returns why it does not.
    async fn reach(&self, link: &Link, lsn: Lsn) -> Result<Option<String>> {
        let begun = Instant::now();
        let mut pause = ASK[0];
        let failed = loop {
            let state = read_link(&self.at_sender, &self.at_receiver, link).await?;
            if state.has_passed(lsn) {
                break None;
            }
            let timed_out = begun.elapsed() >= self.patience;
            if let Some(why) = hopeless(&state, lsn, timed_out.then_some(self.patience)) {
                break Some(why);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASK[1]);
        };
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
        Ok(failed)
    }
}

/// Both clusters' snapshots, one after the other; the sender's serve the round before and the one after them.
pub(super) struct Moments<'a> {
    flow: &'a Flow,
    /// The sender's last snapshot.
    pub(super) sender: Held,
    lsn: Lsn,
}

/// What was waited for in vain: links by name, with the reason.
pub(super) type Stuck = BTreeMap<String, String>;

/// One round's snapshots, in the order in which they were taken; the sender's next is [`Moments::sender`].
pub(super) struct Round {
    /// The sender's.
    pub(super) before: Held,
    /// The receiver's, which shows all that `before` shows.
    pub(super) receiver: Held,
    /// Links of which that is not so: what comes by them must not be judged.
    pub(super) stuck: Stuck,
}

/// Two rounds, for rows to be compared in.
pub(super) struct TwoRounds {
    first: Round,
    again: Round,
}

impl TwoRounds {
    /// Source and target of both.
    pub(super) fn places(&self) -> Places<'_> {
        Places { first: self.first.places(), again: Some(self.again.places()) }
    }

    /// Why what comes by the link must not be judged.
    pub(super) fn stuck(&self, link: &Link) -> Option<&str> {
        let stuck = self.first.stuck.get(&link.name).or_else(|| self.again.stuck.get(&link.name));
        stuck.map(String::as_str)
    }
}

impl Round {
    /// Source and target.
    fn places(&self) -> (&Place, &Place) {
        match self.before.place.side {
            Side::Source => (&self.before.place, &self.receiver.place),
            Side::Target => (&self.receiver.place, &self.before.place),
        }
    }
}

impl Moments<'_> {
    /// Waits for these tables' links, takes the receiver's snapshot and then the sender's next one.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`].
    pub(super) async fn next(
        &mut self,
        tables: impl Iterator<Item = &QualifiedName>,
    ) -> Result<Round> {
        let (flow, side) = (self.flow, self.flow.receiver());
        // Connected beforehand: the less time between the two snapshots, the less is written in it.
        let (receiver, sender) = tokio::try_join!(flow.connect(side), flow.connect(flow.sender))?;
        let links = tables.filter_map(|table| flow.link(table));
        let links: BTreeMap<&str, &Link> = links.map(|link| (link.name.as_str(), link)).collect();
        let mut stuck = Stuck::new();
        for (name, link) in links {
            if let Some(why) = flow.reach(link, self.lsn).await? {
                stuck.insert(name.to_owned(), why);
            }
        }
        let receiver = Held::take_in(receiver, flow.clusters.at(side)).await?;
        let (sender, lsn) = flow.sending(sender).await?;
        self.lsn = lsn;
        Ok(Round { before: std::mem::replace(&mut self.sender, sender), receiver, stuck })
    }
}

/// The newest migration on the target.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub(super) async fn record(target: &Session) -> Result<Option<MigrationRecord>> {
    match store::exists(target).await? {
        true => MigrationRecord::newest(target).await,
        false => Ok(None),
    }
}

/// What is worth knowing where nothing flows though the migration was one that follows: the cutover is over.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub(super) async fn after_cutover(target: &Session) -> Result<Option<String>> {
    let over = |record: &MigrationRecord| {
        record.route.method() == Method::Follow && record.phase == Phase::Done
    };
    Ok(record(target).await?.filter(over).map(|record| {
        format!(
            "migration {} was cut over and nothing flows back: what the application has written to the target since differs from the source",
            record.id
        )
    }))
}

/// Whether apply has been started and no cutover has ended it.
pub(super) fn applies(route: Route, phase: Phase) -> bool {
    route.is_past(Phase::Subscribe, phase) && phase != Phase::Done
}

/// Why waiting for the link is of no use, if it is not.
fn hopeless(state: &LinkState, lsn: Lsn, timed_out: Option<Duration>) -> Option<String> {
    let name = &state.name;
    let slot = state.slot.as_ref();
    let at = slot.map_or("an unknown position".into(), |slot| slot.confirmed_lsn.to_string());
    let what = match state.health() {
        Health::SlotMissing => "its slot is gone".into(),
        Health::SlotLost { why } => format!("its slot is lost ({why})"),
        Health::PublicationMissing => "its publication is gone".into(),
        Health::NotSubscribed => "its subscription is not there".into(),
        Health::Stopped => match state.subscription.as_ref().and_then(|one| one.apply_errors) {
            Some(errors) if errors > 0 => format!("apply is stopped after {errors} errors"),
            _ => "apply is stopped".into(),
        },
        Health::Applying | Health::Disconnected => {
            let waited = timed_out?;
            let alive = match state.health() {
                Health::Applying => "apply is running",
                _ => "apply is not connected",
            };
            format!("{alive} and did not get there in {} s", waited.as_secs())
        }
    };
    Some(format!(
        "{name}: {what}; {lsn} was to be reached, {at} is, {} bytes behind (`vecferry status` shows more)",
        slot.map_or(0, |slot| lsn.since(slot.confirmed_lsn))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::health::tests::applying;

    #[test]
    fn only_a_link_that_may_still_get_there_is_waited_for() {
        let goal = Lsn(5 << 20);
        let limit = Duration::from_secs(7);
        assert_eq!(hopeless(&applying(), goal, None), None);
        let late = hopeless(&applying(), goal, Some(limit)).unwrap();
        assert!(late.contains("in 7 s") && late.contains("1048576 bytes"), "{late}");
        let mut stopped = applying();
        if let Some(subscription) = &mut stopped.subscription {
            (subscription.enabled, subscription.apply_errors) = (false, Some(2));
        }
        let said = hopeless(&stopped, goal, None).unwrap();
        assert!(said.contains("stopped after 2 errors") && said.contains("0/500000"), "{said}");
        let gone = LinkState { slot: None, ..applying() };
        assert!(hopeless(&gone, goal, None).unwrap().contains("slot is gone"));
        let mut away = applying();
        if let Some(subscription) = &mut away.subscription {
            subscription.running = false;
        }
        assert_eq!(hopeless(&away, goal, None), None, "the server connects again by itself");
    }

    #[test]
    fn changes_flow_from_subscribe_to_the_cutover() {
        for (route, phase, flows) in [
            (Route::Copy, Phase::Analyze, false),
            (Route::Copy, Phase::Done, false),
            (Route::FollowApplyLast, Phase::Subscribe, false),
            (Route::FollowApplyLast, Phase::Indexes, false),
            (Route::FollowApplyLast, Phase::CatchUp, true),
            (Route::FollowApplyFirst, Phase::Indexes, true),
            (Route::FollowApplyFirst, Phase::Following, true),
            (Route::FollowApplyFirst, Phase::Done, false),
        ] {
            assert_eq!(applies(route, phase), flows, "{route:?} {phase:?}");
        }
    }
}
