//! The login of a secret, read again whenever core asks for it.

use async_trait::async_trait;
use vecferry_core::Result;
use vecferry_core::pg::{Login, LoginSource};

use super::{parse, read, unusable};
use crate::account::Account;

/// A secret that holds a login.
pub(super) struct SecretLogin {
    pub(super) account: Account,
    /// ARN or name.
    pub(super) secret: String,
}

#[async_trait]
impl LoginSource for SecretLogin {
    async fn read(&self) -> Result<Login> {
        let text = read(&self.account, &self.secret).await?;
        let (_, login) = parse(&text).map_err(|why| unusable(&self.secret, &why))?;
        Ok(login)
    }

    fn describe(&self) -> String {
        format!("the secret {}", self.secret)
    }
}
