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
