//! Which run is worked on: the one that the store holds, or a new one; and what of it is recorded before the first task.

use super::estimate::Estimate;
use super::order::ReembedOrder;
use super::store::RunRecord;
use crate::error::Result;

/// The run that is worked on.
pub(super) struct Opened {
    pub(super) run: String,
    /// Whether it was there.
    pub(super) resumed: bool,
    /// What it was expected to take when it began.
    pub(super) estimate: Option<Estimate>,
    /// Seconds that its earlier runs took.
    pub(super) earlier: f64,
}

/// The run that the store holds, or a new one.
pub(super) async fn open(order: &ReembedOrder) -> Result<Opened> {
    let store = order.store.as_ref();
    let mut found = store.newest().await?;
    if order.restart
        && let Some(record) = found.take()
    {
        store.forget(&record.id).await?;
    }
    if let Some(record) = &found {
        if record.finished_at.is_none() {
            order.settings.refuse_others(&record.settings, &store.describe())?;
        }
        if !order.settings.differences(&record.settings).is_empty() {
            found = None;
        }
    }
    let resumed = found.is_some();
    let recorded = to_record(found.as_ref(), order.estimate.as_ref());
    let earlier = found.as_ref().map_or(0.0, |record| record.seconds);
    let known = found.as_ref().and_then(|record| record.estimate.clone());
    let run = found.map_or_else(|| uuid::Uuid::now_v7().to_string(), |record| record.id);
    store.begin(&run, &order.settings, recorded.as_ref()).await?;
    Ok(Opened { run, resumed, estimate: recorded.or(known), earlier })
}

/// The estimate to be recorded: a run that goes on keeps the one it began with, which counts the bots that are proven by
/// now; one that was finished takes up further bots.
fn to_record(found: Option<&RunRecord>, estimate: Option<&Estimate>) -> Option<Estimate> {
    match found {
        None => estimate.cloned(),
        // A delta opens its record before its bots' turn comes.
        Some(record) if record.estimate.is_none() && record.seconds <= 0.0 => estimate.cloned(),
        Some(record) if record.finished_at.is_some() => {
            Some(record.estimate.as_ref()?.plus(estimate?))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::settings;

    fn estimate(bots: u64) -> Estimate {
        Estimate { bots, ..Estimate::default() }
    }

    fn record(finished: bool, recorded: Option<Estimate>) -> RunRecord {
        let now = jiff::Timestamp::UNIX_EPOCH;
        RunRecord {
            id: "1".into(),
            settings: settings(),
            started_at: now,
            finished_at: finished.then_some(now),
            seconds: 0.0,
            last_error: None,
            estimate: recorded,
        }
    }

    #[test]
    fn a_run_keeps_the_estimate_it_began_with_until_it_is_finished() {
        let bots = |found: Option<&RunRecord>, now: Option<&Estimate>| {
            to_record(found, now).map(|estimate| estimate.bots)
        };
        assert_eq!(bots(None, Some(&estimate(5))), Some(5));
        assert_eq!(bots(None, None), None);
        let begun = record(false, Some(estimate(5)));
        assert_eq!(bots(Some(&begun), Some(&estimate(2))), None, "what is recorded stays");
        let finished = record(true, Some(estimate(5)));
        assert_eq!(bots(Some(&finished), Some(&estimate(2))), Some(7), "two bots came later");
        assert_eq!(bots(Some(&finished), None), None);
        let opened = record(false, None);
        assert_eq!(bots(Some(&opened), Some(&estimate(2))), Some(2), "nothing was done for it yet");
        let earlier = RunRecord { seconds: 5.0, ..record(true, None) };
        assert_eq!(bots(Some(&earlier), Some(&estimate(2))), None, "half of it would mislead");
    }
}
