//! One throwaway PostgreSQL cluster on a free loopback port.
//!
//! It must not outlive the process that started it, however that process ends, SIGKILL included.
//! Nothing of ours runs after a SIGKILL, so a small shell (the reaper) waits on a pipe whose other
//! end only we hold: when we go, the pipe closes, and the reaper ends the server and removes its
//! folder. Dropping a [`Cluster`] closes the same pipe, so there is one way to die, not two.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::account;
use crate::error::{Error, Result, file};
use crate::servers::Version;
use crate::wheel::run;

/// Long enough for crash recovery on a busy two-core machine; a healthy start takes half a second.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often a condition is looked at: short beside a start, long beside a look.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits for its standard input to close, then ends the server whose folder is `$1`. The command
/// line is compared because a pid file can outlive its process and the number be given away again.
const REAPER: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$1/data"; then
    kill -QUIT "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
fi
rm -rf "$1"
"#;

/// How a cluster is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    password: Option<String>,
    durable: bool,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Trust on the loopback address, nothing flushed, `wal_level=logical`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the superuser for this password, by SCRAM.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Flushes what a production server flushes. Off otherwise: no test survives a power cut.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Sets one server parameter; a later one wins over an earlier one and over the defaults.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Connections ended, a checkpoint written: an orderly shutdown.
    Fast,
    /// As if the machine had lost its power: recovery at the next start.
    Immediate,
}

/// A running (or stopped) PostgreSQL cluster that dies with this value and with this process.
#[derive(Debug)]
pub struct Cluster {
    version: Version,
    port: u16,
    folder: PathBuf,
    password: Option<String>,
    /// `None` when another process owns the cluster and only lent it to us.
    owned: Option<Mutex<Owned>>,
}

#[derive(Debug)]
struct Owned {
    options: Options,
    server: Option<Child>,
    /// Its standard input is the pipe described above.
    reaper: Child,
}

impl Cluster {
    /// Creates a cluster and waits until it accepts connections.
    pub fn start(version: Version, options: Options) -> Result<Cluster> {
        let bin = version.bin_dir()?;
        let folder = create_folder()?;
        // From here on the folder has an owner, so every early return below removes it.
        let reaper = start_reaper(&folder)?;
        let password = options.password.clone();
        let owned = Some(Mutex::new(Owned { options, server: None, reaper }));
        let mut cluster = Cluster { version, port: 0, folder, password, owned };
        cluster.initdb(&bin)?;
        // A free port can be taken by someone else before the server binds it; then try another.
        for attempt in 1.. {
            cluster.port = free_port()?;
            match cluster.start_again() {
                Err(Error::DidNotStart { log, .. })
                    if attempt < 5 && log.contains("Address already in use") => {}
                outcome => return outcome.map(|()| cluster),
            }
        }
        unreachable!("the loop above only ends by returning")
    }

    /// A cluster that another process started and keeps alive.
    pub(crate) fn lent(version: Version, port: u16, folder: PathBuf) -> Cluster {
        Cluster { version, port, folder, password: None, owned: None }
    }

    /// A connection URL of the superuser `postgres` for a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        let password =
            self.password.as_ref().map(|text| format!(":{}", percent(text))).unwrap_or_default();
        let database = percent(database);
        format!("postgresql://postgres{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Which PostgreSQL it runs.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The loopback port; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder that holds the data directory, the log and the Unix socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the server has logged since the cluster was created.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The postmaster's process id, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        match &self.owned {
            Some(owned) => lock(owned).server.as_ref().map(Child::id),
            None => self.pid_file().first()?.parse().ok(),
        }
    }

    /// Stops the server and waits for its end; the data stays. Stopping twice is no error.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mut owned = lock(self.owned("stop")?);
        let Some(mut server) = owned.server.take() else { return Ok(()) };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        if let Some(pid) = i32::try_from(server.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself already; the wait below tells either way.
            let _ = kill_process(pid, signal);
        }
        server.wait().map_err(file("wait for the server in", &self.folder)).map(drop)
    }

    /// Starts a stopped server on the same port and waits until it accepts connections.
    pub fn start_again(&self) -> Result<()> {
        let mut owned = lock(self.owned("start")?);
        let server = self.spawn_server(&owned.options)?;
        let server = self.wait_until_ready(server)?;
        owned.server = Some(server);
        Ok(())
    }

    /// Stops the server, changes parameters and starts it again.
    pub fn restart(&self, how: Stop, settings: &[(&str, &str)]) -> Result<()> {
        self.stop(how)?;
        let mut owned = lock(self.owned("restart")?);
        for (name, value) in settings {
            owned.options.settings.push(((*name).to_owned(), (*value).to_owned()));
        }
        drop(owned);
        self.start_again()
    }

    /// No session that begins from now on can make a file larger than this: it meets the limit as it would meet a
    /// full disk. `None` lifts it. Log and WAL are files too, so 16 MiB (a WAL segment) is the least.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        let pid = self.pid().unwrap_or_default().to_string();
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let mut prlimit = Command::new("prlimit");
        // The soft limit only, which its own account may raise again.
        prlimit.args(["--pid", &pid, &format!("--fsize={limit}:")]);
        run(account::unprivileged(&mut prlimit), "prlimit").map(drop)
    }

    fn owned(&self, action: &'static str) -> Result<&Mutex<Owned>> {
        self.owned.as_ref().ok_or(Error::Shared { action })
    }

    fn initdb(&self, bin: &Path) -> Result<()> {
        let mut initdb = Command::new(bin.join("initdb"));
        initdb
            .arg("--pgdata")
            .arg(self.data_dir())
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--no-sync", "--no-instructions"])
            .current_dir(&self.folder);
        let password_file = self.folder.join("password");
        match &self.password {
            None => initdb.arg("--auth=trust"),
            Some(password) => {
                fs::write(&password_file, password).map_err(file("write", &password_file))?;
                account::hand_over(&password_file)?;
                initdb.arg("--auth=scram-sha-256").arg("--pwfile").arg(&password_file)
            }
        };
        run(account::unprivileged(&mut initdb), "initdb").map(drop)
    }

    fn spawn_server(&self, options: &Options) -> Result<Child> {
        let program = self.version.bin_dir()?.join("postgres");
        let log_path = self.folder.join("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(file("open", &log_path))?;
        let log_again = log.try_clone().map_err(file("open", &log_path))?;
        let mut command = Command::new(&program);
        command.arg("-D").arg(self.data_dir()).args(["-p", &self.port.to_string()]);
        for (name, value) in self.parameters(options) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A group of its own: Ctrl-C in a terminal is for the developer's command, and our end
        // is noticed through the pipe.
        command.stdin(Stdio::null()).stdout(log).stderr(log_again).process_group(0);
        account::unprivileged(command.current_dir(&self.folder))
            .spawn()
            .map_err(|source| Error::Spawn { program, source })
    }

    fn parameters(&self, options: &Options) -> Vec<(String, String)> {
        let socket_folder = self.folder.display().to_string();
        let mut defaults = vec![
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &socket_folder),
            ("wal_level", "logical"),
            ("max_connections", "200"),
            ("max_wal_senders", "40"),
            ("max_replication_slots", "40"),
            ("max_logical_replication_workers", "20"),
            ("max_worker_processes", "40"),
            ("shared_buffers", "128MB"),
            ("max_wal_size", "2GB"),
        ];
        if !options.durable {
            defaults.extend([("fsync", "off"), ("full_page_writes", "off")]);
        }
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        defaults.iter().map(own).chain(options.settings.iter().cloned()).collect()
    }

    /// The server says "ready" in its pid file, as `pg_ctl` reads it; no connection is needed.
    fn wait_until_ready(&self, mut server: Child) -> Result<Child> {
        let started = Instant::now();
        loop {
            if matches!(server.try_wait(), Ok(Some(_))) {
                return Err(Error::DidNotStart {
                    version: self.version.postgres(),
                    log: self.log_tail(),
                });
            }
            let lines = self.pid_file();
            let ours = lines.first().is_some_and(|pid| *pid == server.id().to_string());
            if ours && lines.get(7).is_some_and(|status| status.trim() == "ready") {
                return Ok(server);
            }
            if started.elapsed() > READY_WITHIN {
                // Not handed to anyone, so it must end here.
                let _ = server.kill();
                let _ = server.wait();
                return Err(Error::NotReady {
                    version: self.version.postgres(),
                    seconds: READY_WITHIN.as_secs(),
                    log: self.log_tail(),
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn pid_file(&self) -> Vec<String> {
        let text = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(owned) = &self.owned else { return };
        let mut owned = lock(owned);
        // Closing the pipe is the order; reaping our child lets the reaper see that it is gone.
        drop(owned.reaper.stdin.take());
        if let Some(mut server) = owned.server.take() {
            let _ = server.wait();
        }
        let _ = owned.reaper.wait();
    }
}

fn start_reaper(folder: &Path) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", REAPER, "vecferry-testkit-reaper"]).arg(folder).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // As ourselves, not as the server's account: the folder's own entry belongs to our parent
    // folder, which may be sticky.
    command.spawn().map_err(|source| Error::Spawn { program: "sh".into(), source })
}

fn create_folder() -> Result<PathBuf> {
    let mut parent = std::env::temp_dir();
    if account::check_reachable(&parent).is_err() {
        parent = PathBuf::from("/tmp");
    }
    let folder = tempfile::Builder::new()
        .prefix("vecferry-pg-")
        .tempdir_in(&parent)
        .map_err(file("create a folder in", &parent))?;
    account::hand_over(folder.path())?;
    Ok(folder.keep())
}

fn free_port() -> Result<u16> {
    let any = Path::new("127.0.0.1:0");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(file("bind", any))?;
    Ok(listener.local_addr().map_err(file("bind", any))?.port())
}

/// Percent-encodes all but the characters that are safe everywhere in a URL.
pub(crate) fn percent(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// A test that panicked while holding the lock must not keep the others from stopping servers.
fn lock(owned: &Mutex<Owned>) -> MutexGuard<'_, Owned> {
    owned.lock().unwrap_or_else(PoisonError::into_inner)
}
