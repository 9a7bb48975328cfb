//! Where Bedrock Chat's database was before version 1: variables of the environment (`embedding/main.py` of
//! <https://github.com/aws-samples/bedrock-chat> at v0.4.10).

use vecferry_core::pg::{Dsn, DsnParts};
use vecferry_core::{Error, Result};

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
    Ok(Some(
        DsnParts {
            host: Some(host),
            port: Some(port),
            database: Some(variable("DB_NAME").unwrap_or_else(|| "postgres".to_owned())),
            user: Some(variable("DB_USER").unwrap_or_else(|| "postgres".to_owned())),
            password: variable("DB_PASSWORD"),
            ..DsnParts::default()
        }
        .complete(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let all = all.unwrap().unwrap();
        assert_eq!(all.to_string(), "postgresql://admin@db.example:5433/postgres");
        assert!(all.has_password() && !format!("{all:?}").contains("p@ss"));

        let wrong = environment(&[("DB_HOST", "h"), ("DB_PORT", "hunter2")]);
        let said = database_from_environment(wrong).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }
}
