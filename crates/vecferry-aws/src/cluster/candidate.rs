//! Which snapshots may be the one, and why. By engine, cluster, VPC and time: what CloudFormation calls a final
//! snapshot is not documented, and anybody may name a snapshot as they like.

use serde::Serialize;

use super::facts::Snapshot;
use super::names::is_ours;
use super::survey::Survey;

/// The engines whose clusters hold pgvector.
const ENGINES: [&str; 2] = ["aurora-postgresql", "postgres"];

/// A snapshot that may be restored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// Whether its cluster is not there any more.
    pub cluster_gone: bool,
    /// Whether its cluster was in the VPC of the target.
    pub same_vpc: bool,
    /// Whether it was taken for this very migration.
    pub taken_for_this: bool,
}

impl Candidate {
    /// Whether it is usable, and everything speaks for it.
    pub fn is_likely(&self) -> bool {
        self.snapshot.status == "available"
            && (self.taken_for_this || (self.cluster_gone && self.same_vpc))
    }

    /// What speaks for it, or against it, in words.
    pub fn why(&self) -> String {
        let mut words = Vec::new();
        if self.taken_for_this {
            words.push("taken for this migration");
        }
        words.push(if self.cluster_gone { "its cluster is gone" } else { "its cluster is there" });
        words.push(if self.same_vpc { "same VPC as the target" } else { "another VPC" });
        words.join(", ")
    }
}

/// Snapshots of PostgreSQL clusters other than the target's own and our temporary ones, newest first.
pub fn candidates(survey: &Survey) -> Vec<Candidate> {
    let temporary = |snapshot: &Snapshot| {
        survey.clusters.iter().any(|one| snapshot.is_of(one) && is_ours(&one.tags))
    };
    let mut found: Vec<Candidate> = survey
        .snapshots
        .iter()
        .filter(|snapshot| ENGINES.contains(&snapshot.engine.as_str()))
        .filter(|snapshot| !snapshot.is_of(&survey.cluster) && !temporary(snapshot))
        .map(|snapshot| Candidate {
            cluster_gone: !survey.clusters.iter().any(|one| snapshot.is_of(one)),
            same_vpc: survey.vpc.as_ref() == Some(&snapshot.vpc),
            taken_for_this: survey.owner().migration(&snapshot.tags).is_some(),
            snapshot: snapshot.clone(),
        })
        .collect();
    // Those that are being taken now have no time yet and are the newest.
    found.sort_by(|a, b| {
        let time = |candidate: &Candidate| candidate.snapshot.time.unwrap_or(jiff::Timestamp::MAX);
        time(b).cmp(&time(a)).then_with(|| a.snapshot.id.cmp(&b.snapshot.id))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::super::survey::tests::{cluster, snapshot, survey};
    use super::*;

    #[test]
    fn candidates_are_newest_first_and_say_what_speaks_for_them() {
        let mut survey = survey();
        survey.clusters.push(cluster("other"));
        survey.snapshots = vec![
            snapshot("old", "gone", "2026-01-01T00:00:00Z"),
            snapshot("new", "gone", "2026-02-01T00:00:00Z"),
            snapshot("of-other", "other", "2026-03-01T00:00:00Z"),
            Snapshot { vpc: "vpc-2".into(), ..snapshot("far", "away", "2026-01-15T00:00:00Z") },
        ];
        let found = candidates(&survey);
        let ids: Vec<&str> = found.iter().map(|one| one.snapshot.id.as_str()).collect();
        assert_eq!(ids, ["of-other", "new", "far", "old"]);
        let likely: Vec<bool> = found.iter().map(Candidate::is_likely).collect();
        assert_eq!(likely, [false, true, false, true]);
        assert_eq!(found[1].why(), "its cluster is gone, same VPC as the target");
        assert_eq!(found[0].why(), "its cluster is there, same VPC as the target");
    }

    #[test]
    fn neither_the_targets_own_nor_other_engines_nor_our_own_are_candidates() {
        let mut survey = survey();
        let mut ours = cluster("vecferry-1-2");
        ours.tags = [("vecferry:migration", "m"), ("vecferry:target", "t")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        survey.clusters.push(ours);
        let time = "2026-01-01T00:00:00Z";
        survey.snapshots = vec![
            snapshot("of-target", "target", time),
            snapshot("of-ours", "vecferry-1-2", time),
            Snapshot { engine: "aurora-mysql".into(), ..snapshot("mysql", "gone", time) },
            Snapshot { engine: "postgres".into(), ..snapshot("multi-az", "gone", time) },
        ];
        let found = candidates(&survey);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].snapshot.id, "multi-az");
    }

    #[test]
    fn an_identifier_used_again_does_not_make_its_first_cluster_live() {
        let mut survey = survey();
        // Same identifier, another cluster.
        survey.clusters.push(cluster("chat"));
        let earlier = Snapshot {
            resource: "res-first".into(),
            ..snapshot("s", "chat", "2026-01-01T00:00:00Z")
        };
        survey.snapshots = vec![earlier];
        assert!(candidates(&survey)[0].cluster_gone);
    }
}
