//! What the methods cost beyond the embedding: traffic, and clusters that run because of the migration. Pure.
//!
//! Left out everywhere, and said so: the target's own hours, storage and requests, which are there whatever the method.

use super::estimate::{copy_bytes, float, table_bytes};
use super::facts::Facts;
use super::money::{Line, Range};
use super::situation::{Origin, Situation};
use crate::inventory::Server;
use crate::price::Item;

/// Hours from asking for a restore to a cluster that answers. Nobody promises any; a small volume takes a quarter of an
/// hour with its instance.
const RESTORE_HOURS: Range = Range { low: 0.25, expected: 0.5, high: 2.0 };

/// Hours that pass before somebody cleans up, and how long what is measured may take instead.
const LINGERING_HOURS: Range = Range { low: 0.0, expected: 0.5, high: 8.0 };

/// Hours until the cutover of a follow, besides those of the copy: that is the operator's to choose.
const CUTOVER_HOURS: Range = Range { low: 0.0, expected: 24.0, high: 168.0 };

/// The least capacity of a cluster that does not pause.
const LEAST_ACUS: f64 = 0.5;

/// GiB of memory that an Aurora capacity unit has.
const GIB_PER_ACU: f64 = 2.0;

/// Aurora gives three quarters of its memory to `shared_buffers`.
const BUFFERS_SHARE: f64 = 0.75;

/// Hours of a month, as AWS reckons.
const MONTH_HOURS: f64 = 730.0;

/// Bytes of one request to Aurora's storage, when it is read.
const PAGE: f64 = 8192.0;

/// What the copy's rows cost on their way: 0 in one zone; once across zones, paid at both ends; twice, when this program
/// runs in a third.
pub(super) fn transfer(situation: &Situation, facts: &Facts) -> Vec<Line> {
    let aurora = facts.source.server.aurora
        || facts.target.as_ref().is_ok_and(|target| target.server.aurora)
        || situation.origin != Origin::Live;
    if !aurora {
        return vec![];
    }
    let gigabytes = float(copy_bytes(facts)) / 1e9;
    let quantity = Range::new(0.0, 2.0, 4.0).times(gigabytes);
    let what = "rows between availability zones, each end";
    vec![Line::new(what, Item::TransferZoneGb, quantity, &situation.prices)]
}

/// What the temporary cluster costs that the source is restored into, for a method of so many seconds. Empty when the
/// source is no snapshot.
pub(super) fn temporary(situation: &Situation, facts: &Facts, seconds: f64) -> Vec<Line> {
    let Origin::Snapshot { restored, acus } = situation.origin else { return vec![] };
    let before = if restored { Range::default() } else { RESTORE_HOURS };
    let hours = before.plus(Range::exactly(seconds / 3600.0)).plus(LINGERING_HOURS);
    let months = hours.times(1.0 / MONTH_HOURS);
    // All of it, not the selected tables alone: the snapshot is restored whole.
    let held: u64 =
        facts.source.tables.iter().map(|table| table.table_bytes + index_bytes(table)).sum();
    let gigabytes = float(held) / 1e9;
    let reads = float(table_bytes(facts)) / PAGE / 1e6;
    let capacity =
        Range::new(hours.low * acus.low, hours.expected * acus.expected, hours.high * acus.high);
    let line = |what: &str, item, quantity| Line::new(what, item, quantity, &situation.prices);
    let volume = months.times(gigabytes);
    vec![
        line("temporary cluster", Item::AuroraAcuHour, capacity),
        line("its volume", Item::AuroraStorageGbMonth, volume),
        line(
            "reading it once, at most thrice",
            Item::AuroraIoMillion,
            Range::new(reads, reads, 3.0 * reads),
        ),
        line("its secret", Item::SecretMonth, months),
        line(
            "a snapshot taken by hand, kept for a month at most",
            Item::AuroraSnapshotGbMonth,
            Range::new(0.0, 0.0, gigabytes),
        ),
    ]
}

/// The most that an hour of the temporary cluster costs, when how long it runs cannot be told.
pub(super) fn temporary_hour(situation: &Situation) -> Option<f64> {
    match situation.origin {
        Origin::Live => None,
        Origin::Snapshot { acus, .. } => {
            Some(acus.high * situation.prices.usd(Item::AuroraAcuHour))
        }
    }
}

/// What the source costs while both clusters run: until the cutover. Empty when it is no Aurora cluster, whose price
/// nobody here knows.
pub(super) fn until_cutover(situation: &Situation, facts: &Facts, seconds: f64) -> Vec<Line> {
    let server = &facts.source.server;
    if !server.aurora {
        return vec![];
    }
    let hours = Range::exactly(seconds / 3600.0).plus(CUTOVER_HOURS);
    let most = capacity(server);
    let middle = f64::midpoint(LEAST_ACUS, most);
    let quantity = Range::new(hours.low * LEAST_ACUS, hours.expected * middle, hours.high * most);
    let what = "source cluster until the cutover, taken for a day, a week at most";
    vec![Line::new(what, Item::AuroraAcuHour, quantity, &situation.prices)]
}

/// Aurora capacity units that a cluster's memory stands for.
fn capacity(server: &Server) -> f64 {
    let memory = float(server.shared_buffers) / BUFFERS_SHARE;
    (memory / f64::from(1 << 30) / GIB_PER_ACU).max(LEAST_ACUS)
}

fn index_bytes(table: &crate::inventory::Table) -> u64 {
    table.indexes.iter().map(|index| index.bytes).sum()
}
