//! All that a plan is made from: both clusters, the bots, the models, the prices. Plain data, no I/O.

use jiff::Timestamp;

use super::facts::Facts;
use super::money::Range;
use crate::inventory::Inventory;
use crate::policy::Method;
use crate::price::Prices;
use crate::reembed::estimate::Estimate;

/// Everything that the methods are judged by.
#[derive(Debug, Clone)]
pub struct Situation {
    /// Both clusters, read and measured; or the target alone, and why the source is not.
    pub clusters: Result<Facts, Unread>,
    /// What the source is.
    pub origin: Origin,
    /// When a source that is no snapshot was as it is, where somebody has said so.
    pub source_time: Option<Timestamp>,
    /// What embedding every bot would take; or what is missing to tell.
    pub bots: Result<Bots, String>,
    /// Which models made the source's vectors and are to make the target's.
    pub models: Models,
    /// What things cost.
    pub prices: Prices,
    /// Region in which they are paid for, where it is known.
    pub region: Option<String>,
}

impl Situation {
    /// Two clusters that hold vectors of one model, and no registry of bots: what `copy` and `follow` need to know.
    pub fn of_clusters(facts: Facts, prices: Prices) -> Situation {
        Situation {
            clusters: Ok(facts),
            origin: Origin::Live,
            source_time: None,
            bots: Err("no registry of bots is named".into()),
            models: Models::default(),
            prices,
            region: None,
        }
    }

    /// What embedding the changed bots takes, where they were compared.
    pub(super) fn changed(&self) -> Option<&Estimate> {
        self.bots.as_ref().ok()?.changed.as_ref().ok()
    }

    /// The method that the operator asks about.
    pub(super) fn asked(&self) -> Option<Method> {
        match &self.clusters {
            Ok(facts) => facts.policy.method,
            Err(unread) => unread.method,
        }
    }

    /// The target's database, or why it could not be read.
    pub(super) fn target(&self) -> Result<&Inventory, &String> {
        match &self.clusters {
            Ok(facts) => facts.target.as_ref(),
            Err(unread) => unread.target.as_ref(),
        }
    }
}

/// A source that is not there to be read.
#[derive(Debug, Clone)]
pub struct Unread {
    /// Why.
    pub why: String,
    /// The target's database, or why it could not be read either.
    pub target: Result<Inventory, String>,
    /// The method that the operator asks about.
    pub method: Option<Method>,
}

/// What the source is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// A cluster that an application uses, or has used until now.
    Live,
    /// A snapshot, in a temporary cluster that is paid for as long as it is needed.
    Snapshot {
        /// Whether that cluster is there already.
        restored: bool,
        /// Its Aurora capacity units: the least, what reading it is taken for, the most.
        acus: Range,
    },
}

/// What is known of bots.
#[derive(Debug, Clone, PartialEq)]
pub struct Bots {
    /// What embedding all of them takes.
    pub all: Estimate,
    /// What embedding those takes that changed since the time of the source, by the comparison that a delta makes; or
    /// why nobody has compared them.
    pub changed: Result<Estimate, String>,
}

/// Ids of embedding models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Models {
    /// That made the source's vectors.
    pub source: String,
    /// That is to make the target's.
    pub target: String,
}

impl Models {
    /// Whether vectors of the source serve on the target. An inference profile changes where a model runs, not what it
    /// answers.
    #[must_use]
    pub fn are_one(&self) -> bool {
        let ends = |long: &str, short: &str| {
            long.strip_suffix(short).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        ends(&self.source, &self.target) || ends(&self.target, &self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inference_profile_is_the_same_model() {
        let one = |source: &str, target: &str| {
            Models { source: source.into(), target: target.into() }.are_one()
        };
        assert!(one("cohere.embed-v4:0", "eu.cohere.embed-v4:0"));
        assert!(one("eu.cohere.embed-v4:0", "cohere.embed-v4:0"));
        assert!(one("m", "m") && Models::default().are_one());
        assert!(!one("cohere.embed-multilingual-v3", "cohere.embed-v4:0"));
        assert!(!one("mycohere.embed-v4:0", "cohere.embed-v4:0"));
    }
}
