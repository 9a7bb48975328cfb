//! The one pair of clusters that all tests share: starting a server for each test would cost more
//! than the tests. `cargo xtask test` starts a pair once and lends it to every test binary through
//! the environment; a test binary run alone starts its own, which ends with the process.

use std::path::PathBuf;

use tokio::sync::OnceCell;

use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::servers::Version;

/// Names a running pair: `port:folder` of the source, a comma, the same of the target.
pub const PAIR_ENV: &str = "VECFERRY_TEST_PAIR";

/// A source of the version people leave and a target of the version they move to.
#[derive(Debug)]
pub struct Pair {
    /// PostgreSQL 16.2, pgvector 0.6.2.
    pub source: Cluster,
    /// PostgreSQL 18.4, pgvector 0.8.5.
    pub target: Cluster,
}

impl Pair {
    /// Starts both clusters at the same time.
    pub fn start(options: &Options) -> Result<Pair> {
        let (source, target) = std::thread::scope(|scope| {
            let source = scope.spawn(|| Cluster::start(Version::Pg16, options.clone()));
            let target = Cluster::start(Version::Pg18, options.clone());
            let source = source.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (source, target)
        });
        Ok(Pair { source: source?, target: target? })
    }

    /// The value of [`PAIR_ENV`] that lends this pair to another process.
    pub fn lend(&self) -> String {
        let one = |cluster: &Cluster| format!("{}:{}", cluster.port(), cluster.folder().display());
        format!("{},{}", one(&self.source), one(&self.target))
    }

    /// The pair that [`Pair::lend`] described.
    pub fn lent(value: &str) -> Result<Pair> {
        let one = |version, text: &str| {
            let (port, folder) = text.split_once(':')?;
            Some(Cluster::lent(version, port.parse().ok()?, PathBuf::from(folder)))
        };
        value
            .split_once(',')
            .and_then(|(source, target)| {
                let source = one(Version::Pg16, source)?;
                Some(Pair { source, target: one(Version::Pg18, target)? })
            })
            .filter(|pair| pair.source.pid().is_some() && pair.target.pid().is_some())
            .ok_or_else(|| Error::BadPair { name: PAIR_ENV, value: value.to_owned() })
    }
}

/// The shared pair. A test that stops or reconfigures a server starts a [`Cluster`] of its own.
///
/// # Panics
///
/// When the servers cannot be fetched or started: no test can say anything then.
pub async fn pair() -> &'static Pair {
    static PAIR: OnceCell<Pair> = OnceCell::const_new();
    let start = || async {
        let started = tokio::task::spawn_blocking(|| match std::env::var(PAIR_ENV) {
            Ok(value) => Pair::lent(&value),
            Err(_) => Pair::start(&Options::new()),
        });
        match started.await {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => panic!("the test pair did not start: {error}"),
            Err(error) => panic!("the test pair did not start: {error}"),
        }
    };
    PAIR.get_or_init(start).await
}
