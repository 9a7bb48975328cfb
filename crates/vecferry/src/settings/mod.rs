//! Every setting, resolved once: flag, then `VECFERRY_*` variable (clap has merged these two already), then the
//! file, then core's default. Nothing after this asks where a value came from.

mod cluster;
mod delta;
mod file;
mod filled;
mod reembed;
mod scope;
mod snapshot;
mod switch;
mod template;

use std::path::{Path, PathBuf};

use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::policy::{Clusters, FollowPolicy, Pattern, Policy};
use vecferry_core::price::Prices;

use crate::cli::{Aws, Follow, Place, PriceFile, Selection, TargetAt, Work};
use crate::error::{Error, Mistake};
use cluster::Given;
pub(crate) use file::File;
pub(crate) use filled::{Known, Value, filled};
pub(crate) use reembed::{
    DocumentSettings, EcsAt, ModelAt, ModelSettings, RegistryAt, RunnerAt, TaskSettings,
};
pub(crate) use template::TEMPLATE;

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "vecferry.toml";

/// What flags, environment and file say about the clusters, and the file itself.
pub(crate) struct Settings {
    source: Given,
    target: Given,
    /// The account that everything on AWS is asked in.
    aws: Aws,
    /// The target's cluster, by identifier. Every command whose source is a snapshot asks for it, with the flag or
    /// without.
    target_cluster: Option<String>,
    file: File,
}

impl Settings {
    /// Reads the file, when one is named or lies here.
    pub(crate) fn read(place: &Place) -> Result<Settings, Error> {
        let file = match (&place.config, Path::new(DEFAULT_FILE).exists()) {
            (Some(path), _) => File::read(path)?,
            (None, true) => File::read(Path::new(DEFAULT_FILE))?,
            (None, false) => File::default(),
        };
        Ok(Settings {
            source: Given::new(
                [&place.source, &file.source],
                [&place.source_secret, &file.source_secret],
            ),
            target: Given::new(
                [&place.target, &file.target],
                [&place.target_secret, &file.target_secret],
            ),
            aws: Aws {
                region: place.aws.region.clone().or_else(|| file.reembed.aws.region.clone()),
                profile: place.aws.profile.clone().or_else(|| file.reembed.aws.profile.clone()),
            },
            target_cluster: variable("VECFERRY_TARGET_CLUSTER")
                .or_else(|| file.restore.at.target_cluster.clone()),
            file,
        })
    }

    /// What the file alone says.
    #[cfg(test)]
    pub(crate) fn of(file: File) -> Settings {
        let source = Given::new([&None, &file.source], [&None, &file.source_secret]);
        let target = Given::new([&None, &file.target], [&None, &file.target_secret]);
        let target_cluster = file.restore.at.target_cluster.clone();
        let aws = file.reembed.aws.clone();
        Settings { source, target, aws, target_cluster, file }
    }

    /// The same with what the command's own flags say of the target's cluster.
    pub(crate) fn at(self, flags: Option<&TargetAt>) -> Settings {
        let named = flags.and_then(|flags| flags.target_cluster.clone());
        Settings { target_cluster: named.or(self.target_cluster), ..self }
    }

    /// The AWS account.
    pub(crate) fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The shape of the knowledge base.
    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.file.knowledge
    }

    /// What only `follow` asks, with the servers' own ways to each other.
    pub(crate) fn follow(
        &self,
        flags: &Follow,
        clusters: &Clusters,
    ) -> Result<FollowPolicy, Error> {
        let (file, default) = (&self.file, Policy::default().follow);
        let way = |flag: &Option<String>, file: &Option<String>, name: &str, cluster: &Dsn| {
            let Some(text) = flag.as_ref().or(file.as_ref()).filter(|text| !text.trim().is_empty())
            else {
                return Ok(None);
            };
            let parsed = text.parse::<Dsn>().map_err(|error| Mistake {
                what: format!("{name}: {error}"),
                hint: error.hint(),
            })?;
            Ok(Some(parsed.with_password_of(cluster)))
        };
        let to_source = way(
            &flags.source_from_target,
            &file.source_from_target,
            "source-from-target",
            &clusters.source,
        );
        let to_target = way(
            &flags.target_from_source,
            &file.target_from_source,
            "target-from-source",
            &clusters.target,
        );
        let (source_from_target, target_from_source) = match (to_source, to_target) {
            (Ok(source), Ok(target)) => (source, target),
            (source, target) => {
                let mistakes = [source.err(), target.err()].into_iter().flatten().collect();
                return Err(Error::Settings(mistakes));
            }
        };
        Ok(FollowPolicy {
            source_from_target,
            target_from_source,
            set_replica_identity: flags.set_replica_identity
                || file.set_replica_identity.unwrap_or(default.set_replica_identity),
            apply_start: flags
                .apply_start
                .map(Into::into)
                .or(file.apply_start)
                .unwrap_or(default.apply_start),
        })
    }

    /// Whether a follow is left to itself when it has caught up.
    pub(crate) fn detach(&self, flag: bool) -> bool {
        flag || self.file.detach.unwrap_or(false)
    }

    /// What services cost: the published prices, with those of the operator's file before them.
    pub(crate) fn prices(&self, flags: &PriceFile) -> Result<Prices, Error> {
        let published = Prices::published()?;
        match flags.prices.as_ref().or(self.file.prices.as_ref()) {
            Some(path) => Ok(published.replaced_by(path)?),
            None => Ok(published),
        }
    }

    /// The operator's choices, but for the method and what only `follow` asks.
    pub(crate) fn policy(&self, selection: &Selection, work: &Work) -> Policy {
        let (file, default) = (&self.file, Policy::default());
        let patterns = |flag: &[String], file: &[String]| {
            let chosen = if flag.is_empty() { file } else { flag };
            chosen.iter().map(|text| Pattern::new(text)).collect()
        };
        let number = |flag: Option<u32>, file: Option<u32>| flag.or(file).map(|n| n as usize);
        Policy {
            method: None,
            follow: default.follow,
            knowledge: file.knowledge.clone(),
            include: patterns(&selection.include, &file.include),
            exclude: patterns(&selection.exclude, &file.exclude),
            jobs: number(work.jobs, file.jobs).unwrap_or(default.jobs),
            part_bytes: work.part_size.or(file.part_size).unwrap_or(default.part_bytes),
            existing: work.existing.map(Into::into).or(file.existing).unwrap_or(default.existing),
            lock_timeout: work.lock_timeout.or(file.lock_timeout).unwrap_or(default.lock_timeout),
            index_memory: work.index_memory.or(file.index_memory).or(default.index_memory),
            index_jobs: number(work.index_jobs, file.index_jobs).or(default.index_jobs),
            ivfflat_lists: work
                .ivfflat_lists
                .map(Into::into)
                .or(file.ivfflat_lists)
                .unwrap_or(default.ivfflat_lists),
            pg_bin_dir: work.pg_bin_dir.clone().or_else(|| file.pg_bin_dir.clone()),
            retries: work.retries.or(file.retries).unwrap_or(default.retries),
        }
    }
}

/// A variable of the environment; an empty one counts as absent.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where `init` writes.
pub(crate) fn file_to_write(place: &Place) -> PathBuf {
    place.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vecferry_core::policy::Existing;

    fn settings(source: &str, target: &str, file: &str) -> Settings {
        let file = File::parse(file, Path::new("vecferry.toml")).unwrap();
        let given = |url: &str| Given::new([&Some(url.to_owned()), &None], [&None, &None]);
        Settings { source: given(source), target: given(target), ..Settings::of(file) }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "jobs = 2\npart_size = '8MiB'\nexisting = 'keep'\ninclude = ['a.*']";
        let settings = settings("", "", file);
        let work =
            Work { jobs: Some(9), lock_timeout: Some(Duration::from_secs(5)), ..Work::default() };
        let selection = Selection { exclude: vec!["b".into()], ..Selection::default() };
        let policy = settings.policy(&selection, &work);
        assert_eq!((policy.jobs, policy.part_bytes, policy.existing), (9, 8 << 20, Existing::Keep));
        assert_eq!((policy.lock_timeout.as_secs(), policy.retries), (5, Policy::default().retries));
        assert_eq!(
            (policy.include, policy.exclude),
            (vec![Pattern::new("a.*")], vec![Pattern::new("b")])
        );
    }

    #[tokio::test]
    async fn what_is_wrong_with_both_urls_is_said_at_once_without_the_urls() {
        let wrong = settings("postgres://u:hunter2@h:port/d", "mysql://u:hunter2@h/d", "");
        let Err(Error::Settings(mistakes)) = wrong.clusters().await else { panic!("accepted") };
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(!format!("{mistakes:?}").contains("hunter2"), "{mistakes:?}");
    }

    #[tokio::test]
    async fn a_servers_own_way_to_the_other_takes_the_password_of_the_same_user() {
        let file = "apply_start = 'first'\nsource_from_target = 'postgres://u@inner/d'";
        let settings = settings("postgres://u:hunter2@h/d", "postgres://v:hunter3@t/d", file);
        let clusters = settings.clusters().await.unwrap();
        let flags = |target: &str| Follow {
            target_from_source: Some(target.into()),
            set_replica_identity: true,
            ..Follow::default()
        };
        let follow = settings.follow(&flags("postgres://other@t/d"), &clusters).unwrap();
        assert!(follow.set_replica_identity);
        assert_eq!(follow.apply_start, vecferry_core::policy::ApplyStart::First);
        let way = follow.source_from_target.unwrap();
        assert!(way.has_password() && way.host == "inner");
        assert!(!follow.target_from_source.unwrap().has_password(), "another user's");
        let wrong = settings.follow(&flags("mysql://u:hunter4@h/d"), &clusters);
        let Err(Error::Settings(mistakes)) = wrong else { panic!("accepted") };
        let shown = format!("{mistakes:?}");
        assert!(shown.contains("target-from-source") && !shown.contains("hunter"), "{shown}");
    }

    #[tokio::test]
    async fn a_database_is_not_moved_onto_itself() {
        let same = settings("postgres://a@h:5432/d", "postgres://b@h/d", "");
        assert!(matches!(same.clusters().await, Err(Error::Settings(_))));
        let other = settings("postgres://a@h/d", "postgres://a@h/e", "");
        assert!(other.clusters().await.is_ok());
    }
}
