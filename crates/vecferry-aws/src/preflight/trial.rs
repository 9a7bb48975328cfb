//! Permissions by harmless reads, where IAM does not simulate: each read once, for as little as it can be asked for.
//! What would change something, cost something or show a secret is not tried.

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use super::facts::{Tested, Verdict};
use super::simulate::{SAMPLE, tested, unknown};
use crate::account::Account;
use crate::failure::said;
use crate::permission::{Named, Scope, Statement};

/// Codes by which services say that the caller may not.
const DENIALS: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"];

/// Codes by which they say that the call was allowed and its object is not there.
const ABSENT: [&str; 8] = [
    "ClientException",
    "ClusterNotFoundException",
    "DBClusterNotFoundFault",
    "DBClusterParameterGroupNotFound",
    "NoSuchBucket",
    "NoSuchResourceException",
    "ResourceNotFoundException",
    "NotFound",
];

/// Tries every pair of the statements; `why` says why it is not simulated.
pub(super) async fn try_all(
    account: &Account,
    scope: &Scope,
    statements: &[Statement],
    why: &str,
) -> Vec<Tested> {
    let mut all = Vec::new();
    for statement in statements {
        let unknown = unknown(statement);
        // Each pair starts as one that cannot be tried.
        let left_out = unknown.as_deref().unwrap_or(why);
        let mut pairs = tested(statement, |_, _| Verdict::Untested(left_out.to_owned()));
        if unknown.is_none() {
            for pair in &mut pairs {
                if let Some(verdict) = attempt(account, scope, pair).await {
                    pair.verdict = verdict;
                }
            }
        }
        all.extend(pairs);
    }
    all
}

/// `None` for what is not to be tried.
async fn attempt(account: &Account, scope: &Scope, pair: &Tested) -> Option<Verdict> {
    match pair.action.split_once(':')? {
        ("rds", action) => databases(account, action).await,
        ("ecs", action) => tasks(account, scope, action).await,
        ("dynamodb", action) => {
            let client = aws_sdk_dynamodb::Client::new(account.config());
            let table = name(&scope.table)?;
            let index = pair.resource.rsplit_once("/index/").map(|(_, index)| index.to_owned());
            Some(match action {
                "DescribeTable" => answer(client.describe_table().table_name(table).send().await),
                "Scan" => {
                    let scan = client.scan().table_name(table).set_index_name(index).limit(1);
                    answer(scan.send().await)
                }
                _ => return None,
            })
        }
        ("s3", "ListBucket") => {
            let client = aws_sdk_s3::Client::new(account.config());
            let bucket = name(&scope.bucket)?;
            Some(answer(client.list_objects_v2().bucket(bucket).max_keys(1).send().await))
        }
        ("secretsmanager", "DescribeSecret") => {
            let client = aws_sdk_secretsmanager::Client::new(account.config());
            // By what the settings call it: a name's own ARN is not known.
            let secrets = [&scope.source_secret, &scope.target_secret, &scope.switch_secret];
            let named = |secret: &&str| {
                pair.resource == *secret || pair.resource.contains(&format!(":{secret}-"))
            };
            let own = format!("vecferry/{SAMPLE}");
            let secret = match pair.resource.ends_with(":secret:vecferry/*") {
                // Nobody has that one, and only who may look is told so.
                true => own.as_str(),
                false => secrets.into_iter().filter_map(Named::known).find(named)?,
            };
            Some(answer(client.describe_secret().secret_id(secret).send().await))
        }
        ("secretsmanager", "ListSecrets") => {
            let client = aws_sdk_secretsmanager::Client::new(account.config());
            Some(answer(client.list_secrets().max_results(1).send().await))
        }
        ("servicequotas", action) => {
            let client = aws_sdk_servicequotas::Client::new(account.config());
            Some(match action {
                "GetServiceQuota" => {
                    let quota = client.get_service_quota().service_code("fargate");
                    answer(quota.quota_code("L-3032A538").send().await)
                }
                _ => {
                    let quotas = client.list_service_quotas().service_code("fargate");
                    answer(quotas.max_results(1).send().await)
                }
            })
        }
        _ => None,
    }
}

async fn databases(account: &Account, action: &str) -> Option<Verdict> {
    let client = aws_sdk_rds::Client::new(account.config());
    // 20 is the least that RDS takes.
    Some(match action {
        "DescribeDBClusters" => answer(client.describe_db_clusters().max_records(20).send().await),
        "DescribeDBInstances" => {
            answer(client.describe_db_instances().max_records(20).send().await)
        }
        "DescribeDBClusterSnapshots" => {
            answer(client.describe_db_cluster_snapshots().max_records(20).send().await)
        }
        "DescribeDBSubnetGroups" => {
            answer(client.describe_db_subnet_groups().max_records(20).send().await)
        }
        _ => return None,
    })
}

async fn tasks(account: &Account, scope: &Scope, action: &str) -> Option<Verdict> {
    let client = aws_sdk_ecs::Client::new(account.config());
    let cluster = name(&scope.cluster)?;
    Some(match action {
        "DescribeClusters" => answer(client.describe_clusters().clusters(cluster).send().await),
        "DescribeTaskDefinition" => {
            let definition = name(&scope.task_definition)?;
            answer(client.describe_task_definition().task_definition(definition).send().await)
        }
        "ListTasks" => answer(client.list_tasks().cluster(cluster).max_results(1).send().await),
        _ => return None,
    })
}

fn name(named: &Named) -> Option<&str> {
    named.known()
}

/// What an answer tells of the permission.
fn answer<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Verdict
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let Err(error) = answer else { return Verdict::Allowed };
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let status = error.raw_response().map(|response| response.status().as_u16());
    means(code, status, said(&error))
}

fn means(code: Option<&str>, status: Option<u16>, said: String) -> Verdict {
    match (code, status) {
        (Some(code), _) if DENIALS.contains(&code) => Verdict::Denied(said),
        (Some(code), _) if ABSENT.contains(&code) => Verdict::Allowed,
        (None, Some(403)) => Verdict::Denied(said),
        _ => Verdict::Untested(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_what_is_absent_and_from_what_tells_nothing() {
        let of = |code, status| means(code, status, "said".to_owned());
        let denied = Verdict::Denied("said".to_owned());
        assert_eq!(of(Some("AccessDenied"), Some(403)), denied);
        assert_eq!(of(Some("AccessDeniedException"), Some(400)), denied);
        assert_eq!(of(None, Some(403)), denied);
        assert_eq!(of(Some("ResourceNotFoundException"), Some(400)), Verdict::Allowed);
        for (code, status) in [(Some("ExpiredToken"), Some(403)), (None, None), (None, Some(500))] {
            assert_eq!(of(code, status), Verdict::Untested("said".to_owned()), "{code:?}");
        }
    }
}
