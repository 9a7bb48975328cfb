//! To whom something belongs that carries our tags. An address alone does not tell: through a tunnel the targets of two
//! clusters have the same one, and what was made for the one would be used, or deleted, for the other. What is made
//! therefore carries the resource id of the target's cluster as well, and that decides wherever the cluster is known.

use std::collections::BTreeMap;

use super::facts::Cluster;
use super::names::{TARGET_CLUSTER, TargetName};

/// Whose things are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) target: &'a TargetName,
    /// The target's cluster, where it is known which one that is.
    pub(super) cluster: Option<&'a Cluster>,
}

/// What tags say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs<'a> {
    /// It was made for this target, by this migration.
    Here(&'a str),
    /// It was made by this migration for a target of this address, and it is not known which cluster is behind it.
    Perhaps(&'a str),
    /// It is another's, or nobody's.
    No,
}

impl<'a> Owner<'a> {
    /// To whom something with these tags belongs.
    pub(super) fn of<'t>(&self, tags: &'t BTreeMap<String, String>) -> Belongs<'t> {
        let Some(migration) = self.target.migration(tags) else { return Belongs::No };
        let here = match (self.cluster, tags.get(TARGET_CLUSTER)) {
            (Some(cluster), Some(made_for)) => *made_for == tag(cluster),
            // Made before there was this tag: the cluster's own address is nobody else's, and neither is its note.
            (Some(cluster), None) => {
                let at = cluster.is_at(&self.target.host, self.target.port);
                at || self.reserved().is_some_and(|id| id == migration)
            }
            // The cluster is gone, or another account's.
            (None, _) if self.target.is_of_rds() => true,
            (None, _) => return Belongs::Perhaps(migration),
        };
        if here { Belongs::Here(migration) } else { Belongs::No }
    }

    /// The migration by which something was made for this target; `None` for what is another's or may be.
    pub(super) fn migration<'t>(&self, tags: &'t BTreeMap<String, String>) -> Option<&'t str> {
        match self.of(tags) {
            Belongs::Here(migration) => Some(migration),
            Belongs::Perhaps(_) | Belongs::No => None,
        }
    }

    /// The id that is noted on the target's cluster.
    pub(super) fn reserved(&self) -> Option<&'a str> {
        self.cluster?.tags.get(&self.target.reservation()).map(String::as_str)
    }
}

/// The value of the tag `vecferry:target-cluster`. Not the identifier: that may be used again for another cluster.
pub(super) fn tag(cluster: &Cluster) -> String {
    match cluster.resource.is_empty() {
        true => cluster.arn.clone(),
        false => cluster.resource.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{MIGRATION, TARGET};
    use super::super::survey::tests::cluster;
    use super::*;

    fn tags(made_for: Option<&str>) -> BTreeMap<String, String> {
        let pairs = [(MIGRATION, "m"), (TARGET, "127.0.0.1:6102/kb")];
        let made_for = made_for.map(|resource| (TARGET_CLUSTER, resource));
        let all = pairs.into_iter().chain(made_for);
        all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn tunnel() -> TargetName {
        TargetName { host: "127.0.0.1".into(), port: 6102, database: "kb".into() }
    }

    #[test]
    fn two_clusters_behind_one_address_have_each_their_own() {
        let (dev, prod, target) = (cluster("dev"), cluster("prod"), tunnel());
        let made_for_dev = tags(Some("res-dev"));
        let of = |cluster| Owner { target: &target, cluster }.of(&made_for_dev);
        assert_eq!(of(Some(&dev)), Belongs::Here("m"));
        assert_eq!(of(Some(&prod)), Belongs::No);
        assert_eq!(of(None), Belongs::Perhaps("m"));
        // Not even a note that was copied makes it the other's.
        let mut noted = prod.clone();
        noted.tags.insert("vecferry:restore/kb".into(), "m".into());
        assert_eq!(of(Some(&noted)), Belongs::No);
    }

    #[test]
    fn what_was_made_before_the_tag_belongs_where_nothing_else_is_possible() {
        let target = tunnel();
        let before = tags(None);
        let of = |cluster: &Cluster| Owner { target: &target, cluster: Some(cluster) }.of(&before);
        let mut dev = cluster("dev");
        assert_eq!(of(&dev), Belongs::No);
        dev.tags.insert("vecferry:restore/kb".into(), "other".into());
        assert_eq!(of(&dev), Belongs::No);
        dev.tags.insert("vecferry:restore/kb".into(), "m".into());
        assert_eq!(of(&dev), Belongs::Here("m"));
        let own = Cluster { host: "127.0.0.1".into(), port: 6102, ..cluster("prod") };
        assert_eq!(of(&own), Belongs::Here("m"));
    }

    #[test]
    fn the_address_of_a_cluster_that_is_gone_is_still_its_own() {
        let host = "Target.cluster-x.eu-west-1.rds.amazonaws.com";
        let target = TargetName { host: host.into(), ..tunnel() };
        let mut left = tags(Some("res-target"));
        left.insert(TARGET.into(), target.tag());
        assert_eq!(Owner { target: &target, cluster: None }.of(&left), Belongs::Here("m"));
    }
}
