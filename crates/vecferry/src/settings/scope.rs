//! Which resources of AWS the settings name: what permissions are derived from.

use vecferry_aws::cluster_at;
use vecferry_aws::permission::{Named, Purpose, Scope};
use vecferry_core::pg::DsnParts;
use vecferry_core::policy::Method;

use super::{ModelAt, RegistryAt, Settings, variable};
use crate::cli::{Reembed, Runner};
use crate::error::Error;

impl Settings {
    /// What this purpose touches, as far as the settings tell; nothing is asked of AWS.
    pub(crate) fn scope(&self, purpose: Purpose, flags: &Reembed) -> Result<Scope, Error> {
        let registry = self.registry_if_named(&flags.registry)?;
        let table = match &registry {
            Some(RegistryAt::Table { name, .. }) => Named::Is(name.clone()),
            Some(RegistryAt::File(_)) => Named::Unused,
            None => Named::Unknown,
        };
        let bucket = match self.documents(&flags.documents, None).bucket {
            // Whoever lists bots in a file may have no bucket at all.
            None if table == Named::Unused => Named::Unused,
            bucket => Named::or_unknown(bucket),
        };
        let model = self.model(&flags.embedding, None)?;
        let (model, model_region) = match model.at {
            ModelAt::Bedrock { region } => (Named::Is(model.id), region),
            ModelAt::OpenAi { .. } | ModelAt::Local { .. } => (Named::Unused, None),
        };
        let (cluster, task_definition) = self.tasks_named(flags);
        let mut scope = Scope {
            region: self.aws.region.clone().or_else(region_of_environment),
            table,
            table_role: Named::or_unused(variable("TABLE_ACCESS_ROLE_ARN")),
            bucket,
            cluster,
            task_definition,
            model,
            model_region,
            source_secret: Named::or_unused(self.source.secret().map(str::to_owned)),
            target_secret: Named::or_unused(
                self.target.secret().map(str::to_owned).or_else(|| variable("DB_SECRETS_ARN")),
            ),
            switch_secret: Named::or_unused(self.file.switch_secret.clone()),
            snapshot: self.restores(purpose),
            ..self.restoring(purpose)
        };
        scope.account = account_of(&scope);
        match purpose {
            // A policy of nothing would help nobody: what it is about is then to be filled in.
            Purpose::Worker if scope.target_secret == Named::Unused => {
                scope.target_secret = Named::Unknown;
            }
            Purpose::Cutover if scope.switch_secret == Named::Unused => {
                scope.switch_secret = Named::Unknown;
            }
            _ => {}
        }
        Ok(scope)
    }

    /// What a restore touches besides.
    fn restoring(&self, purpose: Purpose) -> Scope {
        let file = &self.file.restore.temporary;
        let source = variable("VECFERRY_SOURCE_CLUSTER").or_else(|| file.source_cluster.clone());
        let source = source.or_else(|| cluster_of(self.source.url()));
        let target = self.target_cluster().map(str::to_owned);
        Scope {
            snapshot_id: Named::or_unknown(self.snapshot().and_then(|snapshot| snapshot.id)),
            target_cluster: Named::or_unknown(target.or_else(|| cluster_of(self.target.url()))),
            raise_target: file.raise_target_capacity.is_some()
                || variable("VECFERRY_RAISE_TARGET_CAPACITY").is_some(),
            source_cluster: match purpose {
                // Whether it is still there, whoever fills the policy in knows.
                Purpose::Restore => Named::or_unknown(source),
                _ => Named::or_unused(source),
            },
            encryption_key: key_named(file.encrypt.as_deref()),
            ..Scope::default()
        }
    }

    /// Whether a cluster is to be restored first: the source is a snapshot, or a delta's source is not said.
    fn restores(&self, purpose: Purpose) -> bool {
        self.names_snapshot()
            || (!self.source.is_named() && purpose == Purpose::Method(Method::Delta))
    }

    /// Cluster and task definition; unused where workers run in this process.
    fn tasks_named(&self, flags: &Reembed) -> (Named, Named) {
        let (flags, file) = (&flags.tasks, &self.file.reembed.tasks);
        if flags.runner.or(file.runner).unwrap_or(Runner::Local) == Runner::Local {
            return (Named::Unused, Named::Unused);
        }
        let named = |flag: &Option<String>, file: &Option<String>| {
            Named::or_unknown(flag.clone().or_else(|| file.clone()))
        };
        (named(&flags.cluster, &file.cluster), named(&flags.task_definition, &file.task_definition))
    }
}

/// The region that every AWS tool reads from the environment.
fn region_of_environment() -> Option<String> {
    variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"))
}

/// The cluster in RDS that a URL leads to, where its host tells.
fn cluster_of(url: Option<&str>) -> Option<String> {
    let parts: DsnParts = url?.parse().ok()?;
    cluster_at(parts.host.as_deref()?).map(str::to_owned)
}

/// The account's number, which every ARN tells.
fn account_of(scope: &Scope) -> Option<String> {
    let named = [
        &scope.cluster,
        &scope.task_definition,
        &scope.table,
        &scope.table_role,
        &scope.target_secret,
        &scope.source_secret,
        &scope.switch_secret,
    ];
    named
        .into_iter()
        .filter_map(Named::known)
        .filter(|name| name.starts_with("arn:"))
        .filter_map(|arn| arn.split(':').nth(4))
        .find(|account| !account.is_empty())
        .map(str::to_owned)
}

/// The key of `[restore] encrypt`, by id or ARN. An alias says nothing of the key that a policy must name.
fn key_named(key: Option<&str>) -> Named {
    match key {
        None => Named::Unused,
        Some(alias) if alias.contains("alias/") => Named::Unknown,
        Some(key) => Named::Is(key.rsplit('/').next().unwrap_or(key).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::File;

    fn scope(file: &str, purpose: Purpose) -> Scope {
        let file = File::parse(file, Path::new("/etc/ferry/vecferry.toml")).unwrap();
        let settings = Settings::of(file);
        settings.scope(purpose, &Reembed::default()).unwrap()
    }

    #[test]
    fn what_the_file_names_is_known_and_what_it_rules_out_is_unused() {
        let of = scope(
            "[aws]\nregion = 'eu-west-1'\n[bots]\ntable = 'T'\n[embedding]\nregion = 'us-east-1'\n[tasks]\n\
             runner = 'ecs'\ncluster = 'arn:aws:ecs:eu-west-1:123456789012:cluster/c'",
            Purpose::Method(Method::Reembed),
        );
        assert_eq!(
            (of.region.as_deref(), of.account.as_deref()),
            (Some("eu-west-1"), Some("123456789012"))
        );
        assert_eq!((of.table, of.bucket), (Named::Is("T".into()), Named::Unknown));
        assert_eq!((of.task_definition, of.snapshot), (Named::Unknown, false));
        assert_eq!(of.model, Named::Is("cohere.embed-multilingual-v3".into()));
        assert_eq!(of.model_region.as_deref(), Some("us-east-1"));

        let local = scope(
            "[bots]\nfile = 'b.toml'\n[embedding]\nprovider = 'local'\nfolder = 'm'",
            Purpose::Method(Method::Reembed),
        );
        for unused in [local.table, local.bucket, local.cluster, local.model] {
            assert_eq!(unused, Named::Unused);
        }
    }

    #[test]
    fn a_cluster_is_restored_for_a_snapshot_and_for_a_delta_of_nothing() {
        let copy = Purpose::Method(Method::Copy);
        let delta = Purpose::Method(Method::Delta);
        assert!(!scope("", copy).snapshot);
        assert!(scope("source = 'snapshot'", copy).snapshot);
        assert!(scope("source = 'snapshot:final'", copy).snapshot);
        assert!(scope("", delta).snapshot);
        assert!(!scope("source = 'postgres://u@h/d'", delta).snapshot);
    }

    #[test]
    fn what_a_restore_touches_is_named_by_the_settings() {
        let is = |name: &str| Named::Is(name.to_owned());
        let host = |name: &str| format!("{name}.cluster-x.eu-west-1.rds.amazonaws.com");
        let delta = Purpose::Method(Method::Delta);
        let bare = scope("source = 'snapshot'", delta);
        assert_eq!((bare.target_cluster, bare.source_cluster), (Named::Unknown, Named::Unused));
        assert_eq!((bare.snapshot_id, bare.raise_target), (Named::Unknown, false));

        let file = format!("source = 'snapshot:s'\ntarget = 'postgres://u@{}/d'", host("new"));
        let named = scope(&file, delta);
        assert_eq!((named.target_cluster, named.snapshot_id), (is("new"), is("s")));

        let more = "[restore]\ntarget_cluster = 'other'\nsource_cluster = 'old'\nraise_target_capacity = 4";
        let more = scope(&format!("{file}\n{more}"), delta);
        assert_eq!((more.target_cluster, more.source_cluster), (is("other"), is("old")));
        assert!(more.raise_target);

        let there = format!("source = 'postgres://u@{}/d'", host("old"));
        assert_eq!(scope(&there, Purpose::Restore).source_cluster, is("old"));
        assert_eq!(scope("", Purpose::Restore).source_cluster, Named::Unknown);
    }
}
