//! `source = "snapshot"`: the source is a temporary cluster, which is found by its tags whenever a command needs it.

use vecferry_aws::Account;
use vecferry_aws::cluster::{Capacity, Patience, TargetName, Temporary, Wishes, find};
use vecferry_core::pg::Dsn;

use super::Settings;
use crate::cli::{TargetAt, TemporaryCluster};
use crate::error::{Error, Mistake};

/// The word that stands in place of a URL.
const SNAPSHOT: &str = "snapshot";

/// What `source` says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotSource {
    /// Identifier or ARN of the snapshot, when it is named.
    pub(crate) id: Option<String>,
}

impl SnapshotSource {
    /// Reads `snapshot` and `snapshot:ID`; `None` for anything else.
    pub(super) fn read(source: &str) -> Option<SnapshotSource> {
        match source.trim().strip_prefix(SNAPSHOT)? {
            "" => Some(SnapshotSource { id: None }),
            rest => {
                let id = rest.strip_prefix(':')?.trim();
                Some(SnapshotSource { id: (!id.is_empty()).then(|| id.to_owned()) })
            }
        }
    }
}

impl Settings {
    /// The snapshot that is the source, if one is.
    pub(crate) fn snapshot(&self) -> Option<SnapshotSource> {
        self.source.url().and_then(SnapshotSource::read)
    }

    /// The AWS account of everything that is not in a secret's own region.
    pub(crate) async fn account(&self) -> Account {
        Account::load(self.aws.region.clone(), self.aws.profile.clone()).await
    }

    /// The temporary cluster of this target, usable or not.
    pub(crate) async fn temporary(&self) -> Result<Option<Temporary>, Error> {
        let target = TargetName::from(&self.target().await?);
        Ok(find(&self.account().await, &target, self.target_cluster()).await?)
    }

    /// Whether the source is a snapshot that is not restored yet.
    pub(crate) async fn awaits_restore(&self) -> Result<bool, Error> {
        Ok(self.snapshot().is_some() && self.temporary().await?.is_none_or(|one| !one.ready))
    }

    /// The temporary cluster as the source.
    pub(super) async fn of_snapshot(&self, snapshot: &SnapshotSource) -> Result<Dsn, Error> {
        let Some(temporary) = self.temporary().await? else {
            return Err(missing(
                "the source is a snapshot, and no cluster restored from one stands for this target",
            ));
        };
        if !temporary.ready {
            let (cluster, status) = (&temporary.cluster, &temporary.status);
            return Err(missing(&format!(
                "the temporary cluster {cluster} cannot be used yet ({status})"
            )));
        }
        if let Some(id) = &snapshot.id
            && !(temporary.snapshot == *id || temporary.snapshot.ends_with(&format!(":{id}")))
        {
            return Err(Mistake::new(
                format!("the temporary cluster was restored from {}, not from {id}", temporary.snapshot),
                "leave the id out of --source to use it, or remove it with `vecferry cleanup` first",
            )
            .into());
        }
        Ok(temporary.dsn(&self.account().await).await?)
    }

    /// What the operator wishes of a restore.
    pub(crate) async fn wishes(&self, flags: &TemporaryCluster) -> Result<Wishes, Error> {
        let (file, default) = (&self.file.restore.temporary, Wishes::default());
        let text =
            |flag: &Option<String>, file: &Option<String>| flag.clone().or_else(|| file.clone());
        let groups = if flags.security_groups.is_empty() { file } else { flags };
        let snapshot = self.snapshot();
        let source_address = match &snapshot {
            Some(_) => None,
            None => self.source_if_named().await?.map(|source| (source.host, source.port)),
        };
        Ok(Wishes {
            snapshot: snapshot.and_then(|snapshot| snapshot.id),
            source_cluster: text(&flags.source_cluster, &file.source_cluster),
            source_address,
            take_snapshot: flags.take_snapshot,
            security_groups: groups.security_groups.clone(),
            instance_class: text(&flags.instance_class, &file.instance_class),
            engine_version: text(&flags.engine_version, &file.engine_version),
            key: text(&flags.encrypt, &file.encrypt),
            capacity: Capacity {
                least: flags.min_capacity.or(file.min_capacity).unwrap_or(default.capacity.least),
                most: flags.max_capacity.or(file.max_capacity).unwrap_or(default.capacity.most),
            },
            raise_target: flags.raise_target_capacity.or(file.raise_target_capacity),
        })
    }

    /// Capacity of a temporary cluster before anybody asks for one.
    pub(crate) fn temporary_capacity(&self) -> Capacity {
        let (file, default) = (&self.file.restore.temporary, Wishes::default().capacity);
        Capacity {
            least: file.min_capacity.unwrap_or(default.least),
            most: file.max_capacity.unwrap_or(default.most),
        }
    }

    /// The database in the snapshot.
    pub(crate) fn source_database(&self, flags: &TemporaryCluster, target: &Dsn) -> String {
        let file = &self.file.restore.temporary;
        let named = flags.source_database.as_ref().or(file.source_database.as_ref());
        named.unwrap_or(&target.database).clone()
    }

    /// The target's cluster, when it is named.
    pub(crate) fn target_cluster(&self) -> Option<&str> {
        self.target_cluster.as_deref()
    }

    /// How long RDS is waited for.
    pub(crate) fn patience(&self, flags: &TargetAt) -> Patience {
        let (file, default) = (&self.file.restore.at, Patience::default());
        Patience {
            limit: flags.wait.or(file.wait).unwrap_or(default.limit),
            poll: flags.look_every.or(file.look_every).unwrap_or(default.poll),
        }
    }
}

fn missing(what: &str) -> Error {
    Mistake::new(what, "`vecferry restore` makes it, or goes on where it stopped").into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::settings::File;

    #[test]
    fn only_the_word_with_an_id_or_without_is_a_snapshot() {
        let id = |id: Option<&str>| Some(SnapshotSource { id: id.map(str::to_owned) });
        assert_eq!(SnapshotSource::read("snapshot"), id(None));
        assert_eq!(SnapshotSource::read("snapshot:"), id(None));
        assert_eq!(SnapshotSource::read("snapshot:rds:chat-2026"), id(Some("rds:chat-2026")));
        for other in ["snapshots", "postgresql://snapshot/d", "Snapshot", "host=snapshot"] {
            assert_eq!(SnapshotSource::read(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "source = 'snapshot:s'\n[restore]\nmin_capacity = 4\nencrypt = 'k'\nwait = '2h'\n\
                    security_groups = ['sg-1']";
        let settings = Settings::of(File::parse(file, Path::new("v.toml")).unwrap());
        let flags = TemporaryCluster { max_capacity: Some(32.0), ..TemporaryCluster::default() };
        let wishes = settings.wishes(&flags).await.unwrap();
        assert_eq!(wishes.capacity, Capacity { least: 4.0, most: 32.0 });
        assert_eq!((wishes.key.as_deref(), wishes.snapshot.as_deref()), (Some("k"), Some("s")));
        assert_eq!(wishes.security_groups, ["sg-1"]);
        let patience = settings.patience(&TargetAt::default());
        assert_eq!(
            (patience.limit, patience.poll),
            (Duration::from_secs(7200), Patience::default().poll)
        );
    }
}
