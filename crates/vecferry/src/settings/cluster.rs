//! From what is said of the clusters to their addresses: a URL, a secret of Secrets Manager, or a secret with a URL that
//! says more of the place. Each is resolved when a command first asks for it, so that none reads a secret it needs not.

use std::fmt;

use tokio::sync::OnceCell;
use vecferry_aws::{Account, database_from};
use vecferry_core::Side;
use vecferry_core::pg::{Dsn, DsnParts};
use vecferry_core::policy::Clusters;

use super::{DEFAULT_FILE, Settings, variable};
use crate::error::{Error, Mistake};

/// What is said of one cluster.
#[derive(Default)]
pub(super) struct Given {
    url: Option<String>,
    /// ARN or name.
    secret: Option<String>,
    /// The address, once it was asked for: whoever asks again shares its login.
    resolved: OnceCell<Dsn>,
}

impl Given {
    /// Flags first, then the file; empty counts as absent.
    pub(super) fn new(url: [&Option<String>; 2], secret: [&Option<String>; 2]) -> Given {
        let first = |given: [&Option<String>; 2]| {
            let text = given[0].clone().or_else(|| given[1].clone());
            text.filter(|text| !text.trim().is_empty())
        };
        Given { url: first(url), secret: first(secret), resolved: OnceCell::new() }
    }

    /// The connection string, which may hold a password.
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// ARN or name of the secret.
    pub(super) fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// Whether anything is said of it.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some() || self.secret.is_some()
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Given").field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Settings {
    /// Both clusters, with their logins.
    pub(crate) async fn clusters(&self) -> Result<Clusters, Error> {
        let (source, target) = (self.source().await, self.target().await);
        let (source, target) = match (source, target) {
            (Ok(source), Ok(target)) => (source, target),
            (Err(Error::Settings(mut all)), Err(Error::Settings(more))) => {
                all.extend(more);
                return Err(Error::Settings(all));
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if (&source.host, source.port, &source.database)
            == (&target.host, target.port, &target.database)
        {
            return Err(Mistake::new(
                format!(
                    "source and target are the same database, {} on {}",
                    target.database,
                    target.address()
                ),
                "give --target the cluster the data goes to",
            )
            .into());
        }
        Ok(Clusters { source, target })
    }

    /// The target alone, for commands that need no source.
    pub(crate) async fn target(&self) -> Result<Dsn, Error> {
        self.cluster(Side::Target).await
    }

    /// The target, for commands that can do without.
    pub(crate) async fn target_if_named(&self) -> Result<Option<Dsn>, Error> {
        match self.target.is_named() {
            true => Ok(Some(self.target().await?)),
            false => Ok(None),
        }
    }

    /// Whether the source is said to be a snapshot: `snapshot`, or `snapshot:ID`.
    pub(crate) fn names_snapshot(&self) -> bool {
        self.snapshot().is_some()
    }

    /// Whether anything is said of the source.
    pub(crate) fn names_source(&self) -> bool {
        self.source.is_named()
    }

    /// The source, for commands that say more when they know it.
    pub(crate) async fn source_if_named(&self) -> Result<Option<Dsn>, Error> {
        match self.source.is_named() {
            // Nothing stands for it, or nothing yet.
            true if self.snapshot().is_some()
                && !self.temporary().await?.is_some_and(|temporary| temporary.ready) =>
            {
                Ok(None)
            }
            true => Ok(Some(self.source().await?)),
            false => Ok(None),
        }
    }

    async fn source(&self) -> Result<Dsn, Error> {
        self.cluster(Side::Source).await
    }

    async fn cluster(&self, side: Side) -> Result<Dsn, Error> {
        let given = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        given.resolved.get_or_try_init(|| self.resolve(given, side)).await.cloned()
    }

    async fn resolve(&self, given: &Given, side: Side) -> Result<Dsn, Error> {
        if let (Side::Source, Some(snapshot)) = (side, self.snapshot()) {
            // Boxed: it asks for the target, which is resolved here as well.
            return Box::pin(self.of_snapshot(&snapshot)).await;
        }
        let name = side.to_string().to_uppercase();
        let url = given.url.as_deref().map(|text| parts(text, side)).transpose()?;
        if let Some(secret) = &given.secret {
            let account = self.account_of(secret).await;
            return Ok(database_from(&account, secret, url.unwrap_or_default()).await?);
        }
        let Some(url) = url else {
            let hint = format!(
                "pass --{side} postgresql://user@host:5432/database, set VECFERRY_{name}, or write \
                 {side} = \"…\" into {DEFAULT_FILE}; --{side}-secret names a secret of AWS instead"
            );
            return Err(Mistake::new(format!("the {side} is not known"), hint).into());
        };
        let environment =
            || variable(&format!("VECFERRY_{name}_PASSWORD")).or_else(|| variable("PGPASSWORD"));
        let password = url.password.clone().or_else(environment);
        Ok(DsnParts { password, ..url }.complete())
    }

    /// The account that a secret is read from: its ARN names the region.
    pub(super) async fn account_of(&self, secret: &str) -> Account {
        let region = region_of(secret).map(str::to_owned).or_else(|| self.aws.region.clone());
        Account::load(region, self.aws.profile.clone()).await
    }
}

fn parts(text: &str, side: Side) -> Result<DsnParts, Mistake> {
    text.parse().map_err(|error: vecferry_core::Error| Mistake {
        what: format!("{side}: {error}"),
        hint: error.hint(),
    })
}

/// The region of an ARN, `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME`.
fn region_of(secret: &str) -> Option<&str> {
    let mut parts = secret.split(':');
    let region = (parts.next() == Some("arn")).then(|| parts.nth(2)).flatten();
    region.filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_its_region_and_a_name_does_not() {
        let arn = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:chat-AbCdEf";
        assert_eq!(region_of(arn), Some("cn-north-1"));
        assert_eq!((region_of("chat/database"), region_of("a:b:c:d")), (None, None));
    }

    #[test]
    fn what_is_given_never_shows_a_password() {
        let url = Some("postgres://u:hunter2@h/d".to_owned());
        let given = Given::new([&url, &None], [&None, &Some("s".into())]);
        assert!(given.is_named() && !format!("{given:?}").contains("hunter2"));
        assert!(!Given::new([&Some(" ".into()), &None], [&None, &None]).is_named());
    }
}
