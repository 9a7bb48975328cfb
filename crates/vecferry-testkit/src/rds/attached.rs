//! The PostgreSQL server that plays a cluster.

use crate::database::Session;
use crate::error::{Error, Result};

/// Where a cluster's data really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Host of the endpoint.
    pub host: String,
    /// Port of the endpoint.
    pub port: u16,
    /// URL of a superuser who may set the master user's password; another role, where passwords are asked for.
    pub admin: String,
}

impl Attached {
    /// A server on the loopback address.
    pub fn local(port: u16, admin: &str) -> Attached {
        Attached { host: "127.0.0.1".to_owned(), port, admin: admin.to_owned() }
    }

    /// Gives the role a password.
    pub(super) async fn set_password(&self, role: &str, password: &str) -> Result<()> {
        let quoted =
            |text: &str, mark: &str| format!("{mark}{}{mark}", text.replace(mark, &mark.repeat(2)));
        let sql = format!("ALTER ROLE {} PASSWORD {}", quoted(role, "\""), quoted(password, "'"));
        let action = || format!("set the password of {role}");
        let session = Session::open(&self.admin).await?;
        let done = session.batch_execute(&sql).await;
        done.map_err(|source| Error::Database { action: action(), source })
    }
}
