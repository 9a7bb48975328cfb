//! Where a database is and how to log in, from a secret of Secrets Manager: Bedrock Chat's own from version 1 on
//! (`DB_SECRETS_ARN`), one that RDS manages, or any other of their layout. Only what carries the label AWSCURRENT is read:
//! what a rotation prepares (AWSPENDING) does not hold yet. No message holds any of a secret's text.

mod edit;
mod environment;
mod login;
mod switch;

use aws_sdk_secretsmanager::Client;
use serde::Deserialize;
use vecferry_core::pg::{Credentials, Dsn, DsnParts, Login};
use vecferry_core::{Error, Result};

use crate::account::Account;
use crate::failure::failed;
pub use environment::database_from_environment;
use login::SecretLogin;
pub use switch::SecretSwitch;

/// The label of the version that is in force.
const CURRENT: &str = "AWSCURRENT";

/// A database's secret as RDS writes it; other keys (`engine`, `dbClusterIdentifier`) are of no use here.
#[derive(Deserialize)]
struct DatabaseSecret {
    /// Absent in secrets that RDS manages itself (`ManageMasterUserPassword`): those hold user and password only
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>).
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    port: Option<Port>,
    username: String,
    password: String,
    #[serde(default)]
    dbname: Option<String>,
}

/// RDS writes a number, people write texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

/// The database of the secret of this ARN or name. Its login is read again when the server refuses it.
///
/// # Errors
/// [`Error::Service`] when it cannot be read, [`Error::Configuration`] when it is not a database's.
pub async fn database_from_secret(account: &Account, secret: &str) -> Result<Dsn> {
    database_from(account, secret, DsnParts::default()).await
}

/// The same where `given` says more: what it says of the place wins over the secret, while user and password are the
/// secret's.
///
/// # Errors
/// As [`database_from_secret`]; [`Error::Configuration`] too when neither names a host.
pub async fn database_from(account: &Account, secret: &str, given: DsnParts) -> Result<Dsn> {
    let text = read(account, secret).await?;
    let (place, login) = parse(&text).map_err(|why| unusable(secret, &why))?;
    let parts = given.without_login().or(place);
    if parts.host.is_none() && parts.hostaddr.is_none() {
        return Err(Error::Configuration {
            what: format!("the secret {secret} names no host"),
            hint: Some(
                "a secret that RDS manages holds user and password only: give the address beside it, like \
                 postgresql://HOST:5432/DATABASE"
                    .to_owned(),
            ),
        });
    }
    // The application's own default; a user's name, as of libpq, is no database on Aurora.
    let database = parts.database.clone().unwrap_or_else(|| "postgres".to_owned());
    let dsn = DsnParts { database: Some(database), ..parts }.complete();
    let source = SecretLogin { account: account.clone(), secret: secret.to_owned() };
    Ok(dsn.with_credentials(Credentials::known(Box::new(source), login)))
}

/// The text that carries AWSCURRENT.
async fn read(account: &Account, secret: &str) -> Result<String> {
    let get = Client::new(account.config()).get_secret_value();
    let answer = get.secret_id(secret).version_stage(CURRENT).send().await;
    let answer = answer
        .map_err(|error| failed("Secrets Manager", format!("read the secret {secret}"), &error))?;
    let text = answer.secret_string().ok_or_else(|| unusable(secret, "it is not a text"))?;
    Ok(text.to_owned())
}

/// Place and login of a secret's text. An error says what is wrong and nothing of the text: what serde says of a value
/// may repeat it.
fn parse(text: &str) -> Result<(DsnParts, Login), String> {
    let secret: DatabaseSecret = serde_json::from_str(text).map_err(|error| {
        match error.classify() {
            serde_json::error::Category::Data => {
                "it lacks username or password, or one of its values is of another type"
            }
            _ => "it is not JSON",
        }
        .to_owned()
    })?;
    let port = match secret.port {
        None => None,
        Some(Port::Number(port)) => Some(port),
        Some(Port::Text(port)) => {
            Some(port.trim().parse().map_err(|_| "its port is not a port number".to_owned())?)
        }
    };
    if secret.host.as_deref() == Some("") {
        return Err("its host is empty".to_owned());
    }
    let (host, database) = (secret.host, secret.dbname);
    let place = DsnParts { host, port, database, ..DsnParts::default() };
    // Handed over as it is: nothing in it needs escaping, for it never becomes part of a connection string here.
    Ok((place, Login { user: secret.username, password: Some(secret.password) }))
}

fn unusable(secret: &str, why: &str) -> Error {
    Error::Configuration {
        what: format!("the secret {secret} does not describe a database: {why}"),
        hint: Some(
            "it is a JSON object with host, port, username, password and dbname, as RDS makes it"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "p@ss/w:rd %#ü'\\";

    fn secret(port: &str) -> String {
        format!(
            r#"{{"dbClusterIdentifier":"c","engine":"postgres","host":"db.example","username":"admin",
                "password":"p@ss/w:rd %#ü'\\"{port}}}"#
        )
    }

    #[test]
    fn a_secret_is_read_whatever_its_password_holds() {
        for (more, port, database) in [
            ("", None, None),
            (r#","port":5433,"dbname":"postgres""#, Some(5433), Some("postgres")),
            (r#","port":"5433""#, Some(5433), None),
            (r#","port":null,"dbname":null"#, None, None),
        ] {
            let (place, login) = parse(&secret(more)).unwrap();
            assert_eq!((place.port, place.database.as_deref()), (port, database), "{more}");
            assert_eq!(place.host.as_deref(), Some("db.example"));
            assert_eq!(login, Login { user: "admin".into(), password: Some(PASSWORD.into()) });
        }
    }

    #[test]
    fn a_secret_that_rds_manages_has_a_login_only() {
        let (place, login) = parse(r#"{"username":"u","password":"p"}"#).unwrap();
        assert_eq!((place, login.user.as_str()), (DsnParts::default(), "u"));
    }

    #[test]
    fn a_secret_that_is_of_no_use_is_refused_without_a_word_of_it() {
        for (text, why) in [
            ("hunter2", "it is not JSON"),
            (r#"{"host":"h","username":"u","password":["hunter2"]}"#, "it lacks"),
            (r#"{"host":"h","password":"hunter2"}"#, "it lacks"),
            (r#""hunter2""#, "it lacks"),
            (r#"{"host":"h","port":"hunter2","username":"u","password":"p"}"#, "its port"),
            (r#"{"host":"h","port":70000,"username":"u","password":"hunter2"}"#, "it lacks"),
            (r#"{"host":"","username":"u","password":"hunter2"}"#, "its host"),
        ] {
            let said = unusable("arn", &parse(text).unwrap_err()).to_string();
            assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
        }
    }
}
