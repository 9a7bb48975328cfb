//! Where Bedrock Chat's database is and how to log in: a secret of Secrets Manager from version 1 on (`DB_SECRETS_ARN`),
//! variables of the environment before (`embedding/main.py` of <https://github.com/aws-samples/bedrock-chat> at v1.4.0
//! and v0.4.10). No message holds any of a secret's text.

use aws_sdk_secretsmanager::Client;
use serde::Deserialize;
use vecferry_core::pg::Dsn;
use vecferry_core::{Error, Result};

use crate::account::Account;
use crate::failure::failed;

/// A database's secret as RDS writes it; other keys (`engine`, `dbClusterIdentifier`) are of no use here.
#[derive(Deserialize)]
struct DatabaseSecret {
    host: String,
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

/// Reads the secret of this ARN or name.
///
/// # Errors
/// [`Error::Service`] when it cannot be read, [`Error::Configuration`] when it is not a database's.
pub async fn database_from_secret(account: &Account, secret: &str) -> Result<Dsn> {
    let answer =
        Client::new(account.config()).get_secret_value().secret_id(secret).send().await.map_err(
            |error| failed("Secrets Manager", format!("read the secret {secret}"), &error),
        )?;
    let text = answer.secret_string().ok_or_else(|| unusable(secret, "it is not a text"))?;
    parse(text).map_err(|why| unusable(secret, &why))
}

/// The database of version 0: `DB_HOST`, and `DB_PORT`, `DB_NAME`, `DB_USER`, `DB_PASSWORD`. `variable` looks a
/// variable up; `None` without a host. Absent ones have the application's defaults, the password excepted, which may
/// come from elsewhere.
///
/// # Errors
/// [`Error::Configuration`] when the port is not one.
pub fn database_from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Dsn>> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let Some(host) = variable("DB_HOST") else { return Ok(None) };
    let port = variable("DB_PORT").map_or(Ok(5432), |port| port.trim().parse());
    let port = port.map_err(|_| Error::Configuration {
        what: "DB_PORT is not a port number".to_owned(),
        hint: None,
    })?;
    let mut dsn = Dsn::default();
    dsn.host = host;
    dsn.port = port;
    dsn.database = variable("DB_NAME").unwrap_or_else(|| "postgres".to_owned());
    dsn.user = variable("DB_USER").unwrap_or_else(|| "postgres".to_owned());
    Ok(Some(match variable("DB_PASSWORD") {
        Some(password) => dsn.with_password(password),
        None => dsn,
    }))
}

/// The database of a secret's text. An error says what is wrong and nothing of the text: what serde says of a value
/// may repeat it.
fn parse(text: &str) -> Result<Dsn, String> {
    let secret: DatabaseSecret = serde_json::from_str(text).map_err(|error| {
        match error.classify() {
            serde_json::error::Category::Data => {
                "it lacks host, username or password, or one of its values is of another type"
            }
            _ => "it is not JSON",
        }
        .to_owned()
    })?;
    let mut dsn = Dsn::default();
    dsn.port = match secret.port {
        None => 5432,
        Some(Port::Number(port)) => port,
        Some(Port::Text(port)) => {
            port.trim().parse().map_err(|_| "its port is not a port number".to_owned())?
        }
    };
    dsn.host = secret.host;
    dsn.user = secret.username;
    dsn.database = secret.dbname.unwrap_or_else(|| "postgres".to_owned());
    if dsn.host.is_empty() {
        return Err("its host is empty".to_owned());
    }
    // Handed over as it is: nothing in it needs escaping, for it never becomes part of a connection string here.
    Ok(dsn.with_password(secret.password))
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

    fn expected(port: u16) -> Dsn {
        let mut dsn = Dsn::default();
        dsn.host = "db.example".into();
        dsn.port = port;
        dsn.user = "admin".into();
        dsn.database = "postgres".into();
        dsn.with_password("p@ss/w:rd %#ü'\\")
    }

    fn secret(port: &str) -> String {
        format!(
            r#"{{"dbClusterIdentifier":"c","engine":"postgres","host":"db.example","username":"admin",
                "password":"p@ss/w:rd %#ü'\\"{port}}}"#
        )
    }

    #[test]
    fn a_secret_is_read_whatever_its_password_holds() {
        for (port, number) in [
            ("", 5432),
            (r#","port":5433,"dbname":"postgres""#, 5433),
            (r#","port":"5433""#, 5433),
            (r#","port":null,"dbname":null"#, 5432),
        ] {
            assert_eq!(parse(&secret(port)), Ok(expected(number)), "{port}");
        }
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

    #[test]
    fn the_environment_of_version_0_is_read_with_its_defaults() {
        let environment = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            }
        };
        assert_eq!(database_from_environment(environment(&[("DB_NAME", "x")])).unwrap(), None);

        let bare = database_from_environment(environment(&[("DB_HOST", "h")])).unwrap().unwrap();
        assert_eq!((bare.address().as_str(), bare.user.as_str()), ("h:5432", "postgres"));
        assert_eq!((bare.database.as_str(), bare.has_password()), ("postgres", false));

        let all = database_from_environment(environment(&[
            ("DB_HOST", "db.example"),
            ("DB_PORT", "5433"),
            ("DB_NAME", "postgres"),
            ("DB_USER", "admin"),
            ("DB_PASSWORD", "p@ss/w:rd %#ü'\\"),
        ]));
        assert_eq!(all.unwrap(), Some(expected(5433)));

        let wrong = environment(&[("DB_HOST", "h"), ("DB_PORT", "hunter2")]);
        let said = database_from_environment(wrong).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }
}
