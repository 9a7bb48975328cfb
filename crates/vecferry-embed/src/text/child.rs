//! The child's end: reads limits, then documents, one after the other, and says what became of each.
//!
//! The first thread only listens to the parent. When the pipe ends, because the parent is done or dead, it kills
//! the process, whatever a reader is busy with. (`PR_SET_PDEATHSIG` would do it when the parent's *thread* ends,
//! and threads of an async runtime end whenever it likes.)

use std::io::{self, BufRead, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Builder;

use rustix::process::{Signal, getpid, kill_process};

use super::error::{Error, machine};
use super::limits::Limits;
use super::protocol::{LINE, Outcome, Reply, Request};
use super::read::read;
use crate::document::Reason;

/// Stack of the thread that reads documents: recursion in PDF and HTML goes deep before it is absurd. Only what is
/// touched takes memory.
const STACK: usize = 64 << 20;

/// How much a child may have grown, in bytes of address space, before it ends and another takes its place. What an
/// allocator keeps would otherwise count against the next document's limit.
const GROWTH: u64 = 256 << 20;

/// The least that a page of memory has, in bytes. Where pages are larger, a child is replaced later.
const PAGE: u64 = 4096;

/// Serves a parent over standard input and output until it closes them; the whole life of a child process.
///
/// The program calls this first thing when it is started with the arguments given to
/// [`Extractor::new`](super::Extractor::new), before it starts threads, reads settings or writes anything.
pub fn extract_in_child() -> ExitCode {
    // A panic's message may quote the document; that there was one is told by the reply.
    std::panic::set_hook(Box::new(|_| {}));
    match listen() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn listen() -> Result<(), Error> {
    let mut input = io::stdin().lock();
    let limits: Limits = parse(&line(&mut input)?)?;
    limits.hold()?;
    // One: the parent sends the next document after the reply to the last.
    let (sender, receiver) = sync_channel(1);
    Builder::new()
        .name("reader".to_owned())
        .stack_size(STACK)
        .spawn(move || serve(&limits, &receiver))
        .map_err(machine("start a reader's thread"))?;
    loop {
        let line = line(&mut input)?;
        let gone = line.is_empty() || sender.send(parse(&line)?).is_err();
        if gone {
            // Not an exit: that waits for locks which a busy reader may hold.
            let killed = kill_process(getpid(), Signal::KILL);
            return killed.map_err(|error| machine("end a reader")(error.into()));
        }
    }
}

/// Serves until a reply says that it is the last, and then ends the process.
fn serve(limits: &Limits, requests: &Receiver<Request>) {
    let fresh = address_space();
    while let Ok(request) = requests.recv() {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            limits.wind_up()?;
            read(&request, limits)
        }));
        // After a panic, a library's statics may be in any state.
        let panicked = answer.is_err();
        let outcome = answer.unwrap_or_else(|_| {
            Err(Error::lost(Reason::Broken, "its reader failed in a way that it should not"))
        });
        let grown = address_space().saturating_sub(fresh) > GROWTH;
        let reply = Reply { outcome: outcome.unwrap_or_else(outcome_of), last: panicked || grown };
        if tell(&reply).is_err() || reply.last {
            break;
        }
    }
    std::process::exit(0);
}

fn outcome_of(error: Error) -> Outcome {
    match error {
        Error::Lost(lost) => Outcome::Lost(lost),
        Error::Machine { action, source } => {
            Outcome::Failed { cause: format!("{action}: {source}") }
        }
    }
}

fn tell(reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn line(input: &mut impl BufRead) -> Result<String, Error> {
    let mut line = String::new();
    input.take(LINE).read_line(&mut line).map_err(machine("listen to the parent"))?;
    Ok(line)
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, Error> {
    serde_json::from_str(line).map_err(|error| machine("understand the parent")(error.into()))
}

/// This process's address space in bytes (proc(5): the first field of `statm`, in pages); 0 where it is not known.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().next()?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}
