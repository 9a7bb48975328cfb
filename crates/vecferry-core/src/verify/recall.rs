//! How well the application finds: its own query, run on both sides with the same vectors, against an exact search.
//!
//! Recall is the share of the rows returned that are no farther away than the last of the exact answer; ties count as
//! found. Three things are told apart: what the application gets (whatever plan the server chooses), whether that
//! plan uses the vector index at all, and what the index itself finds when no other plan is open to the server.

mod measure;

use serde::Serialize;

use super::Options;

pub(super) use measure::measure;

/// Below this the application misses every fifth row it should see.
const POOR: f64 = 0.8;

/// The answer about recall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recall {
    /// Whether the target's recall is no more than the tolerance below the source's.
    pub matches: bool,
    /// How long it took.
    pub seconds: f64,
    /// Table, `schema.name`.
    pub table: String,
    /// Rows a search asks for.
    pub k: u32,
    /// Searches run on each side, per kind of search.
    pub queries: usize,
    /// The source, over all bots; `None` where it could not be searched.
    pub source: Option<Found>,
    /// The target, over all bots.
    pub target: Option<Found>,
    /// By bot; one entry named `all rows` when there is no bot column.
    pub bots: Vec<BotRecall>,
}

/// One bot's recall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BotRecall {
    /// Its id.
    pub bot: String,
    /// Its rows on the target.
    pub rows: u64,
    /// The source.
    pub source: Option<Found>,
    /// The target.
    pub target: Option<Found>,
}

/// What searches found on one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Found {
    /// Searches behind the numbers.
    pub queries: usize,
    /// Mean recall@k of the application's query, 0 to 1.
    pub application: f64,
    /// Share of the application's queries for which the planner chose a vector index, 0 to 1.
    pub planned_with_index: f64,
    /// Mean recall@k of the vector index alone; `None` when there is none the query can use.
    pub index: Option<f64>,
}

/// Recall@k of one search: both lists are distances, the exact one in ascending order. `None` when there was nothing
/// to find.
fn recall_at(exact: &[f64], returned: &[f64]) -> Option<f64> {
    let farthest = exact.last()?;
    let hits = returned.iter().filter(|distance| *distance <= farthest).count();
    Some((hits as f64 / exact.len() as f64).min(1.0))
}

/// Means of several results, weighted by their searches.
fn mean(found: impl Iterator<Item = Found>) -> Option<Found> {
    let found: Vec<Found> = found.filter(|found| found.queries > 0).collect();
    let queries: usize = found.iter().map(|found| found.queries).sum();
    if queries == 0 {
        return None;
    }
    let weighted = |value: &dyn Fn(&Found) -> f64| {
        found.iter().map(|one| value(one) * one.queries as f64).sum::<f64>() / queries as f64
    };
    let by_index: Vec<&Found> = found.iter().filter(|one| one.index.is_some()).collect();
    let index_queries: usize = by_index.iter().map(|one| one.queries).sum();
    let index = (index_queries > 0).then(|| {
        let sum: f64 =
            by_index.iter().filter_map(|one| Some(one.index? * one.queries as f64)).sum();
        sum / index_queries as f64
    });
    Some(Found {
        queries,
        application: weighted(&|one| one.application),
        planned_with_index: weighted(&|one| one.planned_with_index),
        index,
    })
}

/// Which bots to search in, of bots with their rows: all when they are few, else the largest half, the smallest
/// quarter and the rest at even distances between. The same on every run.
fn choose(mut bots: Vec<(String, u64)>, limit: usize) -> Vec<(String, u64)> {
    bots.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    if bots.len() <= limit {
        return bots;
    }
    let smallest = limit / 4;
    let between = limit / 4;
    let largest = limit - smallest - between;
    let middle = bots.len() - largest - smallest;
    let chosen = (0..largest)
        .chain((0..between).map(|at| largest + middle * (2 * at + 1) / (2 * between)))
        .chain(bots.len() - smallest..bots.len());
    chosen.map(|at| bots[at].clone()).collect()
}

/// Whether the target finds as well as the source does, and what to advise.
fn judge(source: Option<&Found>, target: Option<&Found>, options: &Options) -> (bool, Vec<String>) {
    let Some(target) = target else { return (source.is_none(), Vec::new()) };
    let mut notes = Vec::new();
    let advice = "raise ivfflat.probes or hnsw.ef_search, or rebuild the index with other lists";
    if target.application < POOR {
        notes.push(format!(
            "the application's search finds {:.0} % of what it should on the target: {advice}",
            target.application * 100.0
        ));
    } else if target.index.is_some_and(|index| index < POOR) && target.planned_with_index > 0.0 {
        notes.push(format!(
            "where the planner uses it, the target's vector index may find as little as {:.0} %: {advice}",
            target.index.unwrap_or_default() * 100.0
        ));
    }
    let worse = |source: &Found| {
        // Means of shares are compared: their last digits are noise.
        source.application - target.application > options.recall_tolerance + 1e-9
    };
    (!source.is_some_and(worse), notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(application: f64, index: Option<f64>, queries: usize) -> Found {
        Found { queries, application, planned_with_index: 1.0, index }
    }

    #[test]
    fn ties_with_the_last_exact_row_count_as_found() {
        for (exact, returned, recall) in [
            (&[0.0, 1.0, 2.0][..], &[0.0, 1.0, 2.0][..], Some(1.0)),
            (&[0.0, 1.0, 1.0], &[1.0, 1.0, 1.0], Some(1.0)),
            (&[0.0, 1.0, 2.0, 3.0], &[0.0, 9.0, 3.0], Some(0.5)),
            (&[-3.0, -1.0], &[-3.0], Some(0.5)),
            (&[1.0], &[1.0, 1.0], Some(1.0)),
            (&[1.0, 2.0], &[], Some(0.0)),
            (&[], &[1.0], None),
        ] {
            assert_eq!(recall_at(exact, returned), recall, "{exact:?} {returned:?}");
        }
    }

    #[test]
    fn means_weigh_searches_and_leave_out_bots_without_an_index() {
        let mean = mean([found(1.0, Some(0.5), 3), found(0.5, None, 1)].into_iter()).unwrap();
        assert_eq!((mean.queries, mean.application, mean.index), (4, 0.875, Some(0.5)));
        assert_eq!(super::mean([].into_iter()), None);
        assert_eq!(super::mean([found(0.0, None, 0)].into_iter()), None);
    }

    #[test]
    fn bots_of_every_size_are_chosen_once_each() {
        let bots: Vec<_> = (0..100u64).map(|rows| (format!("b{rows}"), rows)).collect();
        let chosen: Vec<u64> = choose(bots.clone(), 8).into_iter().map(|bot| bot.1).collect();
        assert_eq!(chosen, [99, 98, 97, 96, 72, 25, 1, 0]);
        for limit in 0..=101 {
            let mut chosen = choose(bots.clone(), limit);
            assert_eq!(chosen.len(), limit.min(100));
            chosen.sort();
            chosen.dedup();
            assert_eq!(chosen.len(), limit.min(100), "{limit}");
        }
    }

    #[test]
    fn the_target_may_be_worse_within_the_tolerance_only() {
        let options = Options::default();
        let at = |application| found(application, None, 10);
        for (source, target, matches, notes) in [
            (Some(at(1.0)), Some(at(0.95)), true, 0),
            (Some(at(1.0)), Some(at(0.94)), false, 0),
            (Some(at(0.5)), Some(at(0.5)), true, 1),
            (None, Some(at(0.1)), true, 1),
            (Some(at(1.0)), None, false, 0),
            (None, None, true, 0),
            (Some(at(1.0)), Some(found(1.0, Some(0.3), 5)), true, 1),
        ] {
            let (judged, said) = judge(source.as_ref(), target.as_ref(), &options);
            assert_eq!((judged, said.len()), (matches, notes), "{source:?} {target:?}");
        }
    }
}
