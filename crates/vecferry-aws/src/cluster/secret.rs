//! The temporary cluster's password and the secret that keeps it, which looks like one that RDS writes.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use vecferry_core::{Error, Result, Side};

use super::facts::Cluster;
use super::names;
use crate::account::Account;
use crate::failure::failed;

const SERVICE: &str = "Secrets Manager";

/// 64 characters, so that six random bits are one of them. RDS takes all printable ones but `/`, `@`, `"` and the space.
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 192 bits.
const LENGTH: usize = 32;

/// A password that nobody can guess and RDS takes.
pub(super) fn password() -> Result<String> {
    let mut bytes = [0; LENGTH];
    rand::fill(&mut bytes).map_err(|_| Error::Local {
        doing: "make a password".to_owned(),
        source: std::io::Error::other("the random number generator failed"),
    })?;
    Ok(bytes.iter().map(|byte| char::from(CHARACTERS[usize::from(byte & 63)])).collect())
}

/// A secret that carries our tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) tags: BTreeMap<String, String>,
}

/// Secrets Manager in one account and region.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    client: Client,
}

impl Secrets {
    pub(super) fn new(account: &Account) -> Secrets {
        Secrets { client: Client::new(account.config()) }
    }

    /// The version that is current of the secret of this name, unless it is being deleted.
    pub(super) async fn version(&self, name: &str) -> Result<Option<String>> {
        match self.client.describe_secret().secret_id(name).send().await {
            Ok(answer) if answer.deleted_date().is_some() => Ok(None),
            Ok(answer) => Ok(answer
                .version_ids_to_stages()
                .into_iter()
                .flatten()
                .find(|(_, stages)| stages.iter().any(|stage| stage == "AWSCURRENT"))
                .map(|(version, _)| version.clone())),
            Err(error)
                if error.as_service_error().and_then(ProvideErrorMetadata::code)
                    == Some("ResourceNotFoundException") =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(SERVICE, format!("look at the secret {name}"), &error)),
        }
    }

    /// The password in the secret, after its version.
    pub(super) async fn password(&self, name: &str) -> Result<(String, String)> {
        let answer = self.client.get_secret_value().secret_id(name).send().await;
        let answer =
            answer.map_err(|error| failed(SERVICE, format!("read the secret {name}"), &error))?;
        let text: Option<serde_json::Value> =
            answer.secret_string().and_then(|text| serde_json::from_str(text).ok());
        let password = text.as_ref().and_then(|text| text.get("password")?.as_str());
        match (answer.version_id(), password) {
            (Some(version), Some(password)) => Ok((version.to_owned(), password.to_owned())),
            _ => Err(Error::Refused {
                side: Side::Source,
                what: format!("the secret {name} holds no password any more"),
                hint: Some(
                    "delete it and run `vecferry restore` again: it makes another".to_owned(),
                ),
            }),
        }
    }

    /// Secrets with our tags, for whatever target.
    pub(super) async fn ours(&self) -> Result<Vec<Found>> {
        let filter =
            Filter::builder().key(FilterNameStringType::TagKey).values(names::TARGET).build();
        let mut pages = self.client.list_secrets().filters(filter).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(SERVICE, "list secrets", &error))?;
            for secret in page.secret_list() {
                let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()));
                let tags: BTreeMap<_, _> = secret.tags().iter().filter_map(pair).collect();
                // The filter knows beginnings only.
                if names::is_ours(&tags) && secret.deleted_date().is_none() {
                    found.push(Found {
                        name: secret.name().unwrap_or_default().to_owned(),
                        arn: secret.arn().unwrap_or_default().to_owned(),
                        tags,
                    });
                }
            }
        }
        Ok(found)
    }

    /// Makes the secret of the cluster. One that is there stays as it is: another process may have set its password.
    pub(super) async fn create(
        &self,
        name: &str,
        cluster: &Cluster,
        (database, password): (&str, String),
        tags: &BTreeMap<String, String>,
    ) -> Result<()> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let request = self
            .client
            .create_secret()
            .name(name)
            .description("vecferry's temporary cluster; `vecferry cleanup` removes both")
            .secret_string(text(cluster, database, &password))
            .set_tags(Some(tags.collect()));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().and_then(ProvideErrorMetadata::code)
                    == Some("ResourceExistsException") =>
            {
                Ok(())
            }
            Err(error) => Err(failed(SERVICE, format!("make the secret {name}"), &error)),
        }
    }

    /// Deletes the secret at once: it is of no use to anybody without its cluster.
    pub(super) async fn delete(&self, arn: &str) -> Result<()> {
        let request = self.client.delete_secret().secret_id(arn);
        match request.force_delete_without_recovery(true).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().and_then(ProvideErrorMetadata::code)
                    == Some("ResourceNotFoundException") =>
            {
                Ok(())
            }
            Err(error) => Err(failed(SERVICE, format!("delete the secret {arn}"), &error)),
        }
    }
}

/// The secret's text, as RDS writes it.
fn text(cluster: &Cluster, database: &str, password: &str) -> String {
    serde_json::json!({
        "engine": "postgres",
        "host": cluster.host,
        "port": cluster.port,
        "username": cluster.user,
        "password": password,
        "dbname": database,
        "dbClusterIdentifier": cluster.id,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_that_rds_takes_and_no_other() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_ne!(one, other);
        for password in [one, other] {
            assert_eq!(password.len(), 32);
            assert!(
                password.bytes().all(|byte| CHARACTERS.contains(&byte)),
                "a character of its own"
            );
        }
        assert!(!CHARACTERS.iter().any(|byte| b"/@\" ".contains(byte)));
    }
}
