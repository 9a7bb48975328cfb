//! How much memory an index build wants and how much there is. Pure.
//!
//! The models follow the allocations in pgvector's `src/hnsw.h`, `hnswutils.c`, `ivfbuild.c` and `ivfkmeans.c` as of
//! 0.8 on a 64-bit server; 0.6 and 0.7 allocate the same. An HNSW build whose graph outgrows `maintenance_work_mem`
//! goes on page by page, several times slower; an IVFFlat build that needs more is refused.

use serde::Serialize;

use crate::inventory::{Index, Server, Table};

/// `sizeof(HnswElementData)`: pointers, ten heap TIDs, flags and a lightweight lock.
const ELEMENT: u64 = 128;
/// `sizeof(HnswCandidate)`: pointer, distance, flag, padding.
const CANDIDATE: u64 = 16;
/// Head of a neighbour array, and the pointer to it in the element's list of layers.
const NEIGHBOUR_ARRAY: u64 = 8 + 8;
/// Chunk headers of the four allocations of an element; a parallel build rounds up instead, which costs no more.
const CHUNK_HEADERS: u64 = 4 * 8;
/// What a parallel build sets aside of `maintenance_work_mem`: 3 MiB for other objects, 1 MiB as a margin.
const HNSW_RESERVE: u64 = 4 << 20;
/// pgvector's defaults for `m` and `lists`.
const DEFAULT_M: u64 = 16;
const DEFAULT_LISTS: u64 = 100;
/// IVFFlat trains on 50 rows per list, and on at least this many.
const IVFFLAT_MIN_SAMPLES: u64 = 10_000;
/// Leaves room for what else the server does while we build.
const SHARE_OF_AVAILABLE: f64 = 0.7;
/// Aurora gives about three quarters of its memory to `shared_buffers`; a tenth of the whole is free for us.
const AURORA_BUFFERS_SHARE: f64 = 0.75;
/// Share of an Aurora instance's memory that index builds may use.
pub const AURORA_SHARE: f64 = 0.1;

/// Where a [`Budget`] comes from, for the operator to judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetSource {
    /// `--index-memory`.
    Setting,
    /// The server's kernel: 70 % of `MemAvailable`.
    Available,
    /// Aurora's `shared_buffers`, from which its memory is inferred.
    Aurora,
    /// The server's own settings: the larger of `shared_buffers` and `maintenance_work_mem`.
    Settings,
}

impl BudgetSource {
    /// In the operator's words.
    pub fn describe(self) -> &'static str {
        match self {
            BudgetSource::Setting => "as --index-memory says",
            BudgetSource::Available => "70 % of what the server's kernel reports as available",
            BudgetSource::Aurora => {
                "a tenth of the instance's memory, inferred from shared_buffers"
            }
            BudgetSource::Settings => {
                "inferred from shared_buffers and maintenance_work_mem, as our role may not read more"
            }
        }
    }
}

/// Memory that index builds may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
    /// Where the number comes from.
    pub from: BudgetSource,
}

/// What builds on `server` may use together: the setting, or the best guess that the server's answers allow.
pub fn memory_budget(server: &Server, setting: Option<u64>) -> Budget {
    if let Some(bytes) = setting {
        return Budget { bytes, from: BudgetSource::Setting };
    }
    if let Some(available) = server.available_memory {
        let bytes = share(available, SHARE_OF_AVAILABLE);
        return Budget { bytes, from: BudgetSource::Available };
    }
    if server.aurora {
        let bytes = share(server.shared_buffers, AURORA_SHARE / AURORA_BUFFERS_SHARE);
        let bytes = bytes.max(server.maintenance_work_mem);
        return Budget { bytes, from: BudgetSource::Aurora };
    }
    // What an administrator gave to the cache, usually a quarter of the machine, is there once more.
    let bytes = server.shared_buffers.max(server.maintenance_work_mem);
    Budget { bytes, from: BudgetSource::Settings }
}

/// `maintenance_work_mem` with which an HNSW graph of `rows` elements stays in memory. `value_bytes` is the size of
/// one vector ([`value_bytes`]), `m` the index's option.
pub fn hnsw_bytes(rows: u64, value_bytes: u64, m: u64) -> u64 {
    let m = m.max(2);
    // An element reaches layer k with probability m^-k, so it has 1/(m-1) layers above the ground on average.
    let ground = NEIGHBOUR_ARRAY + CANDIDATE * 2 * m;
    let above = (NEIGHBOUR_ARRAY + CANDIDATE * m).div_ceil(m - 1);
    let element = ELEMENT + CHUNK_HEADERS + ground + above + aligned(value_bytes);
    rows.saturating_mul(element).saturating_add(HNSW_RESERVE)
}

/// `maintenance_work_mem` without which pgvector refuses an IVFFlat build over `rows` rows: samples, centres and
/// the bounds of Elkan's k-means.
pub fn ivfflat_bytes(rows: u64, value_bytes: u64, dimensions: u64, lists: u64) -> u64 {
    let samples = (50 * lists).max(IVFFLAT_MIN_SAMPLES).min(rows.max(1));
    let value = aligned(value_bytes);
    let centres = 2 * lists * value + 4 * lists * dimensions;
    let bounds = 4 * samples * lists + 8 * samples;
    samples * value + centres + bounds + 4 * lists * lists + 12 * lists
}

/// Bytes of one value of a pgvector type in memory, its header included.
pub fn value_bytes(base_type: &str, dimensions: u64) -> u64 {
    match base_type {
        "halfvec" => 8 + 2 * dimensions,
        "bit" => 8 + dimensions.div_ceil(8),
        // HNSW takes at most 1 000 non-zero elements; each is an index and a value.
        "sparsevec" => 16 + 8 * dimensions.min(1000),
        _ => 8 + 4 * dimensions,
    }
}

/// Type and dimensions of what a vector index holds: `("halfvec", 1024)`. The operator class tells the type, the
/// column or the cast in the index's expression the dimensions.
pub fn indexed_value<'a>(table: &Table, index: &'a Index) -> Option<(&'a str, u64)> {
    let base_type = index.operator_class.split('_').next()?;
    let column = index.columns.first().and_then(|name| table.column(name));
    let dimensions = match column {
        Some(column) if column.base_type == base_type => column.dimensions.map(u64::from),
        _ => cast_dimensions(&index.definition, base_type),
    };
    Some((base_type, dimensions?))
}

/// Memory the build of a vector index over `rows` rows wants; `None` for other indexes and unknown dimensions.
pub fn build_bytes(table: &Table, index: &Index, rows: u64) -> Option<u64> {
    let (base_type, dimensions) = indexed_value(table, index)?;
    build_bytes_of(index, base_type, dimensions, rows)
}

/// The same for values of `base_type` with `dimensions`.
pub fn build_bytes_of(index: &Index, base_type: &str, dimensions: u64, rows: u64) -> Option<u64> {
    let value = value_bytes(base_type, dimensions);
    match index.method.as_str() {
        "hnsw" => Some(hnsw_bytes(rows, value, index.option("m").unwrap_or(DEFAULT_M))),
        "ivfflat" => {
            let lists = index.option("lists").unwrap_or(DEFAULT_LISTS);
            Some(ivfflat_bytes(rows, value, dimensions, lists))
        }
        _ => None,
    }
}

/// The number in `…::public.halfvec(1024)`.
fn cast_dimensions(definition: &str, base_type: &str) -> Option<u64> {
    let (_, after) = definition.split_once(&format!("{base_type}("))?;
    after.split_once(')')?.0.trim().parse().ok()
}

fn aligned(bytes: u64) -> u64 {
    bytes.div_ceil(8) * 8
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn share(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn an_hnsw_graph_takes_about_4_8_kb_per_row_of_1024_dimensions() {
        let bytes = hnsw_bytes(200_000, value_bytes("vector", 1024), 16);
        assert!((900 << 20..1000 << 20).contains(&bytes), "{bytes}");
        assert!(hnsw_bytes(200_000, value_bytes("halfvec", 1024), 16) < bytes);
        assert!(hnsw_bytes(200_000, value_bytes("vector", 1024), 32) > bytes);
        assert_eq!(hnsw_bytes(0, 4104, 16), HNSW_RESERVE);
        assert_eq!(hnsw_bytes(u64::MAX, 4104, 1), u64::MAX);
    }

    #[test]
    fn ivfflat_needs_samples_and_the_bounds_of_k_means() {
        let small = ivfflat_bytes(1000, value_bytes("vector", 1024), 1024, 100);
        let large = ivfflat_bytes(1_000_000, value_bytes("vector", 1024), 1024, 100);
        let lists = ivfflat_bytes(1_000_000, value_bytes("vector", 1024), 1024, 1000);
        assert!(small < large && large < lists);
        assert!((40 << 20..60 << 20).contains(&large), "{large}");
    }

    #[test]
    fn what_an_index_holds_is_read_from_its_class_column_or_cast() {
        let table = sample::items(10, 1024);
        let plain = sample::index("a", "hnsw", &["embedding"], "vector_l2_ops");
        assert_eq!(indexed_value(&table, &plain), Some(("vector", 1024)));
        let mut cast = sample::index("b", "hnsw", &[], "halfvec_cosine_ops");
        cast.definition = "… USING hnsw (((embedding)::public.halfvec(512)) …)".into();
        assert_eq!(indexed_value(&table, &cast), Some(("halfvec", 512)));
        let btree = sample::index("c", "btree", &["id"], "bpchar_ops");
        assert_eq!(build_bytes(&table, &btree, 10), None);
        assert!(build_bytes(&table, &cast, 10) < build_bytes(&table, &plain, 10));
    }

    #[test]
    fn the_budget_prefers_what_is_known_best() {
        let mut server = sample::server(18);
        let budget = |server: &Server| memory_budget(server, None);
        assert_eq!(
            memory_budget(&server, Some(7)),
            Budget { bytes: 7, from: BudgetSource::Setting }
        );
        assert_eq!(budget(&server).from, BudgetSource::Available);
        server.available_memory = None;
        assert_eq!(budget(&server), Budget { bytes: 128 << 20, from: BudgetSource::Settings });
        server.aurora = true;
        server.shared_buffers = 12 << 30;
        assert_eq!(budget(&server).from, BudgetSource::Aurora);
        assert!((1500 << 20..1700 << 20).contains(&budget(&server).bytes));
    }
}
