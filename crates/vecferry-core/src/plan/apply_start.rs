//! When apply starts in a follow: when every index is built, or as soon as the keys are. Pure.
//!
//! Until apply starts, the source keeps its write-ahead log from the slot on. Building the indexes first is faster, for
//! they are built with all the memory and no row changes under them; it costs the source disk space, and the slot where
//! `max_slot_wal_keep_size` is smaller than what is written meanwhile.

use serde::Serialize;

use crate::policy::ApplyStart;
use crate::preflight::human_bytes;

/// Kept without a second thought where the source sets no limit: a source that writes this much during one build has
/// disks of another size.
const MUCH: u64 = 16 << 30;

/// When apply starts, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// `last` or `first`.
    pub start: ApplyStart,
    /// One line with the numbers.
    pub why: String,
    /// Write-ahead log that the source will keep until apply starts; `None` when not measured.
    pub kept_bytes: Option<u64>,
}

/// What the choice rests on; `None` is "not measured".
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Measured {
    /// Bytes of write-ahead log per second.
    pub(super) rate: Option<f64>,
    /// Seconds from the slot to the first index.
    pub(super) copy: Option<f64>,
    /// Seconds of the b-trees by which changes find their rows.
    pub(super) keys: Option<f64>,
    /// Seconds of everything that is done before apply when it starts last: indexes, constraints, analysis.
    pub(super) rest: Option<f64>,
    /// `max_slot_wal_keep_size` in bytes; `None` for no limit.
    pub(super) limit: Option<u64>,
}

/// Follows the operator where he has chosen, else the numbers; without numbers apply starts last.
pub(super) fn choose(wanted: ApplyStart, measured: &Measured) -> Choice {
    let until = |seconds: Option<f64>| Some(written(measured.rate?, measured.copy? + seconds?));
    let (last, first) = (until(measured.rest), until(measured.keys));
    let choice = |start: ApplyStart, why: String| {
        let kept_bytes = if start == ApplyStart::First { first } else { last };
        let lost = measured.limit.zip(kept_bytes).is_some_and(|(limit, kept)| kept > limit);
        let why = if lost {
            format!("{why}; the slot would be lost even so: raise max_slot_wal_keep_size first")
        } else {
            why
        };
        Choice { start, why, kept_bytes }
    };
    if wanted != ApplyStart::Auto {
        return choice(wanted, "as chosen with --apply-start".into());
    }
    let Some(kept) = last else {
        return choice(
            ApplyStart::Last,
            "when the indexes are built: how much is written until then could not be measured"
                .into(),
        );
    };
    let (bound, name) = match measured.limit {
        Some(limit) => {
            (limit / 2, format!("half of max_slot_wal_keep_size ({})", human_bytes(limit)))
        }
        None => (MUCH, human_bytes(MUCH)),
    };
    let amount = format!("about {} of write-ahead log", human_bytes(kept));
    if kept > bound {
        let why = format!(
            "when the keys are built, the other indexes beside it: {amount} would be kept on the source until all are built, more than {name}"
        );
        return choice(ApplyStart::First, why);
    }
    let why = format!(
        "when the indexes are built: {amount} will be kept on the source until then, less than {name}"
    );
    choice(ApplyStart::Last, why)
}

/// Bytes written in some seconds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; casts saturate"
)]
fn written(rate: f64, seconds: f64) -> u64 {
    (rate * seconds).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// 1 MiB a second; a minute of copy, ten seconds of keys, a given time of all the rest.
    fn measured(rest: f64, limit: Option<u64>) -> Measured {
        let rate = Some(f64::from(1 << 20));
        Measured { rate, copy: Some(60.0), keys: Some(10.0), rest: Some(rest), limit }
    }

    fn auto(measured: &Measured) -> Choice {
        choose(ApplyStart::Auto, measured)
    }

    #[test]
    fn apply_starts_first_when_too_much_would_be_kept_until_the_indexes_are_built() {
        let short = auto(&measured(600.0, None));
        assert_eq!((short.start, short.kept_bytes), (ApplyStart::Last, Some(660 << 20)));
        assert!(short.why.contains("about 660.0 MiB of write-ahead log will be kept"), "{short:?}");
        let long = auto(&measured(20_000.0, None));
        assert_eq!((long.start, long.kept_bytes), (ApplyStart::First, Some(70 << 20)));
        assert!(long.why.contains("about 19.5 GiB") && long.why.contains("more than 16.0 GiB"));
        assert_eq!(auto(&measured(600.0, Some(GIB))).start, ApplyStart::First);
        assert_eq!(auto(&measured(600.0, Some(2 * GIB))).start, ApplyStart::Last);
    }

    #[test]
    fn a_limit_that_the_copy_alone_exceeds_is_pointed_out() {
        let lost = auto(&measured(600.0, Some(64 << 20)));
        assert_eq!(lost.start, ApplyStart::First);
        assert!(lost.why.ends_with("raise max_slot_wal_keep_size first"), "{lost:?}");
    }

    #[test]
    fn without_numbers_apply_starts_last_and_a_choice_is_a_choice() {
        for unknown in [
            Measured { rate: None, ..measured(1.0, None) },
            Measured { rest: None, ..measured(1.0, None) },
            Measured::default(),
        ] {
            let choice = auto(&unknown);
            assert_eq!((choice.start, choice.kept_bytes), (ApplyStart::Last, None));
            assert!(choice.why.contains("could not be measured"), "{choice:?}");
        }
        let chosen = choose(ApplyStart::First, &measured(1.0, None));
        assert_eq!((chosen.start, chosen.kept_bytes), (ApplyStart::First, Some(70 << 20)));
        let huge = Measured { rate: Some(1e300), ..measured(1e300, None) };
        assert_eq!(auto(&huge).start, ApplyStart::First);
    }
}
