//! Judgements about logical replication, for `follow`: what the source needs as sender and the target as receiver, what
//! does not travel, and whether there is a way back. Pure, apart from `gather`.

pub(super) mod gather;
mod receiver;
mod sender;
mod travels;
mod ways;

use super::facts::{Facts, Known, Replication};
use super::{Check, Finding, Needs, blocker, some_of, warning};
use crate::error::Side;

const SOURCE: Option<Side> = Some(Side::Source);
const TARGET: Option<Side> = Some(Side::Target);

/// What is checked for `follow` besides the rest, in the order in which an operator would look.
pub(super) const CHECKS: &[Check] = &[
    Check { name: "logical replication", needs: Needs::Source, run: sender::wal_level },
    Check { name: "replication slots", needs: Needs::Source, run: sender::room },
    Check { name: "kept write-ahead log", needs: Needs::Source, run: sender::kept_wal },
    Check { name: "slots that end", needs: Needs::Source, run: sender::limits },
    Check { name: "open transactions", needs: Needs::Source, run: sender::open_transactions },
    Check { name: "replication privileges", needs: Needs::Source, run: sender::privileges },
    Check { name: "replica identity", needs: Needs::Source, run: travels::identity },
    Check { name: "what is not followed", needs: Needs::Source, run: travels::left_behind },
    Check { name: "triggers during apply", needs: Needs::Both, run: travels::triggers },
    Check { name: "apply workers", needs: Needs::Target, run: receiver::room },
    Check { name: "subscription privileges", needs: Needs::Target, run: receiver::privileges },
    Check { name: "subscription options", needs: Needs::Both, run: receiver::versions },
    Check { name: "target reaches source", needs: Needs::Both, run: ways::forward },
    Check { name: "way back", needs: Needs::Both, run: ways::back },
];

/// The facts of a side that was read for `follow`.
fn of(facts: &Facts, side: Side) -> Option<(&Known, &Replication)> {
    let known = facts.side(side).known()?;
    Some((known, known.replication.as_ref()?))
}

/// How a server-wide setting is changed there.
fn change(known: &Known, replication: &Replication, name: &str, value: &str) -> String {
    if replication.rds || known.inventory.server.aurora {
        return format!(
            "set {name} = {value} in the cluster's parameter group (RDS: the instance's) and reboot the writer"
        );
    }
    format!("ALTER SYSTEM SET {name} = {value}, then restart the server")
}

/// Something a server has a limited number of.
struct Limit<'a> {
    setting: &'a str,
    max: u32,
    users: &'a [String],
    /// What one of them is.
    unit: &'a str,
    /// Where one more may be wanted later: for what.
    spare: Option<&'a str>,
}

impl Limit<'_> {
    /// What is wrong when fewer are free than wanted: the words, and whether there is none at all.
    fn shortage(&self) -> Option<(String, bool)> {
        let used = u32::try_from(self.users.len()).unwrap_or(u32::MAX);
        let free = self.max.saturating_sub(used);
        let (setting, max, unit) = (self.setting, self.max, self.unit);
        let by = match self.users {
            [] => String::new(),
            users => format!(", in use by {}", some_of(users)),
        };
        match (free, self.spare) {
            (0, _) => Some((format!("no {unit} is free ({setting} is {max}{by})"), true)),
            (1, Some(spare)) => {
                Some((format!("one {unit} is free ({setting} is {max}{by}), and {spare}"), false))
            }
            _ => None,
        }
    }

    /// The finding, a blocker when there is none.
    fn judge(&self, side: Side, known: &Known, replication: &Replication) -> Option<Finding> {
        let (what, none) = self.shortage()?;
        let raise = change(known, replication, self.setting, &(self.max + 4).to_string());
        let remedy = if self.setting == "max_replication_slots" {
            format!("drop one that nobody needs (`vecferry cleanup` drops ours), or {raise}")
        } else {
            raise
        };
        let judge = if none { blocker } else { warning };
        Some(judge(Some(side), what, remedy))
    }
}
