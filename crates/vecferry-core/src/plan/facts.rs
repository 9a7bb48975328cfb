//! What a plan is made from: plain data, no I/O.

use crate::inventory::{Inventory, Table};
use crate::policy::Policy;

/// Everything a plan depends on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The source's database.
    pub source: Inventory,
    /// The target's, or why it could not be read.
    pub target: Result<Inventory, String>,
    /// What was measured.
    pub probe: Probe,
    /// The operator's choices.
    pub policy: Policy,
}

impl Facts {
    /// Tables that are to be moved.
    pub fn selected(&self) -> impl Iterator<Item = &Table> {
        self.source.tables.iter().filter(|table| self.policy.selects(table))
    }

    /// Of these, the ones with rows of their own.
    pub fn with_rows(&self) -> impl Iterator<Item = &Table> {
        self.selected().filter(|table| table.holds_rows())
    }
}

/// What a short look at this source and this target measured. `None` is "not measured", with the reason in
/// [`Probe::left_out`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Probe {
    /// Seconds the source takes to describe its catalog, as the schema phase asks for it.
    pub catalog_seconds: f64,
    /// Seconds of one round trip to the target.
    pub round_trip_seconds: Option<f64>,
    /// One connection reading the source.
    pub read: Option<Rate>,
    /// All connections of a run at once, from source to target.
    pub write: Option<Rate>,
    /// COPY bytes for each byte of heap and TOAST.
    pub bytes_ratio: Option<f64>,
    /// Index builds on the target.
    pub builds: Vec<Build>,
    /// What is written to the source; not measured for a copy.
    pub wal: Option<Wal>,
    /// What was not measured, and why.
    pub left_out: Vec<String>,
}

/// Rows that passed in some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// COPY bytes.
    pub bytes: u64,
    /// How long they took.
    pub seconds: f64,
}

impl Rate {
    /// COPY bytes per second.
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
    pub fn bytes_per_second(self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-6)
    }
}

/// What was written to the source's whole server while nothing of ours wrote there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wal {
    /// Bytes of write-ahead log.
    pub bytes: u64,
    /// Transactions that wrote.
    pub transactions: u64,
    /// How long was looked.
    pub seconds: f64,
    /// The average since the server's statistics were reset, where that is days ago: what is written at other hours.
    pub average_bytes_per_second: Option<f64>,
    /// `max_slot_wal_keep_size` in bytes; `None` for no limit.
    pub kept_bytes: Option<u64>,
}

impl Wal {
    /// Bytes per second now, or on the average if that is more.
    pub fn bytes_per_second(self) -> f64 {
        let now = Rate { bytes: self.bytes, seconds: self.seconds }.bytes_per_second();
        now.max(self.average_bytes_per_second.unwrap_or(0.0))
    }

    /// Transactions per second.
    pub fn transactions_per_second(self) -> f64 {
        Rate { bytes: self.transactions, seconds: self.seconds }.bytes_per_second()
    }
}

/// A measured index build.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// Access method.
    pub method: String,
    /// Rows that were indexed.
    pub rows: u64,
    /// Dimensions of their vectors; 0 for other indexes.
    pub dimensions: u64,
    /// `m` of an HNSW index or `lists` of an IVFFlat one, as built; 0 for others.
    pub parameter: u64,
    /// `ef_construction` of an HNSW index; 0 for others.
    pub ef_construction: u64,
    /// How long it took.
    pub seconds: f64,
}
