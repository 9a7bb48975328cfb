//! Whose policies are to be simulated: the role behind a session, or the user.

use aws_sdk_iam::Client;

/// Who calls, by the ARN that STS gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Principal {
    /// A session of this role; its ARN without its path, which the session's does not tell.
    Role { name: String, arn: String },
    /// A user.
    User(String),
    /// Somebody whose policies IAM does not simulate: the root user, a federated user.
    Other,
}

impl Principal {
    pub(super) fn of(caller: &str) -> Principal {
        let parts: Vec<&str> = caller.splitn(6, ':').collect();
        let ["arn", partition, service, _, account, rest] = parts[..] else {
            return Principal::Other;
        };
        let mut names = rest.split('/');
        match (service, names.next(), names.next()) {
            ("sts", Some("assumed-role"), Some(name)) => Principal::Role {
                name: name.to_owned(),
                arn: format!("arn:{partition}:iam::{account}:role/{name}"),
            },
            ("iam", Some("user" | "role"), Some(_)) => Principal::User(caller.to_owned()),
            _ => Principal::Other,
        }
    }

    /// The ARN to simulate. A role may have a path (every role of IAM Identity Center has), which only IAM tells; where
    /// it may not be asked, the role is taken to have none.
    pub(super) async fn arn(self, iam: &Client) -> Option<String> {
        match self {
            Principal::User(arn) => Some(arn),
            Principal::Other => None,
            Principal::Role { name, arn } => match iam.get_role().role_name(&name).send().await {
                Ok(answer) => Some(answer.role().map_or(arn, |role| role.arn().to_owned())),
                Err(error) => {
                    tracing::info!(
                        role = name,
                        said = crate::failure::said(&error),
                        "its path is not known"
                    );
                    Some(arn)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_of_its_role_and_a_user_is_itself() {
        let role = Principal::of("arn:aws-cn:sts::1:assumed-role/Ops/me@example.com");
        let arn = "arn:aws-cn:iam::1:role/Ops".to_owned();
        assert_eq!(role, Principal::Role { name: "Ops".into(), arn });
        let user = "arn:aws:iam::1:user/path/me";
        assert_eq!(Principal::of(user), Principal::User(user.into()));
        for other in [
            "arn:aws:iam::1:root",
            "arn:aws:sts::1:federated-user/x",
            "arn:aws:sts::1:user/moto",
            "x",
            "",
        ] {
            assert_eq!(Principal::of(other), Principal::Other, "{other}");
        }
    }
}
