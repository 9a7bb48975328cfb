//! What was made for a target and stands: decided from what there is, by tags alone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::capacity;
use super::facts::{Capacity, Cluster, Instance, Snapshot};
use super::names::{MIGRATION, TargetName, is_reservation};
use super::owner::{Belongs, Owner};
use super::secret;

/// What it is, in the order of removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An instance of the temporary cluster; it goes before its cluster.
    Instance,
    /// The temporary cluster.
    Cluster,
    /// The target's capacity, which was raised.
    Capacity,
    /// The temporary cluster's secret.
    Secret,
    /// A snapshot that was taken for the migration.
    Snapshot,
    /// The note on the target's cluster that a restore was begun; it goes last.
    Reservation,
}

impl Kind {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Instance => "temporary instance",
            Kind::Cluster => "temporary cluster",
            Kind::Capacity => "raised capacity",
            Kind::Secret => "secret",
            Kind::Snapshot => "snapshot",
            Kind::Reservation => "tag",
        }
    }
}

/// Something that was made for a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Holding {
    /// What it is.
    pub kind: Kind,
    /// Its identifier; of a capacity or tag that of the target's cluster.
    pub id: String,
    /// ARN; of a capacity or tag that of the target's cluster.
    pub arn: String,
    /// Migration id; of a capacity none.
    pub migration: Option<String>,
    /// Its state, where it has one.
    pub status: Option<String>,
    /// What removing it does, or why it stays.
    pub effect: String,
    /// Whether it stays.
    pub kept: bool,
    /// Of a capacity: what is set back.
    pub capacity: Option<Capacity>,
}

/// What there is in the account and region.
#[derive(Debug, Clone, Default)]
pub(super) struct Inventory {
    pub(super) clusters: Vec<Cluster>,
    pub(super) instances: Vec<Instance>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) secrets: Vec<secret::Found>,
}

/// What of it is this target's, in the order of removal.
pub(super) fn decide(inventory: &Inventory, owner: Owner<'_>) -> Vec<Holding> {
    let mut found = Vec::new();
    for one in inventory.instances.iter() {
        if let Some(base) = Holding::of(Kind::Instance, (&one.id, &one.arn), owner, &one.tags) {
            found.push(Holding { status: Some(one.status.clone()), ..base });
        }
    }
    for one in &inventory.clusters {
        if let Some(base) = Holding::of(Kind::Cluster, (&one.id, &one.arn), owner, &one.tags) {
            let base = Holding { status: Some(one.status.clone()), ..base };
            found.push(match foreign(one, inventory) {
                Some(other) => base.keep(format!("somebody else's instance {other} is in it")),
                None => base,
            });
        }
    }
    for one in &inventory.secrets {
        found.extend(Holding::of(Kind::Secret, (&one.name, &one.arn), owner, &one.tags));
    }
    for one in inventory.snapshots.iter().filter(|one| one.kind == "manual") {
        if let Some(base) = Holding::of(Kind::Snapshot, (&one.id, &one.arn), owner, &one.tags) {
            let base = Holding { status: Some(one.status.clone()), ..base };
            found.push(match alone(one, &inventory.clusters) {
                None => base,
                Some(why) => base.keep(format!("{why}: delete it yourself")),
            });
        }
    }
    found.extend(owner.cluster.into_iter().flat_map(|cluster| on_the_target(cluster, owner)));
    found.sort_by_key(|holding| holding.kind);
    found
}

impl Holding {
    fn new(kind: Kind, id: &str, arn: &str, migration: String) -> Holding {
        let effect = match kind {
            Kind::Instance | Kind::Cluster => "deletes it, without a last snapshot",
            Kind::Secret => "deletes it at once",
            Kind::Snapshot => "deletes it; its cluster is there",
            Kind::Capacity => "sets it back",
            Kind::Reservation => "removes it",
        };
        Holding {
            kind,
            id: id.to_owned(),
            arn: arn.to_owned(),
            migration: Some(migration),
            status: None,
            effect: effect.to_owned(),
            kept: false,
            capacity: None,
        }
    }

    /// Something with these tags, if it is this target's or may be. What may be stays.
    fn of(
        kind: Kind,
        (id, arn): (&str, &str),
        owner: Owner<'_>,
        tags: &BTreeMap<String, String>,
    ) -> Option<Holding> {
        match owner.of(tags) {
            Belongs::Here(migration) => Some(Holding::new(kind, id, arn, migration.to_owned())),
            Belongs::Perhaps(migration) => {
                let base = Holding::new(kind, id, arn, migration.to_owned());
                Some(base.keep(
                    "it may be another target's: --target-cluster ID tells which cluster this one is"
                        .to_owned(),
                ))
            }
            Belongs::No => None,
        }
    }

    /// Whether tags that were read later are still those of what was listed.
    pub(super) fn is_still(&self, tags: &BTreeMap<String, String>) -> bool {
        self.migration.is_some() && tags.get(MIGRATION) == self.migration.as_ref()
    }

    /// It stays; the first reason is the one that is told.
    fn keep(self, why: String) -> Holding {
        if self.kept { self } else { Holding { effect: why, kept: true, ..self } }
    }
}

/// An instance of our cluster that is not ours: with it the cluster cannot go.
fn foreign<'a>(cluster: &'a Cluster, inventory: &Inventory) -> Option<&'a String> {
    // A multi-AZ cluster makes its instances itself, and they go with it.
    let made_by_rds = cluster.engine == "postgres";
    let ours = |name: &String| {
        let instance = inventory.instances.iter().find(|instance| instance.id == *name);
        // One that is not listed has gone between the two calls.
        instance.is_none_or(|one| one.tags.get(MIGRATION) == cluster.tags.get(MIGRATION))
    };
    cluster.members.iter().find(|name| !made_by_rds && !ours(name))
}

/// Why this snapshot may be all that is, or soon will be, left of its cluster.
pub(super) fn alone(snapshot: &Snapshot, clusters: &[Cluster]) -> Option<String> {
    match clusters.iter().find(|cluster| snapshot.is_of(cluster)) {
        Some(cluster) if cluster.lasts() => None,
        Some(cluster) => Some(format!("its cluster {} is {}", cluster.id, cluster.status)),
        None => Some(format!("its cluster {} is gone", snapshot.cluster)),
    }
}

/// The note of a restore for another database on the target's cluster.
pub(super) fn noted_besides<'a>(cluster: &'a Cluster, target: &TargetName) -> Option<&'a String> {
    let own = target.reservation();
    cluster.tags.keys().find(|tag| is_reservation(tag) && **tag != own)
}

/// What was noted on, and changed at, the target's cluster.
fn on_the_target(cluster: &Cluster, owner: Owner<'_>) -> Vec<Holding> {
    let holding = |kind, migration| Holding::new(kind, &cluster.id, &cluster.arn, migration);
    let key = owner.target.reservation();
    let raised = capacity::before(cluster).map(|before| {
        let raised = Holding {
            migration: None,
            effect: format!("sets it back to {before} ACUs"),
            capacity: Some(before),
            ..holding(Kind::Capacity, String::new())
        };
        match noted_besides(cluster, owner.target) {
            None => raised,
            // Nobody noted for which of them it was raised; the last one sets it back.
            Some(other) => raised.keep(format!("{other} stands: its cleanup sets it back")),
        }
    });
    let reserved = cluster.tags.get(&key).map(|migration| Holding {
        effect: format!("removes {key}"),
        ..holding(Kind::Reservation, migration.clone())
    });
    raised.into_iter().chain(reserved).collect()
}

#[cfg(test)]
mod tests {
    use super::super::survey::tests::{cluster, snapshot, survey};
    use super::*;

    fn tags(target: &str) -> BTreeMap<String, String> {
        [("vecferry:migration", "m"), ("vecferry:target", target)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    const OURS: &str = "target.rds:5432/kb";

    fn instance(id: &str, target: &str) -> Instance {
        let tags = if target.is_empty() { BTreeMap::new() } else { tags(target) };
        Instance { id: id.into(), cluster: "c".into(), tags, ..Instance::default() }
    }

    fn kinds(inventory: &Inventory, own: Option<&Cluster>) -> Vec<(Kind, String, bool)> {
        let found = decide(inventory, Owner { target: &survey().target, cluster: own });
        found.into_iter().map(|one| (one.kind, one.id, one.kept)).collect()
    }

    #[test]
    fn only_what_carries_the_tag_of_this_target_is_found_in_the_order_of_removal() {
        let temporary = Cluster { tags: tags(OURS), members: vec!["i".into()], ..cluster("c") };
        let secret = secret::Found { name: "vecferry/m".into(), arn: "a".into(), tags: tags(OURS) };
        let other = secret::Found { tags: tags("target.rds:5432/kb2"), ..secret.clone() };
        let inventory = Inventory {
            clusters: vec![
                // The right name alone makes nothing ours.
                cluster("vecferry-0198c3f1-1a2b3c4d5e6f"),
                Cluster { tags: tags("other.rds:5432/kb"), ..cluster("other") },
                temporary,
                cluster("live"),
            ],
            instances: vec![instance("i", OURS), instance("j", "other.rds:5432/kb")],
            snapshots: vec![
                Snapshot { tags: tags(OURS), ..snapshot("taken", "live", "2026-01-01T00:00:00Z") },
                snapshot("final", "gone", "2026-01-01T00:00:00Z"),
            ],
            secrets: vec![secret, other],
        };
        let mut target = cluster("target");
        target.tags.insert("vecferry:capacity".into(), "0.5-5".into());
        target.tags.insert("vecferry:restore/kb".into(), "m".into());
        target.tags.insert("vecferry:restore/kb2".into(), "n".into());
        let expected = [
            (Kind::Instance, "i", false),
            (Kind::Cluster, "c", false),
            (Kind::Capacity, "target", true),
            (Kind::Secret, "vecferry/m", false),
            (Kind::Snapshot, "taken", false),
            (Kind::Reservation, "target", false),
        ];
        let expected = expected.map(|(kind, id, kept)| (kind, id.to_owned(), kept));
        assert_eq!(kinds(&inventory, Some(&target)), expected);
        target.tags.remove("vecferry:restore/kb2");
        let alone = kinds(&inventory, Some(&target));
        assert_eq!(alone[2], (Kind::Capacity, "target".to_owned(), false), "nobody else's");
        let stay = |found: Vec<(Kind, String, bool)>| found.iter().map(|one| one.2).collect();
        let kept: Vec<bool> = stay(kinds(&inventory, None));
        assert_eq!(kept, [true; 4], "which cluster is behind the address is not known");
        // Another cluster's target at the same address, through a tunnel.
        let other = Cluster { host: "other.rds".into(), ..cluster("other-target") };
        assert_eq!(kinds(&inventory, Some(&other)), []);
    }

    #[test]
    fn a_cluster_with_somebody_elses_instance_stays() {
        let members = vec!["i".into(), "theirs".into()];
        let inventory = Inventory {
            clusters: vec![Cluster { tags: tags(OURS), members, ..cluster("c") }],
            instances: vec![instance("i", OURS), instance("theirs", "")],
            ..Inventory::default()
        };
        let found = decide(&inventory, survey().owner());
        assert!(found[1].kept && found[1].effect.contains("theirs"), "{found:?}");
    }

    #[test]
    fn the_last_snapshot_of_a_cluster_that_is_gone_stays() {
        let taken =
            Snapshot { tags: tags(OURS), ..snapshot("taken", "gone", "2026-01-01T00:00:00Z") };
        let automated = Snapshot { kind: "automated".into(), ..taken.clone() };
        let inventory = Inventory { snapshots: vec![taken, automated], ..Inventory::default() };
        let kept = [(Kind::Snapshot, "taken".to_owned(), true)];
        assert_eq!(kinds(&inventory, Some(&cluster("target"))), kept);
        for (status, stays) in [("deleting", true), ("failed", true), ("stopped", false)] {
            let source = Cluster { status: status.into(), ..cluster("gone") };
            let inventory = Inventory { clusters: vec![source], ..inventory.clone() };
            let found = kinds(&inventory, Some(&cluster("target")));
            assert_eq!(found, [(Kind::Snapshot, "taken".to_owned(), stays)], "{status}");
        }
    }
}
