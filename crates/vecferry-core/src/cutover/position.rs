//! Where the receiver's sequences are set. Pure.

/// A sequence as a server describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// Last value handed out; `None` when none was.
    pub last: Option<i64>,
    /// What one call adds; negative counts down.
    pub increment: i64,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
    /// Whether it begins again at its bound.
    pub cycle: bool,
}

/// The value that the receiver's sequence is to have handed out last; `None` when it may stay as it is.
///
/// It is `margin` values beyond the sender's: whoever asked the sender for one at the last moment must not get it a
/// second time. Where fewer are left before the bound, half of them are passed over, so that a sequence is never used
/// up by this. A receiver that is further stays, except in a sequence that cycles, where further means nothing.
pub fn position(sender: &Sequence, receiver: &Sequence, margin: u64) -> Option<i64> {
    let last = i128::from(sender.last?);
    let step = i128::from(receiver.increment);
    if step == 0 {
        return None;
    }
    let bound = i128::from(if step > 0 { receiver.max } else { receiver.min });
    let left = (bound - last) / step;
    let passed = i128::from(margin).min(if left > i128::from(margin) { left } else { left / 2 });
    let wanted = last + step * passed.max(0);
    let wanted = wanted.clamp(receiver.min.into(), receiver.max.into());
    let further = receiver.last.is_some_and(|ours| {
        let ours = i128::from(ours);
        if step > 0 { ours >= wanted } else { ours <= wanted }
    });
    let stays =
        if receiver.cycle { receiver.last.map(i128::from) == Some(wanted) } else { further };
    if stays { None } else { i64::try_from(wanted).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(last: Option<i64>) -> Sequence {
        Sequence { last, increment: 1, min: 1, max: i64::MAX, cycle: false }
    }

    #[test]
    fn the_receiver_goes_a_margin_beyond_the_sender_and_never_back() {
        for (sender, receiver, margin, expected) in [
            (up(Some(5)), up(None), 1000, Some(1005)),
            (up(Some(5)), up(Some(3)), 1000, Some(1005)),
            (up(Some(5)), up(Some(1004)), 1000, Some(1005)),
            (up(Some(5)), up(Some(1005)), 1000, None),
            (up(Some(5)), up(Some(9000)), 1000, None),
            (up(None), up(None), 1000, None),
            (up(None), up(Some(7)), 1000, None),
            (up(Some(5)), up(Some(3)), 0, Some(5)),
            (up(Some(i64::MAX)), up(None), 1000, Some(i64::MAX)),
        ] {
            assert_eq!(position(&sender, &receiver, margin), expected, "{sender:?} {receiver:?}");
        }
    }

    #[test]
    fn the_margin_has_the_sequences_direction_and_step() {
        let down = |last| Sequence { last, increment: -5, min: i64::MIN, max: -1, cycle: false };
        assert_eq!(position(&down(Some(-11)), &down(Some(-6)), 10), Some(-61));
        assert_eq!(position(&down(Some(-11)), &down(Some(-100)), 10), None);
        let tens = |last| Sequence { increment: 10, ..up(last) };
        assert_eq!(position(&tens(Some(10)), &tens(None), 3), Some(40));
    }

    #[test]
    fn a_sequence_near_its_bound_is_not_used_up() {
        let small = |last| Sequence { max: 32_767, ..up(last) };
        assert_eq!(position(&small(Some(32_667)), &small(None), 1000), Some(32_717));
        assert_eq!(position(&small(Some(32_766)), &small(None), 1000), Some(32_766));
        assert_eq!(position(&small(Some(32_767)), &small(None), 1000), Some(32_767));
    }

    #[test]
    fn a_sequence_that_cycles_follows_the_sender_wherever_it_is() {
        let round = |last| Sequence { max: 100, cycle: true, ..up(last) };
        assert_eq!(position(&round(Some(3)), &round(Some(90)), 10), Some(13));
        assert_eq!(position(&round(Some(3)), &round(Some(13)), 10), None);
    }
}
