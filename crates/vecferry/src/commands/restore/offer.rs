//! What would be made and what it costs, before it is made.

use serde::Serialize;
use vecferry_aws::Account;
use vecferry_aws::cluster::{Candidate, Capacity, Origin, Proposal};
use vecferry_core::price::{Item, Prices};

use crate::error::{Error, Mistake};
use crate::ui::Ui;

/// Hours of the day that --max-cost bounds.
const DAY: f64 = 24.0;

/// Hours of a month, as AWS counts them.
const MONTH: f64 = 730.0;

/// What is proposed.
pub(super) struct Offer<'a> {
    pub(super) proposal: &'a Proposal,
    /// The snapshot, with what speaks for it.
    pub(super) chosen: Option<&'a Candidate>,
    /// Database in it.
    pub(super) database: &'a str,
    pub(super) prices: &'a Prices,
}

/// What something costs per hour, in USD.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct PerHour {
    /// At its least.
    pub(crate) least: f64,
    /// At its most.
    pub(crate) most: f64,
}

/// What a temporary cluster of this capacity costs, with so many GiB of storage.
pub(crate) fn per_hour(capacity: Capacity, gib: u64, prices: &Prices) -> PerHour {
    let acu = prices.usd(Item::AuroraAcuHour);
    let rest = prices.usd(Item::AuroraStorageGbMonth) * gib as f64 / MONTH
        + prices.usd(Item::SecretMonth) / MONTH;
    PerHour { least: capacity.least * acu + rest, most: capacity.most * acu + rest }
}

/// The offer for programs; an event of its own, before the first of the run.
#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    event: &'static str,
    #[serde(flatten)]
    proposal: &'a Proposal,
    database: &'a str,
    /// USD; unknown for classes that are not serverless.
    usd_per_hour: Option<PerHour>,
    /// USD per hour for what the target's least capacity is raised by.
    target_usd_per_hour: Option<f64>,
}

impl Offer<'_> {
    /// Shows it.
    pub(super) fn show(&self, account: &Account, ui: &Ui) -> Result<(), Error> {
        if !ui.json {
            return ui.data(&self.render(account.region()));
        }
        ui.data_json(&Json {
            version: 1,
            event: "offer",
            proposal: self.proposal,
            database: self.database,
            usd_per_hour: self.usd_per_hour(),
            target_usd_per_hour: self.target_usd_per_hour(),
        })
    }

    /// What it is, to complete "this will …".
    pub(super) fn what(&self) -> String {
        let Proposal { cluster, .. } = self.proposal;
        match (&self.proposal.origin, self.usd_per_hour()) {
            (Origin::Standing { .. }, _) => format!("go on with the temporary cluster {cluster}"),
            (_, Some(usd)) => format!(
                "make the temporary cluster {cluster}, for about ${:.2} to ${:.2} an hour until it is removed",
                usd.least, usd.most
            ),
            (_, None) => format!(
                "make the temporary cluster {cluster}, which is paid for until it is removed"
            ),
        }
    }

    /// Refuses what may cost more than the operator allows.
    pub(super) fn within(&self, limit: Option<f64>) -> Result<(), Error> {
        let Some(limit) = limit else { return Ok(()) };
        let target = self.target_usd_per_hour().unwrap_or_default();
        let what = match self.usd_per_hour().map(|usd| (usd.most + target) * DAY) {
            Some(usd) if usd <= limit => return Ok(()),
            Some(usd) => {
                format!(
                    "a day of it at its most may cost about ${usd:.2}, more than --max-cost ${limit:.2}"
                )
            }
            None => format!(
                "the price of {} is not known, so --max-cost cannot be kept",
                self.proposal.class
            ),
        };
        Err(Mistake::new(what, "give another --max-cost, or a lower --max-capacity").into())
    }

    fn usd_per_hour(&self) -> Option<PerHour> {
        let gib = self.proposal.gib.unwrap_or(0);
        self.proposal.capacity.map(|capacity| per_hour(capacity, gib, self.prices))
    }

    fn target_usd_per_hour(&self) -> Option<f64> {
        let (now, raised) =
            (self.proposal.target_cluster.capacity?, self.proposal.target_capacity?);
        Some((raised.least - now.least) * self.prices.usd(Item::AuroraAcuHour))
    }

    fn render(&self, region: Option<&str>) -> String {
        let proposal = self.proposal;
        let Proposal { cluster, instance, class, subnet_group, .. } = proposal;
        let capacity = |range: Capacity| format!("{} to {} ACUs", range.least, range.most);
        let size = match proposal.capacity {
            Some(range) => format!("{class}, {}", capacity(range)),
            None => class.clone(),
        };
        let mut lines = vec![
            format!("target      {} in cluster {}", proposal.target, proposal.target_cluster.id),
            format!("snapshot    {}", self.snapshot()),
            format!(
                "database    {} on {} {}",
                self.database, proposal.engine, proposal.engine_version
            ),
            format!("makes       cluster {cluster}, instance {instance} ({size})"),
            format!("            secret {}", proposal.secret),
            format!(
                "where       subnet group {subnet_group}, {}",
                proposal.security_groups.join(", ")
            ),
        ];
        lines.extend(proposal.key.as_ref().map(|key| format!("encrypted   with {key}")));
        if let (Some(raised), Some(now)) =
            (proposal.target_capacity, proposal.target_cluster.capacity)
        {
            lines.push(format!(
                "raises      {} from {} to {}, until cleanup",
                proposal.target_cluster.id,
                capacity(now),
                capacity(raised)
            ));
        }
        lines.push(format!("costs       {}", self.costs()));
        lines.push(format!("            {}", self.prices.note(region)));
        lines.join("\n")
    }

    fn snapshot(&self) -> String {
        match (&self.proposal.origin, self.chosen) {
            (Origin::Standing { snapshot, .. }, _) => {
                format!("{snapshot}; the temporary cluster stands, or is being made")
            }
            (Origin::Cluster { cluster, snapshot, .. }, _) => {
                format!("{snapshot}, taken of {cluster} first")
            }
            (Origin::Snapshot(snapshot), chosen) => {
                let time = snapshot.time.map_or("now".to_owned(), |time| time.to_string());
                let why = chosen.map_or(String::new(), |one| format!(" ({})", one.why()));
                let encrypted = if snapshot.encrypted { "encrypted" } else { "not encrypted" };
                format!(
                    "{} of {}, {time}, {} GiB, {encrypted}{why}",
                    snapshot.id, snapshot.cluster, snapshot.gib
                )
            }
        }
    }

    fn costs(&self) -> String {
        let more = self
            .target_usd_per_hour()
            .map_or(String::new(), |usd| format!(", and ${usd:.2} for the target's capacity"));
        match self.usd_per_hour() {
            Some(usd) => format!(
                "about ${:.2} to ${:.2} an hour as long as it stands{more}",
                usd.least, usd.most
            ),
            None => format!("not known for this class; see the prices of Amazon RDS{more}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecferry_aws::cluster::{Cluster, Snapshot, Survey, TargetName, Wishes, propose};

    fn proposal(raise: Option<f64>) -> Proposal {
        let cluster = Cluster {
            id: "new".into(),
            resource: "cluster-NEW".into(),
            subnet_group: "private".into(),
            security_groups: vec!["sg-1".into()],
            capacity: Some(Capacity { least: 0.5, most: 5.0 }),
            ..Cluster::default()
        };
        let snapshot = Snapshot {
            id: "final".into(),
            arn: "arn:aws:rds:us-east-1:1:cluster-snapshot:final".into(),
            kind: "manual".into(),
            cluster: "chat".into(),
            resource: "cluster-OLD".into(),
            engine: "aurora-postgresql".into(),
            engine_version: "15.3".into(),
            vpc: "vpc-1".into(),
            status: "available".into(),
            time: "2026-11-19T08:30:00Z".parse().ok(),
            gib: 73,
            encrypted: false,
            tags: Default::default(),
        };
        let survey = Survey {
            target: TargetName { host: "new.rds".into(), port: 5432, database: "kb".into() },
            vpc: Some("vpc-1".into()),
            clusters: vec![cluster.clone()],
            cluster,
            snapshots: vec![snapshot],
            instances: Vec::new(),
        };
        let wishes = Wishes { raise_target: raise, ..Wishes::default() };
        propose(&survey, &wishes, "0198c3f1-7000-7abc-8def-1a2b3c4d5e6f").unwrap()
    }

    #[test]
    fn the_offer_says_what_is_made_and_what_it_costs() {
        let prices = Prices::published().unwrap();
        let proposal = proposal(Some(4.0));
        let offer = Offer { proposal: &proposal, chosen: None, database: "kb", prices: &prices };
        let text = offer.render(Some("us-east-1"));
        for words in [
            "target      new.rds:5432/kb in cluster new",
            "final of chat, 2026-11-19T08:30:00Z, 73 GiB, not encrypted",
            "(db.serverless, 2 to 16 ACUs)",
            "where       subnet group private, sg-1",
            "raises      new from 0.5 to 5 ACUs to 4 to 5 ACUs",
            // 2 and 16 ACUs at $0.12, 73 GiB at $0.10 and a secret at $0.40 a month.
            "costs       about $0.25 to $1.93 an hour as long as it stands, and $0.42 for the target's",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert!(offer.what().contains("for about $0.25 to $1.93 an hour"), "{}", offer.what());
    }

    #[test]
    fn a_day_at_its_most_bounds_the_cost() {
        let prices = Prices::published().unwrap();
        let proposal = proposal(None);
        let offer = Offer { proposal: &proposal, chosen: None, database: "kb", prices: &prices };
        assert!(offer.within(None).is_ok() && offer.within(Some(47.0)).is_ok());
        assert!(offer.within(Some(46.0)).is_err());
        let unknown = Proposal { capacity: None, class: "db.r6g.large".into(), ..proposal.clone() };
        let offer = Offer { proposal: &unknown, ..offer };
        assert!(offer.within(None).is_ok() && offer.within(Some(1e9)).is_err());
    }
}
