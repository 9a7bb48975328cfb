//! Row-level access to Bedrock Chat's table: its tasks reach the table only through a role that they assume with a
//! session policy of their own, by which a session sees the items of one user.
//!
//! The application does so wherever AWS runs it, which it tells by `AWS_EXECUTION_ENV`, and uses the credentials it has
//! elsewhere (`_get_aws_resource` of `repositories/common.py` at v1.4.0 of
//! <https://github.com/aws-samples/bedrock-chat>). vecferry's worker runs in the same tasks, whose own role may have no
//! other way to the table.

use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_sts::config::SharedCredentialsProvider;
use serde_json::{Value, json};
use vecferry_core::{Error, Result};

use crate::account::Account;

/// What the application may do in a session, in its order.
const ACTIONS: [&str; 11] = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:GetRecords",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
];

/// The session's name in CloudTrail; the application's own.
const SESSION: &str = "DynamoDBSession";

/// The role through which a task reaches the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRole {
    arn: String,
}

impl TableRole {
    /// The role of this ARN.
    pub fn new(arn: impl Into<String>) -> TableRole {
        TableRole { arn: arn.into() }
    }

    /// The role that the application would assume here, by its environment: `TABLE_ACCESS_ROLE_ARN`, if
    /// `AWS_EXECUTION_ENV` says that AWS runs this process. `variable` looks a variable up.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<TableRole> {
        variable("AWS_EXECUTION_ENV")?;
        variable("TABLE_ACCESS_ROLE_ARN").filter(|arn| !arn.is_empty()).map(TableRole::new)
    }

    /// The account as a session of the role that sees the items of `owner` in `table`. Its credentials last an hour;
    /// they are fetched at the first call and again before they end, so a long task never loses them.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the ARN is not a role's, or no region is known.
    pub async fn assume(&self, account: &Account, table: &str, owner: &str) -> Result<Account> {
        let region = account.region().ok_or_else(|| Error::Configuration {
            what: "no AWS region is known".to_owned(),
            hint: Some("set AWS_REGION".to_owned()),
        })?;
        let policy = session_policy(&self.arn, region, table, owner)?;
        let provider = AssumeRoleProvider::builder(&self.arn)
            .session_name(SESSION)
            .policy(policy.to_string())
            .configure(account.config())
            .build()
            .await;
        let config = account
            .config()
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(provider))
            // Not the account's own, which keeps the credentials of the task's role.
            .identity_cache(IdentityCache::lazy().build())
            .build();
        Ok(Account::with(config))
    }
}

/// The application's session policy. The table is in the role's account, and the account's number in its ARN:
/// `arn:<partition>:iam::<account>:role/<name>`.
fn session_policy(role: &str, region: &str, table: &str, owner: &str) -> Result<Value> {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, name] = parts[..] else { return Err(no_role(role)) };
    if !name.starts_with("role/") || account.is_empty() {
        return Err(no_role(role));
    }
    let table = format!("arn:{partition}:dynamodb:{region}:{account}:table/{table}");
    Ok(json!({
        "Statement": [{
            "Effect": "Allow",
            "Action": ACTIONS,
            "Resource": [table, format!("{table}/index/*")],
            "Condition": {
                "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [format!("{owner}*")]},
            },
        }],
    }))
}

fn no_role(arn: &str) -> Error {
    Error::Configuration {
        what: format!("TABLE_ACCESS_ROLE_ARN is not the ARN of a role: {arn}"),
        hint: Some("it is the output `TableAccessRoleArn` of `BedrockChatStack`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_the_applications() {
        let role = "arn:aws-cn:iam::123456789012:role/path/TableAccess";
        let policy = session_policy(role, "cn-north-1", "Chat", "user").unwrap();
        let statement = &policy["Statement"][0];
        assert_eq!(
            statement["Resource"],
            json!([
                "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/Chat",
                "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/Chat/index/*",
            ])
        );
        assert_eq!(
            statement["Condition"],
            json!({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["user*"]}})
        );
        assert_eq!(statement["Effect"], "Allow");
        assert_eq!(statement["Action"].as_array().map(Vec::len), Some(11));
        assert!(policy.to_string().len() < 2048, "STS takes no longer one");
    }

    #[test]
    fn what_is_not_a_role_is_refused() {
        for arn in
            ["", "role", "arn:aws:iam::1:user/x", "arn:aws:sts::1:role/x", "arn:aws:iam:::role/x"]
        {
            let refused = session_policy(arn, "us-east-1", "Chat", "user").unwrap_err();
            assert!(matches!(refused, Error::Configuration { .. }), "{arn}");
        }
    }

    #[test]
    fn the_role_is_assumed_only_where_aws_runs_the_process() {
        let environment = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            }
        };
        let at = TableRole::from_environment;
        assert_eq!(at(environment(&[])), None);
        assert_eq!(at(environment(&[("TABLE_ACCESS_ROLE_ARN", "arn")])), None);
        assert_eq!(at(environment(&[("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE")])), None);
        let both = &[("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE"), ("TABLE_ACCESS_ROLE_ARN", "arn")];
        assert_eq!(at(environment(both)), Some(TableRole::new("arn")));
    }
}
