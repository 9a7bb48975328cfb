//! Which index is built next, and with how much memory. Pure.
//!
//! Vector indexes come first, the hungriest first: an HNSW graph that does not fit into memory takes several times as
//! long, so it is given what it wants even if that means building alone. Others share what is left.

/// Memory given to an index that wants less: `maintenance_work_mem`'s usual default.
const LEAST: u64 = 64 << 20;

/// More does not speed up a b-tree build noticeably.
const MOST_FOR_SORTING: u64 = 1 << 30;

/// `maintenance_work_mem` is an integer of kilobytes.
const MOST: u64 = i32::MAX as u64 * 1024;

/// An index that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    /// Its ordinal in the record.
    pub(super) ordinal: i32,
    /// Bytes with which the build runs best.
    pub(super) bytes: u64,
    /// Whether it is a vector index.
    pub(super) vector: bool,
}

impl Want {
    /// A vector index that wants `bytes`.
    pub(super) fn vector(ordinal: i32, bytes: u64) -> Want {
        Want { ordinal, bytes: bytes.clamp(LEAST, MOST), vector: true }
    }

    /// Any other index whose finished size was `size` on the source.
    pub(super) fn sorting(ordinal: i32, size: u64) -> Want {
        Want { ordinal, bytes: (size + size / 4).clamp(LEAST, MOST_FOR_SORTING), vector: false }
    }
}

/// What may run beside what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes for all builds together.
    pub(super) memory: u64,
    /// Builds at the same time.
    pub(super) jobs: usize,
}

/// Puts the waiting indexes into the order in which they are tried.
pub(super) fn order(waiting: &mut [Want]) {
    waiting.sort_by_key(|want| (!want.vector, std::cmp::Reverse(want.bytes), want.ordinal));
}

/// The position in `waiting` (ordered) of the index to start now and its memory; `None` to wait for one of the
/// `running`, whose memory is given, to finish.
pub(super) fn next(waiting: &[Want], running: &[u64], limits: Limits) -> Option<(usize, u64)> {
    if waiting.is_empty() || running.len() >= limits.jobs.max(1) {
        return None;
    }
    let free = limits.memory.saturating_sub(running.iter().sum());
    if let Some(at) = waiting.iter().position(|want| want.bytes <= free) {
        return Some((at, waiting[at].bytes));
    }
    // Nothing fits. Alone, the first gets all there is; a build must go on even in a small server.
    running.is_empty().then(|| (0, limits.memory.clamp(LEAST, waiting[0].bytes.max(LEAST))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_hungriest_vector_index_goes_first_and_others_fill_what_is_left() {
        let mut waiting =
            vec![Want::sorting(0, 10 << 20), Want::vector(1, GIB), Want::vector(2, 3 * GIB)];
        order(&mut waiting);
        assert_eq!(waiting.iter().map(|want| want.ordinal).collect::<Vec<_>>(), [2, 1, 0]);
        let limits = Limits { memory: 3 * GIB + LEAST, jobs: 4 };
        assert_eq!(next(&waiting, &[], limits), Some((0, 3 * GIB)));
        assert_eq!(
            next(&waiting[1..], &[3 * GIB], limits),
            Some((1, LEAST)),
            "the b-tree fits beside it"
        );
        assert_eq!(next(&waiting[1..2], &[3 * GIB], limits), None, "the other graph waits");
    }

    #[test]
    fn what_never_fits_is_built_alone_with_all_there_is() {
        let waiting = [Want::vector(0, 10 * GIB)];
        let limits = Limits { memory: GIB, jobs: 2 };
        assert_eq!(next(&waiting, &[], limits), Some((0, GIB)));
        assert_eq!(next(&waiting, &[LEAST], limits), None);
        assert_eq!(next(&waiting, &[], Limits { memory: 0, jobs: 0 }), Some((0, LEAST)));
    }

    #[test]
    fn no_more_builds_run_than_allowed_and_everything_is_built() {
        for memory in [0, LEAST, GIB, 100 * GIB] {
            for jobs in [0, 1, 3] {
                let mut waiting: Vec<Want> = (0..9)
                    .map(|n| {
                        if n % 2 == 0 {
                            Want::sorting(n, 1 << 20)
                        } else {
                            Want::vector(n, 5 * GIB)
                        }
                    })
                    .collect();
                order(&mut waiting);
                let mut running: Vec<u64> = Vec::new();
                while !waiting.is_empty() {
                    match next(&waiting, &running, Limits { memory, jobs }) {
                        Some((at, bytes)) => {
                            waiting.remove(at);
                            running.push(bytes);
                            assert!(
                                running.len() <= jobs.max(1) && (LEAST..=MOST).contains(&bytes)
                            );
                        }
                        None => drop(running.pop().expect("something runs when nothing can start")),
                    }
                }
            }
        }
    }
}
