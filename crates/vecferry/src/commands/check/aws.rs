//! What AWS has to say of a migration, where it takes part in it.

use tokio_util::sync::CancellationToken;
use vecferry_aws::permission::{Named, Purpose, Scope};
use vecferry_aws::preflight::{self, Look, is_rds};
use vecferry_core::policy::Method;
use vecferry_core::preflight::Report;

use crate::cli::Reembed;
use crate::error::Error;
use crate::services::Services;
use crate::settings::Settings;

/// What is to be checked.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) flags: &'a Reembed,
    /// Hosts of the source and of the target, as far as they are known.
    pub(super) hosts: [Option<String>; 2],
    /// Memory that the largest index build wants.
    pub(super) index_bytes: Option<u64>,
}

/// The findings of AWS; `None` where nothing of it is used.
pub(super) async fn check(
    question: Question<'_>,
    settings: &Settings,
    cancel: &CancellationToken,
) -> Result<Option<Report>, Error> {
    let Question { method, flags, hosts, index_bytes } = question;
    let scope = settings.scope(Purpose::Method(method), flags)?;
    if !in_play(method, &scope, &hosts) {
        return Ok(None);
    }
    let services = Services::new(settings.aws().clone());
    let [source_host, target_host] = hosts;
    let look = Look { method, scope, source_host, target_host, index_bytes };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(vecferry_core::Error::Interrupted.into()),
        report = async { preflight::check(services.account().await, look).await } => Ok(Some(report)),
    }
}

/// Whether the migration has to do with AWS: an endpoint of RDS, or a resource that the settings name. A model of
/// Bedrock is the default, so that only a method which embeds counts it.
fn in_play(method: Method, scope: &Scope, hosts: &[Option<String>; 2]) -> bool {
    let named = |named: &Named| named.known().is_some();
    let embeds = matches!(method, Method::Reembed | Method::Delta);
    hosts.iter().flatten().any(|host| is_rds(host))
        || scope.snapshot
        || [&scope.table, &scope.cluster, &scope.bucket].into_iter().any(named)
        || [&scope.source_secret, &scope.target_secret, &scope.switch_secret].into_iter().any(named)
        || (embeds && named(&scope.model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_is_asked_only_where_it_takes_part() {
        let plain = Scope {
            table: Named::Unknown,
            cluster: Named::Unused,
            model: Named::Is("cohere.embed-v4:0".into()),
            ..Scope::default()
        };
        let none = [None, Some("localhost".to_owned())];
        assert!(!in_play(Method::Copy, &plain, &none));
        assert!(in_play(Method::Reembed, &plain, &none), "the model");
        let rds = [Some("c.cluster-x.eu-west-1.rds.amazonaws.com".to_owned()), None];
        assert!(in_play(Method::Follow, &plain, &rds));
        assert!(in_play(Method::Copy, &Scope { snapshot: true, ..plain.clone() }, &none));
        let secret = Named::Is("arn".into());
        assert!(in_play(Method::Copy, &Scope { target_secret: secret, ..plain.clone() }, &none));
        let local = Scope { model: Named::Unused, table: Named::Unused, ..plain };
        assert!(!in_play(Method::Reembed, &local, &none));
    }
}
