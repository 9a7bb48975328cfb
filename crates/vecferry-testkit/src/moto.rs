//! moto's server: DynamoDB, S3, STS and Secrets Manager on the loopback address, over the real wire.
//!
//! The server ends when its standard input does. Only we hold the other end of that pipe, so it ends with us, however we
//! end, SIGKILL included.

pub(crate) mod wire;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::packages::Packages;

/// Names a running server of another process: its address, `http://127.0.0.1:5000`.
pub const MOTO_ENV: &str = "VECFERRY_TEST_MOTO";

const PACKAGES: Packages =
    Packages { name: "moto", requirements: include_str!("moto/requirements.txt") };

/// Reading ends when the other end of the pipe is closed, by us or by our death. The port is chosen by the system and
/// told in the log, so that no other program can take it in between.
const LAUNCHER: &str = "
import os, sys, threading

def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)

threading.Thread(target=end_with_parent, daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])
";

/// What the log says right after the server began to listen, before the address.
const LISTENING: &str = "Running on ";

/// A healthy start takes a second; a busy machine with two cores may need many.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Lines of the log that are kept for an error message.
const LOG_LINES: usize = 12;

/// The region that tests live in.
pub const MOTO_REGION: &str = "us-east-1";

/// The account that moto plays, and gives every resource to.
pub const MOTO_ACCOUNT: &str = "123456789012";

/// A running server. What tests keep in it is shared by all of them: take names from [`Moto::unique`].
#[derive(Debug)]
pub struct Moto {
    endpoint: String,
    /// `None` when another process owns the server and only lent it to us.
    server: Option<Mutex<Child>>,
}

impl Moto {
    /// Fetches the packages where they are not there yet.
    pub fn fetch() -> Result<PathBuf> {
        PACKAGES.fetch()
    }

    /// Starts a server and waits until it listens. It ends when the value is dropped, or with this process.
    pub fn start() -> Result<Moto> {
        let mut command = PACKAGES.python()?;
        command.args(["-c", LAUNCHER]).env("PYTHONUNBUFFERED", "1");
        command.env("AWS_DEFAULT_REGION", MOTO_REGION).env("MOTO_ACCOUNT_ID", MOTO_ACCOUNT);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C in a terminal is for the developer's command.
        command.process_group(0).current_dir("/");
        let mut child =
            command.spawn().map_err(|source| Error::Spawn { program: "python3".into(), source })?;
        match child.stderr.take().map(wait_until_listening) {
            Some(Ok(endpoint)) => Ok(Moto { endpoint, server: Some(Mutex::new(child)) }),
            outcome => {
                // Not handed to anyone, so it must end here.
                let _ = child.kill();
                let _ = child.wait();
                let log = outcome.and_then(std::result::Result::err).unwrap_or_default();
                Err(Error::Double { name: "moto", log })
            }
        }
    }

    /// The server that [`Moto::lend`] described; who lent it ends it.
    pub fn lent(endpoint: &str) -> Moto {
        Moto { endpoint: endpoint.to_owned(), server: None }
    }

    /// The value of [`MOTO_ENV`] that lends this server to another process.
    pub fn lend(&self) -> &str {
        &self.endpoint
    }

    /// Its address, `http://127.0.0.1:5000`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Process id, unless another process owns the server.
    pub fn pid(&self) -> Option<u32> {
        let server = self.server.as_ref()?;
        Some(server.lock().unwrap_or_else(PoisonError::into_inner).id())
    }

    /// What sends any AWS SDK, or a program of ours, to this server: endpoint, region, and credentials that it takes.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", MOTO_REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
        ]
    }

    /// A name that no other test uses: `orders-1234-7`. Fit for tables, buckets and secrets.
    pub fn unique(prefix: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{}-{number}", std::process::id())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let Some(server) = &self.server else { return };
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        drop(server.stdin.take());
        let _ = server.wait();
    }
}

/// The one server that all tests of this process share; `cargo xtask test` lends one to all test binaries.
///
/// # Panics
///
/// When it cannot be fetched or started: no test can say anything then.
pub async fn moto() -> &'static Moto {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    let start = || async {
        let started = tokio::task::spawn_blocking(|| match std::env::var(MOTO_ENV) {
            Ok(endpoint) => Ok(Moto::lent(&endpoint)),
            Err(_) => Moto::start(),
        });
        match started.await {
            Ok(Ok(moto)) => moto,
            Ok(Err(error)) => panic!("moto did not start: {error}"),
            Err(error) => panic!("moto did not start: {error}"),
        }
    };
    MOTO.get_or_init(start).await
}

/// Reads the log until it names the address, or gives its last lines. Afterwards it is read on, because a full pipe
/// would stop the server.
fn wait_until_listening(log: ChildStderr) -> std::result::Result<String, String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut log = BufReader::new(log);
        let _ = tell.send(read_address(&mut log));
        let _ = std::io::copy(&mut log, &mut std::io::sink());
    });
    let waited = || Err(format!("not a word of an address within {} s", READY_WITHIN.as_secs()));
    told.recv_timeout(READY_WITHIN).unwrap_or_else(|_| waited())
}

fn read_address(log: &mut impl BufRead) -> std::result::Result<String, String> {
    let mut last = VecDeque::new();
    for line in log.lines().map_while(std::result::Result::ok) {
        if let Some((_, address)) = line.split_once(LISTENING) {
            return Ok(address.trim().trim_end_matches('/').to_owned());
        }
        last.push_back(line);
        if last.len() > LOG_LINES {
            last.pop_front();
        }
    }
    Err(Vec::from(last).join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let mut log =
            "WARNING: a development server\n * Running on http://127.0.0.1:4711\nPress".as_bytes();
        assert_eq!(read_address(&mut log), Ok("http://127.0.0.1:4711".to_owned()));
    }

    #[test]
    fn a_log_without_an_address_is_told_by_its_end() {
        let text: String = (0..20).map(|number| format!("line {number}\n")).collect();
        let said = read_address(&mut text.as_bytes()).unwrap_err();
        assert!(said.starts_with("line 8\n") && said.ends_with("line 19"), "{said}");
    }

    #[test]
    fn every_package_is_pinned_by_version_and_hash() {
        let packages: Vec<&str> = PACKAGES
            .requirements
            .lines()
            .filter(|line| line.starts_with(char::is_alphanumeric))
            .collect();
        assert!(packages.iter().all(|line| line.contains("==")), "{packages:?}");
        assert!(packages.iter().any(|line| line.starts_with("moto==5.2.5")));
        assert!(
            !PACKAGES.requirements.contains("--find-links")
                && !PACKAGES.requirements.contains("--index-url")
        );
    }
}
