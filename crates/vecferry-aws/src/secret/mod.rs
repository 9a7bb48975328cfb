//! Where a database is and how to log in, from a secret of Secrets Manager: Bedrock Chat's own from version 1 on
//! (`DB_SECRETS_ARN`), one that RDS manages, or any other of their layout. Only what carries the label AWSCURRENT is read:
//! what a rotation prepares (AWSPENDING) does not hold yet. No message holds any of a secret's text.

mod edit;
mod environment;
mod login;
mod switch;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use serde_json::{Map, Value};
use vecferry_core::pg::{Credentials, Dsn, DsnParts, Login};
use vecferry_core::{Error, Result};

use crate::account::Account;
use crate::failure::failed;
pub use environment::database_from_environment;
use login::SecretLogin;
pub use switch::SecretSwitch;

/// The label of the version that is in force.
const CURRENT: &str = "AWSCURRENT";

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
    let answer = answer.map_err(|error| refused(&format!("read the secret {secret}"), &error))?;
    let text = answer.secret_string().ok_or_else(|| unusable(secret, "it is not a text"))?;
    Ok(text.to_owned())
}

/// What Secrets Manager said, with what the operator can do about the refusals that are known.
fn refused<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let failure = failed("Secrets Manager", doing, error);
    let service = error.as_service_error();
    let code = service.and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let message = service.and_then(ProvideErrorMetadata::message).unwrap_or_default();
    match hint(code, message) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// What to do about a refusal
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_Errors>).
fn hint(code: &str, message: &str) -> Option<&'static str> {
    Some(match code {
        "InvalidRequestException" if message.contains("delet") => {
            "it is marked for deletion: `aws secretsmanager restore-secret --secret-id …` takes that back, or name another \
             one"
        }
        "ResourceNotFoundException" if message.contains("staging label") => {
            "none of its versions has that label: put a value into it, or name another one"
        }
        "ResourceNotFoundException" => {
            "a name is looked for in one region: is it the right one (--region), and the right account (--profile)? An \
             ARN names both"
        }
        "DecryptionFailure" => "its KMS key must be enabled, and let you decrypt with it",
        "AccessDeniedException" => {
            "`vecferry check --print-policy METHOD` prints what is needed; a key of its own needs kms:Decrypt besides"
        }
        _ => return None,
    })
}

/// Place and login of a database's secret, as RDS writes it; other keys (`engine`, `dbClusterIdentifier`) are of no use
/// here. An error says what is wrong and nothing of the text.
fn parse(text: &str) -> Result<(DsnParts, Login), String> {
    // What serde says of a text may repeat it.
    let secret: Value = serde_json::from_str(text).map_err(|_| "it is not JSON")?;
    let Value::Object(secret) = secret else { return Err("it is not a JSON object".to_owned()) };
    let needed = |key| word(&secret, key)?.ok_or_else(|| format!("it lacks {key}"));
    let (user, password) = (needed("username")?, needed("password")?);
    // Absent in secrets that RDS manages itself (`ManageMasterUserPassword`): those hold user and password only
    // (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>).
    let (host, database) = (word(&secret, "host")?, word(&secret, "dbname")?);
    if host.as_deref() == Some("") {
        return Err("its host is empty".to_owned());
    }
    let place = DsnParts { host, port: port(&secret)?, database, ..DsnParts::default() };
    // Handed over as it is: nothing in it needs escaping, for it never becomes part of a connection string here.
    Ok((place, Login { user, password: Some(password) }))
}

/// A value that is a text; null counts as absent.
fn word(secret: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match secret.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(_) | Value::Bool(_)) => {
            Err(format!("its {key} is not a text: put it in quotes"))
        }
        Some(Value::Array(_) | Value::Object(_)) => Err(format!("its {key} is not a text")),
    }
}

/// RDS writes a number, people write texts.
fn port(secret: &Map<String, Value>) -> Result<Option<u16>, String> {
    let port = match secret.get("port") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    match port {
        Some(port) if port > 0 => Ok(Some(port)),
        _ => Err("its port is not a number from 1 to 65535".to_owned()),
    }
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
        let of =
            |more: &str| format!(r#"{{"host":"h","username":"u","password":"hunter2"{more}}}"#);
        for (text, why) in [
            ("hunter2".to_owned(), "it is not JSON"),
            (r#"{"password":"hunter2""#.to_owned(), "it is not JSON"),
            (r#""hunter2""#.to_owned(), "it is not a JSON object"),
            (r#"["hunter2"]"#.to_owned(), "it is not a JSON object"),
            (r#"{"host":"h","password":"hunter2"}"#.to_owned(), "it lacks username"),
            (r#"{"host":"h","username":"hunter2"}"#.to_owned(), "it lacks password"),
            (r#"{"username":"u","password":null}"#.to_owned(), "it lacks password"),
            (
                r#"{"username":"u","password":8234971}"#.to_owned(),
                "its password is not a text: put it in quotes",
            ),
            (
                r#"{"username":true,"password":"p"}"#.to_owned(),
                "its username is not a text: put it in quotes",
            ),
            (r#"{"username":"u","password":["hunter2"]}"#.to_owned(), "its password is not a text"),
            (of(r#","dbname":{"hunter2":1}"#), "its dbname is not a text"),
            (of(r#","dbname":8234971"#), "its dbname is not a text: put it in quotes"),
            (r#"{"host":1,"username":"u","password":"p"}"#.to_owned(), "its host is not a text"),
            (r#"{"host":"","username":"u","password":"hunter2"}"#.to_owned(), "its host is empty"),
        ] {
            let said = unusable("arn", &parse(&text).unwrap_err()).to_string();
            assert!(said.ends_with(why) || said.contains(&format!("{why}:")), "{text}: {said}");
            assert!(!said.contains("hunter2") && !said.contains("8234971"), "{said}");
        }
        for port in [
            "-1",
            "0",
            "70000",
            "5432.5",
            "1e99",
            "[5432]",
            "true",
            "\"\"",
            "\"hunter2\"",
            "\"-1\"",
            "\"65536\"",
        ] {
            let said = parse(&of(&format!(r#","port":{port}"#))).unwrap_err();
            assert_eq!(said, "its port is not a number from 1 to 65535", "{port}");
        }
    }

    #[test]
    fn a_refusal_that_is_known_has_a_hint_of_its_own() {
        for (code, message, words) in [
            ("InvalidRequestException", "… because it was marked for deletion.", "restore-secret"),
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
                "--region",
            ),
            (
                "ResourceNotFoundException",
                "… secret value for staging label: AWSCURRENT",
                "put a value",
            ),
            ("DecryptionFailure", "", "KMS key"),
            ("AccessDeniedException", "", "--print-policy"),
        ] {
            assert!(hint(code, message).unwrap().contains(words), "{code}: {message}");
        }
        assert_eq!(
            (hint("InvalidRequestException", "other"), hint("ExpiredToken", "")),
            (None, None)
        );
    }
}
