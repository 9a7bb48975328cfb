//! A proxy on the loopback address that passes bytes faithfully until it is told otherwise. Every
//! fault can be switched on and off while connections run, so a test breaks the very connection
//! that is copying, not the next one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Result, file};

/// Bytes passed at once. Small enough that `cut_after` and `slow` act within a row of a few KB.
const PIECE: usize = 8 * 1024;

/// A running proxy; dropping it cuts every connection and frees the port.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    gate: Arc<Gate>,
    acceptor: Option<JoinHandle<()>>,
}

/// What all connections look at before each piece, and where they wait while held.
#[derive(Debug, Default)]
struct Gate {
    faults: Mutex<Faults>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Faults {
    refusing: bool,
    held: bool,
    closing: bool,
    bytes_per_second: Option<u64>,
    /// Bytes that may still pass before everything is cut.
    allowance: Option<u64>,
    passed: u64,
    accepted: u64,
    /// Both ends of every open connection, by the count of `accepted` it came with.
    open: BTreeMap<u64, [TcpStream; 2]>,
}

/// What may be done with the bytes just read.
enum Verdict {
    Pass,
    /// Only the first so many bytes; the connections end after them.
    CutAfter(usize),
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream`, say `127.0.0.1:5432`.
    pub fn start(upstream: &str) -> Result<FaultProxy> {
        let here = Path::new("127.0.0.1:0");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(file("bind", here))?;
        let address = listener.local_addr().map_err(file("bind", here))?;
        let gate = Arc::new(Gate::default());
        let (for_acceptor, upstream) = (Arc::clone(&gate), upstream.to_owned());
        let acceptor = std::thread::spawn(move || accept(&listener, &upstream, &for_acceptor));
        Ok(FaultProxy { address, gate, acceptor: Some(acceptor) })
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The same URL through this proxy: host and port replaced, all else kept.
    pub fn url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap_or(("postgresql", url));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let login = authority.rsplit_once('@').map(|(login, _)| format!("{login}@"));
        format!("{scheme}://{}{}/{path}", login.unwrap_or_default(), self.address)
    }

    /// New connections are closed as soon as they are accepted; open ones go on.
    pub fn refuse(&self) {
        self.gate.change(|faults| faults.refusing = true);
    }

    /// Cuts every connection after `bytes` more bytes, counted over all connections and both
    /// directions. Happens once; later connections are passed faithfully.
    pub fn cut_after(&self, bytes: u64) {
        self.gate.change(|faults| faults.allowance = Some(bytes));
    }

    /// Nothing passes any more, but nothing is closed: a network that went silent.
    pub fn hold(&self) {
        self.gate.change(|faults| faults.held = true);
    }

    /// Faithful again: ends `refuse`, `hold`, `slow` and a `cut_after` that did not happen yet.
    pub fn release(&self) {
        self.gate.change(|faults| {
            (faults.refusing, faults.held) = (false, false);
            (faults.bytes_per_second, faults.allowance) = (None, None);
        });
    }

    /// Each direction of each connection passes no more than this.
    pub fn slow(&self, bytes_per_second: u64) {
        self.gate.change(|faults| faults.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Cuts every open connection at once; new ones are accepted.
    pub fn cut_now(&self) {
        self.gate.change(Faults::cut);
    }

    /// Bytes passed so far, over all connections and both directions.
    pub fn passed(&self) -> u64 {
        self.gate.lock().passed
    }

    /// Connections passed on so far.
    pub fn accepted(&self) -> u64 {
        self.gate.lock().accepted
    }

    /// Waits until `bytes` have passed; false when that took longer than `within`.
    pub fn wait_until_passed(&self, bytes: u64, within: Duration) -> bool {
        let faults = self.gate.lock();
        let short = |faults: &mut Faults| faults.passed < bytes;
        match self.gate.changed.wait_timeout_while(faults, within, short) {
            Ok((_, outcome)) => !outcome.timed_out(),
            Err(_) => false,
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.gate.change(|faults| {
            faults.closing = true;
            faults.cut();
        });
        // The acceptor looks at `closing` when a connection comes, so one is made.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Faults {
    fn cut(&mut self) {
        for stream in std::mem::take(&mut self.open).into_values().flatten() {
            // Fails only for a connection that has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits as long as the faults demand and says how much of `bytes` may pass.
    fn admit(&self, bytes: usize) -> Verdict {
        let mut faults = self.lock();
        let pace = |faults: &Faults| faults.bytes_per_second;
        if let Some(rate) = pace(&faults) {
            let pause = Duration::from_secs_f64(bytes as f64 / rate as f64);
            // A changed rate or a cut ends the pause early; that is wanted.
            let slow = |faults: &mut Faults| pace(faults) == Some(rate) && !faults.closing;
            faults = match self.changed.wait_timeout_while(faults, pause, slow) {
                Ok((faults, _)) => faults,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let held = |faults: &mut Faults| faults.held && !faults.closing;
        let mut faults =
            self.changed.wait_while(faults, held).unwrap_or_else(PoisonError::into_inner);
        if let Some(allowance) = faults.allowance {
            if allowance <= bytes as u64 {
                faults.allowance = None;
                faults.passed += allowance;
                return Verdict::CutAfter(allowance as usize);
            }
            faults.allowance = Some(allowance - bytes as u64);
        }
        faults.passed += bytes as u64;
        self.changed.notify_all();
        Verdict::Pass
    }

    /// Registers a connection's ends so that they can be cut; `None` when it must not be.
    fn open(&self, client: &TcpStream, server: &TcpStream) -> Option<u64> {
        let ends = [client.try_clone().ok()?, server.try_clone().ok()?];
        let mut faults = self.lock();
        if faults.refusing || faults.closing {
            return None;
        }
        faults.accepted += 1;
        let number = faults.accepted;
        faults.open.insert(number, ends);
        Some(number)
    }
}

fn accept(listener: &TcpListener, upstream: &str, gate: &Gate) {
    // The scope owns every connection's threads: the acceptor ends after the last of them.
    std::thread::scope(|scope| {
        for client in listener.incoming().filter_map(|client| client.ok()) {
            let (refusing, closing) = {
                let faults = gate.lock();
                (faults.refusing, faults.closing)
            };
            if closing {
                break;
            }
            if refusing {
                continue;
            }
            let Ok(server) = TcpStream::connect(upstream) else { continue };
            let (Ok(client_again), Ok(server_again)) = (client.try_clone(), server.try_clone())
            else {
                continue;
            };
            if let Some(number) = gate.open(&client, &server) {
                // Small protocol messages must not wait for one another.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                for (from, to) in [(client, server), (server_again, client_again)] {
                    scope.spawn(move || {
                        pump(from, to, gate);
                        gate.change(|faults| drop(faults.open.remove(&number)));
                    });
                }
            }
        }
    });
}

/// Passes one direction of one connection until either end closes.
fn pump(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let verdict = gate.admit(length);
        let length = if let Verdict::CutAfter(cut) = verdict { cut } else { length };
        let written = to.write_all(&piece[..length]);
        if matches!(verdict, Verdict::CutAfter(_)) {
            gate.change(Faults::cut);
        }
        if written.is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
