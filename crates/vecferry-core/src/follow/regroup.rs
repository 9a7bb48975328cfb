//! Which tables go on under the slot they have and which start over under a new one, after an interrupted copy. Pure.
//!
//! The snapshot of a slot dies with the process that held it, so a table that is not complete cannot be completed: it
//! starts over under another slot and its snapshot. A complete one keeps its slot, from whose consistent point its
//! changes are being kept. Tables that refer to each other stay together: each slot's changes are applied by a process
//! of its own, and a child must not overtake its parent.

use std::collections::HashSet;

/// A table of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// OID on the source.
    pub oid: u32,
    /// Ordinal of its slot.
    pub link: i32,
    /// Whether every part of it is on the target.
    pub complete: bool,
}

/// OIDs of the tables that start over. `references` are foreign keys, in either direction; `usable` are the slots that
/// are there and have all their WAL.
pub(crate) fn start_over(
    members: &[Member],
    references: &[(u32, u32)],
    usable: &HashSet<i32>,
) -> HashSet<u32> {
    let lost = |member: &&Member| !member.complete || !usable.contains(&member.link);
    let mut over: HashSet<u32> = members.iter().filter(lost).map(|member| member.oid).collect();
    let known: HashSet<u32> = members.iter().map(|member| member.oid).collect();
    loop {
        let before = over.len();
        for (one, two) in references {
            if known.contains(one)
                && known.contains(two)
                && over.contains(one) != over.contains(two)
            {
                over.extend([one, two]);
            }
        }
        if over.len() == before {
            return over;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(oid: u32, link: i32, complete: bool) -> Member {
        Member { oid, link, complete }
    }

    fn sorted(over: HashSet<u32>) -> Vec<u32> {
        let mut over: Vec<u32> = over.into_iter().collect();
        over.sort_unstable();
        over
    }

    #[test]
    fn complete_tables_of_a_usable_slot_go_on() {
        let members = [member(1, 0, true), member(2, 0, false), member(3, 1, true)];
        assert_eq!(sorted(start_over(&members, &[], &HashSet::from([0, 1]))), [2]);
        assert_eq!(sorted(start_over(&members, &[], &HashSet::from([0]))), [2, 3]);
        assert!(start_over(&[], &[], &HashSet::new()).is_empty());
    }

    #[test]
    fn tables_that_refer_to_each_other_stay_together_over_any_number_of_steps() {
        let members: Vec<Member> = (1..=5).map(|oid| member(oid, 0, oid != 4)).collect();
        let references = [(1, 2), (3, 2), (3, 4), (5, 99)];
        assert_eq!(
            sorted(start_over(&members, &references, &HashSet::from([0]))),
            [1, 2, 3, 4],
            "and a table that is not moved pulls nothing along"
        );
    }
}
