//! How a link is doing, judged from what both clusters say of it. Pure.

use serde::Serialize;

use crate::pg::Lsn;

/// What both clusters say of a link, read within moments of each other, the sender first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkState {
    /// Name of publication, slot and subscription.
    pub name: String,
    /// Where the sender writes now.
    pub sender_lsn: Lsn,
    /// The slot; `None` when it is gone.
    pub slot: Option<SlotState>,
    /// Whether the publication is there.
    pub publication: bool,
    /// The subscription; `None` when it is not there.
    pub subscription: Option<SubscriptionState>,
}

/// `pg_replication_slots` and `pg_stat_replication` of one slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlotState {
    /// Whether a process sends from it.
    pub active: bool,
    /// Everything before this is durably applied on the receiver.
    pub confirmed_lsn: Lsn,
    /// WAL from here on is kept for it.
    pub restart_lsn: Option<Lsn>,
    /// Bytes of WAL that are kept for it.
    pub retained_bytes: u64,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Bytes of WAL until it is in danger of being lost; `None` when nothing limits it.
    pub safe_bytes: Option<i64>,
    /// Why the server gave it up (17 and later), such as `wal_removed` or `rows_removed`.
    pub invalidation: Option<String>,
    /// Seconds between a commit on the sender and the news of its apply, when there was one lately.
    pub replay_lag_seconds: Option<f64>,
}

/// `pg_subscription` and `pg_stat_subscription` of one subscription.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubscriptionState {
    /// Whether it is to run.
    pub enabled: bool,
    /// Whether its apply process runs.
    pub running: bool,
    /// Last position received.
    pub received_lsn: Option<Lsn>,
    /// Last position reported back to the sender.
    pub reported_lsn: Option<Lsn>,
    /// Errors during apply since the statistics were reset, lost connections among them; `None` before 15.
    pub apply_errors: Option<i64>,
}

impl SlotState {
    /// Whether WAL it needs is gone, for good.
    pub fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation.is_some()
    }
}

/// How a link is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// The slot is gone: the server it was on was restored or failed over, or somebody dropped it.
    SlotMissing,
    /// The slot is there and of no use: WAL it needed is gone.
    SlotLost {
        /// The server's word for why.
        why: String,
    },
    /// The publication is gone; apply will stop at the next change.
    PublicationMissing,
    /// The subscription is not there (yet).
    NotSubscribed,
    /// Somebody disabled the subscription.
    Stopped,
    /// The receiver's apply process does not run or does not reach the sender, for the moment or because it fails at a
    /// change again and again.
    Disconnected,
    /// Changes are being applied.
    Applying,
}

impl LinkState {
    /// What the two clusters' words come to. The worst is told first.
    pub fn health(&self) -> Health {
        let Some(slot) = &self.slot else { return Health::SlotMissing };
        if slot.is_lost() {
            let why = slot.invalidation.clone().unwrap_or_else(|| "WAL removed".into());
            return Health::SlotLost { why };
        }
        if !self.publication {
            return Health::PublicationMissing;
        }
        match &self.subscription {
            None => Health::NotSubscribed,
            Some(subscription) if !subscription.enabled => Health::Stopped,
            Some(subscription) if !subscription.running || !slot.active => Health::Disconnected,
            Some(_) => Health::Applying,
        }
    }

    /// Bytes of WAL that the sender has written and the receiver has not confirmed. Counts everything the server
    /// writes, so that it stays above 0 on a server with other databases in use.
    pub fn lag_bytes(&self) -> Option<u64> {
        self.slot.as_ref().map(|slot| self.sender_lsn.since(slot.confirmed_lsn))
    }

    /// Whether everything up to `lsn` is applied and durable on the receiver, by both clusters' word.
    pub fn has_passed(&self, lsn: Lsn) -> bool {
        let confirmed = self.slot.as_ref().is_some_and(|slot| slot.confirmed_lsn >= lsn);
        let reported =
            self.subscription.as_ref().and_then(|subscription| subscription.reported_lsn);
        confirmed && reported.is_some_and(|reported| reported >= lsn)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A link on which all is well, 1 MiB behind.
    pub(crate) fn applying() -> LinkState {
        LinkState {
            name: "vecferry_1_0".into(),
            sender_lsn: Lsn(5 << 20),
            slot: Some(SlotState {
                active: true,
                confirmed_lsn: Lsn(4 << 20),
                restart_lsn: Some(Lsn(3 << 20)),
                retained_bytes: 2 << 20,
                wal_status: Some("reserved".into()),
                safe_bytes: None,
                invalidation: None,
                replay_lag_seconds: Some(0.1),
            }),
            publication: true,
            subscription: Some(SubscriptionState {
                enabled: true,
                running: true,
                received_lsn: Some(Lsn(5 << 20)),
                reported_lsn: Some(Lsn(4 << 20)),
                apply_errors: Some(0),
            }),
        }
    }

    fn with(change: impl FnOnce(&mut LinkState)) -> LinkState {
        let mut state = applying();
        change(&mut state);
        state
    }

    #[test]
    fn the_worst_that_either_cluster_says_is_what_counts() {
        let slot = |change: fn(&mut SlotState)| with(|state| change(state.slot.as_mut().unwrap()));
        let subscription = |change: fn(&mut SubscriptionState)| {
            with(|state| change(state.subscription.as_mut().unwrap()))
        };
        for (state, health) in [
            (applying(), Health::Applying),
            (with(|state| state.slot = None), Health::SlotMissing),
            (
                slot(|slot| slot.wal_status = Some("lost".into())),
                Health::SlotLost { why: "WAL removed".into() },
            ),
            (
                slot(|slot| slot.invalidation = Some("rows_removed".into())),
                Health::SlotLost { why: "rows_removed".into() },
            ),
            (with(|state| state.publication = false), Health::PublicationMissing),
            (with(|state| state.subscription = None), Health::NotSubscribed),
            (subscription(|subscription| subscription.enabled = false), Health::Stopped),
            (subscription(|subscription| subscription.running = false), Health::Disconnected),
            (slot(|slot| slot.active = false), Health::Disconnected),
        ] {
            assert_eq!(state.health(), health, "{state:?}");
        }
    }

    #[test]
    fn a_position_is_passed_only_when_both_clusters_say_so() {
        let at = Lsn(4 << 20);
        assert!(applying().has_passed(at));
        assert!(!applying().has_passed(Lsn(at.0 + 1)));
        assert!(!with(|state| state.slot = None).has_passed(at));
        assert!(!with(|state| state.subscription = None).has_passed(at));
        let unreported = with(|state| state.subscription.as_mut().unwrap().reported_lsn = None);
        assert!(!unreported.has_passed(at));
        assert_eq!(applying().lag_bytes(), Some(1 << 20));
    }
}
