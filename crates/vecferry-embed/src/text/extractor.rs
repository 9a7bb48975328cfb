//! The worker's end: child processes, each busy with one document at a time, and what is made of their answers.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::error::{Error, machine};
use super::format::{Format, Hints};
use super::limits::Limits;
use super::protocol::{LINE, Outcome, Reply, Request};
use super::verdict::{TAIL, verdict};
use crate::document::Reason;

/// Reads documents in child processes.
pub struct Extractor {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: Limits,
    /// As many documents are read at the same time.
    slots: Semaphore,
    /// Children without work. Never more than there are slots.
    idle: Mutex<Vec<Reader>>,
}

/// The text of a document.
#[derive(Debug)]
pub struct Text {
    /// UTF-8 in normalisation form C, without control characters other than tabs and `\n`. Removed when dropped.
    pub file: NamedTempFile,
    /// Its length in bytes, never 0.
    pub bytes: u64,
    /// What the document turned out to be.
    pub format: Format,
    /// Who read it, with vecferry's version: `vecferry pdf_oxide 0.1.0`.
    pub reader: String,
}

impl Extractor {
    /// An extractor that starts `program` with `arguments` when it needs a child, which then has to call
    /// [`extract_in_child`](super::extract_in_child). At most `processes` run at a time.
    pub fn new(
        program: PathBuf,
        arguments: Vec<OsString>,
        limits: Limits,
        processes: NonZeroUsize,
    ) -> Extractor {
        let slots = Semaphore::new(processes.get());
        Extractor { program, arguments, limits, slots, idle: Mutex::default() }
    }

    /// The text of the document in `file`, as a file in `folder`. Waits while all processes are busy.
    ///
    /// To cancel, drop the future: the child that is reading is killed.
    ///
    /// # Errors
    /// [`Error::Lost`] when the document gives no text, [`Error::Machine`] when this machine is at fault.
    pub async fn extract(&self, file: &Path, hints: &Hints, folder: &Path) -> Result<Text, Error> {
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|error| machine("wait for a reader")(io::Error::other(error)))?;
        let text = NamedTempFile::new_in(folder).map_err(machine("make a text's file"))?;
        let request = Request {
            // A child has its own working directory.
            file: std::path::absolute(file).map_err(machine("find a document's file"))?,
            into: std::path::absolute(text.path()).map_err(machine("find a text's file"))?,
            hints: hints.clone(),
        };
        match self.outcome(&request, folder).await? {
            Outcome::Text { format, reader, bytes } => {
                let length = text.as_file().metadata().map_err(machine("look at a text's file"))?;
                if length.len() != bytes {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "it is not whole");
                    return Err(machine("look at a text's file")(error));
                }
                Ok(Text { file: text, bytes, format, reader })
            }
            Outcome::Lost(lost) => Err(lost.into()),
            Outcome::Failed { cause } => {
                Err(machine("read a document in a child process")(io::Error::other(cause)))
            }
        }
    }

    /// Has a child read a document. One that dies over it after others is asked again afresh: they may have left it
    /// short of memory.
    async fn outcome(&self, request: &Request, folder: &Path) -> Result<Outcome, Error> {
        if let Some(reader) = self.take_idle()
            && let Some(outcome) = self.ask(reader, request).await?.ok()
        {
            return Ok(outcome);
        }
        let reader = Reader::start(&self.program, &self.arguments, &self.limits, folder).await?;
        let died = match self.ask(reader, request).await? {
            Ok(outcome) => return Ok(outcome),
            Err(died) => died,
        };
        let (status, stderr) = died.last_words().await?;
        Ok(Outcome::Lost(verdict(status, &stderr, &self.limits)))
    }

    /// Asks a child, and keeps it for the next document if it can serve one; the child itself if it died.
    async fn ask(
        &self,
        mut reader: Reader,
        request: &Request,
    ) -> Result<Result<Outcome, Reader>, Error> {
        let limit = self.limits.time;
        let Ok(reply) = tokio::time::timeout(limit, reader.exchange(request)).await else {
            reader.child.kill().await.map_err(machine("end a reader"))?;
            let detail = format!("over {} s", limit.as_secs_f64());
            return Err(Error::lost(Reason::TooSlow, detail));
        };
        let Some(reply) = reply? else { return Ok(Err(reader)) };
        if !reply.last {
            self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(reader);
        }
        Ok(Ok(reply.outcome))
    }

    fn take_idle(&self) -> Option<Reader> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }
}

/// A child process. Killed when dropped.
struct Reader {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What it writes besides, in a file: a pipe that nobody empties would hold it up.
    stderr: File,
}

impl Reader {
    async fn start(
        program: &Path,
        arguments: &[OsString],
        limits: &Limits,
        folder: &Path,
    ) -> Result<Reader, Error> {
        let stderr = tempfile::tempfile_in(folder).map_err(machine("make a reader's log"))?;
        let log = stderr.try_clone().map_err(machine("make a reader's log"))?;
        let mut child = Command::new(program)
            .args(arguments)
            // Nothing there is of use to a reader, and much is secret.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // A Ctrl-C is for the worker, which finishes or gives up its documents in its own way.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(machine("start a reader"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) =
            pipes.ok_or_else(|| machine("start a reader")(io::ErrorKind::BrokenPipe.into()))?;
        let mut reader = Reader { child, input, output: BufReader::new(output), stderr };
        reader.say(limits).await?;
        Ok(reader)
    }

    /// Sends a document and waits for the reply; `None` when the child died.
    async fn exchange(&mut self, request: &Request) -> Result<Option<Reply>, Error> {
        self.say(request).await?;
        let mut line = Vec::new();
        let mut output = (&mut self.output).take(LINE);
        output.read_until(b'\n', &mut line).await.map_err(machine("listen to a reader"))?;
        if line.is_empty() {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&line);
        reply.map(Some).map_err(|error| machine("understand a reader")(error.into()))
    }

    async fn say(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let talk = machine("talk to a reader");
        let mut line = match serde_json::to_vec(message) {
            Ok(line) => line,
            Err(error) => return Err(talk(error.into())),
        };
        line.push(b'\n');
        match self.input.write_all(&line).await {
            // It died; its end of the other pipe says so, too, and why is found out there.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(talk),
        }
    }

    /// How a child that closed its output died, and the end of what it wrote to standard error.
    async fn last_words(mut self) -> Result<(std::process::ExitStatus, String), Error> {
        let status = self.child.wait().await.map_err(machine("wait for a reader"))?;
        let mut tail = Vec::new();
        let log = &mut self.stderr;
        let read = log.seek(SeekFrom::End(0)).and_then(|end| {
            log.seek(SeekFrom::Start(end.saturating_sub(TAIL)))?;
            log.take(TAIL).read_to_end(&mut tail)
        });
        read.map_err(machine("read a reader's log"))?;
        Ok((status, String::from_utf8_lossy(&tail).into_owned()))
    }
}
