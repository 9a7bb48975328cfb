//! What becomes of a bot whose documents were not all read: a pure decision over counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use vecferry_core::bot::DOCUMENTS_LOST;

use crate::stage::{Keep, LostDocument};

/// What to do with a bot that lost documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostPolicy {
    /// Nothing is swapped; the bot fails with its reasons.
    #[default]
    Fail,
    /// What succeeded is swapped; rows of lost documents stay as they were.
    KeepOld,
    /// What succeeded is swapped; lost documents have no rows any more.
    Accept,
}

impl LostPolicy {
    /// All of them, for help texts.
    pub const ALL: [LostPolicy; 3] = [LostPolicy::Fail, LostPolicy::KeepOld, LostPolicy::Accept];

    /// The word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            LostPolicy::Fail => "fail",
            LostPolicy::KeepOld => "keep-old",
            LostPolicy::Accept => "accept",
        }
    }
}

impl fmt::Display for LostPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is none of the policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no policy for lost documents; there are fail, keep-old and accept")]
pub struct UnknownPolicy(String);

impl FromStr for LostPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<LostPolicy, UnknownPolicy> {
        LostPolicy::ALL
            .into_iter()
            .find(|policy| policy.as_str() == word)
            .ok_or_else(|| UnknownPolicy(word.to_owned()))
    }
}

/// What was made of a bot's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Documents whose rows are all staged.
    pub staged: usize,
    /// Lost documents, and addresses behind which nothing could be found.
    pub lost: usize,
    /// How many of `lost` are addresses: nobody knows which documents, and so which old rows, are behind them.
    pub lost_addresses: usize,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Swap, keeping these of the old rows.
    Swap(Keep),
    /// Swap nothing.
    Fail,
}

/// Decides. A bot of which nothing is left keeps its rows under every policy.
pub(super) fn decide(policy: LostPolicy, counts: Counts) -> Decision {
    if counts.staged == 0 {
        return Decision::Fail;
    }
    match policy {
        _ if counts.lost == 0 => Decision::Swap(Keep::Nothing),
        LostPolicy::Fail => Decision::Fail,
        LostPolicy::Accept => Decision::Swap(Keep::Nothing),
        LostPolicy::KeepOld if counts.lost_addresses > 0 => Decision::Swap(Keep::AllButStaged),
        LostPolicy::KeepOld => Decision::Swap(Keep::Lost),
    }
}

/// Characters of a reason in the registry: DynamoDB would take far more, the application shows it in one place.
const REASON_CHARS: usize = 1000;

/// Says what was lost, for the bot's owner; empty when nothing was.
pub(super) fn reason(counts: Counts, lost: &[LostDocument]) -> String {
    if counts.staged == 0 && lost.is_empty() {
        return "no documents were found".into();
    }
    if lost.is_empty() {
        return String::new();
    }
    let mut text = format!("{} of {} {DOCUMENTS_LOST}", lost.len(), counts.staged + lost.len());
    for (index, one) in lost.iter().enumerate() {
        let next = format!("; {}: {}", one.source, one.lost);
        let rest = format!("; and {} more", lost.len() - index);
        if text.chars().count() + next.chars().count() + rest.chars().count() > REASON_CHARS {
            text.push_str(&rest);
            break;
        }
        text.push_str(&next);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Lost, Reason};

    #[test]
    fn every_policy_decides_every_case() {
        use Decision::{Fail, Swap};
        // Staged, lost, of them addresses; then what fail, keep-old and accept do.
        let cases = [
            ((0, 0, 0), [Fail, Fail, Fail]),
            ((0, 1, 0), [Fail, Fail, Fail]),
            ((0, 1, 1), [Fail, Fail, Fail]),
            ((1, 0, 0), [Swap(Keep::Nothing); 3]),
            ((5, 0, 0), [Swap(Keep::Nothing); 3]),
            ((5, 1, 0), [Fail, Swap(Keep::Lost), Swap(Keep::Nothing)]),
            ((5, 2, 1), [Fail, Swap(Keep::AllButStaged), Swap(Keep::Nothing)]),
            ((1, 9, 9), [Fail, Swap(Keep::AllButStaged), Swap(Keep::Nothing)]),
        ];
        for ((staged, lost, lost_addresses), decisions) in cases {
            let counts = Counts { staged, lost, lost_addresses };
            let decided = LostPolicy::ALL.map(|policy| decide(policy, counts));
            assert_eq!(decided, decisions, "{counts:?}");
        }
    }

    #[test]
    fn a_policy_is_read_back_from_its_own_word() {
        for policy in LostPolicy::ALL {
            assert_eq!(policy.as_str().parse(), Ok(policy));
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
        assert!("keep_old".parse::<LostPolicy>().is_err());
    }

    fn lost(count: usize) -> Vec<LostDocument> {
        let one = |number| LostDocument {
            source: format!("https://example.com/page/{number}"),
            lost: Lost::new(Reason::Missing, "status 404"),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_reason_names_lost_documents_until_it_is_too_long() {
        let counts = |staged, lost| Counts { staged, lost, lost_addresses: 0 };
        assert_eq!(reason(counts(3, 0), &[]), "");
        assert_eq!(reason(counts(0, 0), &[]), "no documents were found");
        assert_eq!(
            reason(counts(2, 1), &lost(1)),
            "1 of 3 documents lost; https://example.com/page/0: missing: status 404"
        );
        let long = reason(counts(0, 500), &lost(500));
        assert!(long.chars().count() <= REASON_CHARS, "{}", long.len());
        assert!(long.starts_with("500 of 500 documents lost; https://example.com/page/0"));
        let named = long.matches("missing").count();
        assert!(long.ends_with(&format!("; and {} more", 500 - named)), "{long}");
    }
}
