//! A login that may change while a migration runs: where it comes from, what it is now, and when it is read again.
//!
//! It is read again only when a server has refused it, by one reader at a time whose answer serves all who wait: a
//! rotation meets every connection at once and must not become as many calls. What the server has accepted before and
//! refuses now is being rotated; between the new password's first use and the moment the secret shows it, seconds may
//! pass (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets_strategies.html>), so such a login
//! is asked for a few times. One that never worked is simply wrong, and is told at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Result};

/// User and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Role.
    pub user: String,
    /// Its password, if there is one.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where a login is kept.
#[async_trait]
pub trait LoginSource: Send + Sync {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Service`] or [`Error::Configuration`], without anything of the login.
    async fn read(&self) -> Result<Login>;

    /// What it is called in messages: `the secret arn:…`.
    fn describe(&self) -> String;
}

/// How long the reader waits before each further reading of a login that worked before.
const ROTATES_WITHIN: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// A login and where to read it again; clones share it.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    source: Box<dyn LoginSource>,
    now: Mutex<Now>,
    /// Held by the one who reads.
    reading: tokio::sync::Mutex<()>,
}

struct Now {
    login: Login,
    /// Whether a server has let it in.
    accepted: bool,
    /// How often it was looked for anew.
    looks: u64,
}

impl Credentials {
    /// Reads the login for the first time.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn read(source: Box<dyn LoginSource>) -> Result<Credentials> {
        let login = source.read().await?;
        Ok(Credentials::known(source, login))
    }

    /// A login that was just read from there.
    pub fn known(source: Box<dyn LoginSource>, login: Login) -> Credentials {
        let now = Mutex::new(Now { login, accepted: false, looks: 0 });
        Credentials(Arc::new(Shared { source, now, reading: tokio::sync::Mutex::new(()) }))
    }

    /// The login as far as is known.
    pub(crate) fn login(&self) -> Login {
        self.now().login.clone()
    }

    /// A server let this login in.
    pub(crate) fn accepted(&self, login: &Login) {
        let mut now = self.now();
        if now.login == *login {
            now.accepted = true;
        }
    }

    /// Looks for another login than the refused one.
    ///
    /// # Errors
    /// `error`, which refused it, when there is no other; that of the source when it cannot be read.
    pub(crate) async fn renew(&self, refused: &Login, error: Error) -> Result<()> {
        let looks = self.now().looks;
        let _one_reads = self.0.reading.lock().await;
        let accepted = {
            let now = self.now();
            if now.login != *refused {
                return Ok(());
            }
            if now.looks != looks {
                // Looked for while this one waited, and not found.
                return Err(self.nothing_new(error));
            }
            now.accepted
        };
        let pauses = if accepted { &ROTATES_WITHIN[..] } else { &[] };
        let found = self.look(refused, pauses).await;
        let mut now = self.now();
        now.looks += 1;
        match found? {
            Some(login) => {
                (now.login, now.accepted) = (login, false);
                tracing::info!(from = self.0.source.describe(), "the login has changed");
                Ok(())
            }
            None => {
                drop(now);
                Err(self.nothing_new(error))
            }
        }
    }

    async fn look(&self, refused: &Login, pauses: &[Duration]) -> Result<Option<Login>> {
        let mut pauses = pauses.iter();
        loop {
            let login = self.0.source.read().await?;
            if login != *refused {
                return Ok(Some(login));
            }
            let Some(pause) = pauses.next() else { return Ok(None) };
            tokio::time::sleep(*pause).await;
        }
    }

    fn nothing_new(&self, error: Error) -> Error {
        let from = self.0.source.describe();
        error.with_hint(format!(
            "{from} holds the login that the server refused: correct it there; if it is being rotated just now, run the \
             same command again"
        ))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.0.source.describe())
    }
}

/// The same place, whatever it holds now.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.0.source.describe() == other.0.source.describe()
    }
}

impl Eq for Credentials {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Side, on};
    use crate::pg::{Dsn, Failure};

    /// Gives one login after the other, the last for ever, and counts.
    struct Given(Vec<&'static str>, Arc<AtomicUsize>);

    #[async_trait]
    impl LoginSource for Given {
        async fn read(&self) -> Result<Login> {
            let at = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
            // Everybody who wants to read meanwhile does so.
            tokio::task::yield_now().await;
            Ok(login(self.0[at]))
        }

        fn describe(&self) -> String {
            "the secret s".into()
        }
    }

    fn login(password: &str) -> Login {
        Login { user: "u".into(), password: Some(password.into()) }
    }

    fn given(passwords: &[&'static str]) -> (Credentials, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let source = Given(passwords.to_vec(), count.clone());
        (Credentials::known(Box::new(source), login("hunter1")), count)
    }

    fn refused() -> Error {
        let failure = Failure::server("28P01", "password authentication failed", None, None);
        on::<Failure>(Side::Source, "connect")(failure)
    }

    #[tokio::test]
    async fn many_that_are_refused_at_once_make_one_call() {
        for (passwords, found) in [(["hunter2"], true), (["hunter1"], false)] {
            let (credentials, count) = given(&passwords);
            let all =
                (0..20).map(|_| async { credentials.renew(&login("hunter1"), refused()).await });
            let all = futures_util::future::join_all(all).await;
            assert!(all.iter().all(|one| one.is_ok() == found), "{all:?}");
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn a_login_that_never_worked_is_wrong_at_once_and_says_where_it_stands() {
        let (credentials, count) = given(&["hunter1"]);
        let error = credentials.renew(&login("hunter1"), refused()).await.unwrap_err();
        assert_eq!((error.sqlstate(), count.load(Ordering::SeqCst)), (Some("28P01"), 1));
        assert!(error.hint().unwrap().contains("the secret s"), "{:?}", error.hint());
        let shown = format!("{credentials:?} {error} {error:?} {:?}", login("hunter1"));
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[tokio::test]
    async fn one_that_worked_is_waited_for() {
        let (credentials, count) = given(&["hunter1", "hunter1", "hunter2"]);
        credentials.accepted(&login("hunter1"));
        credentials.renew(&login("hunter1"), refused()).await.unwrap();
        assert_eq!((credentials.login(), count.load(Ordering::SeqCst)), (login("hunter2"), 3));
        // Whoever comes late with the old one only takes the new one.
        credentials.renew(&login("hunter1"), refused()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn only_a_refused_login_is_read_again() {
        let (credentials, count) = given(&["hunter2"]);
        let dsn = Dsn::default().with_credentials(credentials);
        let other = on::<Failure>(Side::Source, "connect")(Failure::Closed);
        assert!(dsn.renewed(&dsn.login(), other).await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 0);
        dsn.renewed(&dsn.login(), refused()).await.unwrap();
        assert_eq!((dsn.login(), dsn.user.as_str()), (login("hunter2"), "u"));
        assert!(!format!("{dsn} {dsn:?}").contains("hunter"));
    }
}
