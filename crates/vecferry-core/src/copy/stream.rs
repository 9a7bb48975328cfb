//! One COPY: frames are forwarded from source to target as they come, or only read, and hashed on the way.
//!
//! CopyData frames have the same layout in both directions, so nothing is rebuilt. Memory is one read buffer per
//! connection, whatever the size of a row. Backpressure is the sockets': nothing is read while the target is slow.

use tokio_util::sync::CancellationToken;

use super::digest::{Digests, NotACopy, RowDigester};
use crate::error::{Error, Result, Side, on};
use crate::pg::{CopyFormat, Failure, WireConnection, frame};

const COPY_DATA: u8 = b'd';
const COPY_DONE: u8 = b'c';
const ERROR_RESPONSE: u8 = b'E';
const NOTICE_RESPONSE: u8 = b'N';
const PARAMETER_STATUS: u8 = b'S';

/// What one COPY reads and how its rows are told apart.
#[derive(Debug, Clone)]
pub struct CopyQuery {
    /// Name of the table for messages.
    pub table: String,
    /// `SELECT …` on the reading side.
    pub select: String,
    /// How rows travel.
    pub format: CopyFormat,
    /// Whether the first column is the bot.
    pub by_bot: bool,
}

impl CopyQuery {
    fn copy_out(&self) -> String {
        format!("COPY ({}) TO STDOUT (FORMAT {})", self.select, keyword(self.format))
    }
}

/// The word for a format in a COPY statement.
pub(crate) fn keyword(format: CopyFormat) -> &'static str {
    match format {
        CopyFormat::Binary => "binary",
        CopyFormat::Text => "text",
    }
}

/// Told how many bytes and rows have passed since the last call; called once per buffer.
pub type OnProgress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Reads a COPY and returns its digests, forwarding nothing.
///
/// # Errors
/// [`Error::Postgres`] on the reading side; [`Error::Interrupted`] when cancelled, after which the connection is in
/// mid-COPY and must be dropped.
pub async fn digest(
    reader: &mut WireConnection,
    query: &CopyQuery,
    cancel: &CancellationToken,
    progress: OnProgress<'_>,
) -> Result<Digests> {
    let side = reader.side();
    let doing = format!("read {}", query.table);
    reader.begin_copy_out(&query.copy_out()).await.map_err(on::<Failure>(side, &doing))?;
    run(reader, None, query, cancel, progress).await.map_err(|stop| stop.into_error(&doing, &doing))
}

/// The two connections of a forwarded COPY.
pub struct Pipe<'a> {
    /// Where rows are read.
    pub source: &'a mut WireConnection,
    /// Where they are written, in a transaction that the caller has opened.
    pub target: &'a mut WireConnection,
}

/// Forwards a COPY from the pipe's source into `insert` on its target (`COPY … FROM STDIN …`, in a transaction the caller has opened) and
/// returns the digests of what passed. The target's row count is checked against ours.
///
/// # Errors
/// [`Error::Postgres`] with the side that failed; [`Error::Interrupted`] when cancelled. After any error both
/// connections are in an unknown state and must be dropped; the target's transaction is then rolled back by its
/// server.
pub async fn forward(
    pipe: Pipe<'_>,
    query: &CopyQuery,
    insert: &str,
    cancel: &CancellationToken,
    progress: OnProgress<'_>,
) -> Result<Digests> {
    let Pipe { source, target } = pipe;
    let reading = format!("read {}", query.table);
    let writing = format!("write {}", query.table);
    // The target first: what it refuses costs the source nothing.
    target.begin_copy_in(insert).await.map_err(on::<Failure>(Side::Target, &writing))?;
    source
        .begin_copy_out(&query.copy_out())
        .await
        .map_err(on::<Failure>(Side::Source, &reading))?;
    let digests = run(source, Some(target), query, cancel, progress)
        .await
        .map_err(|stop| stop.into_error(&reading, &writing))?;
    let accepted = target.finish_copy_in().await.map_err(on::<Failure>(Side::Target, &writing))?;
    if accepted != digests.total.rows {
        return Err(Error::Bug {
            what: format!(
                "{}: {} rows were sent and the target counted {accepted}",
                query.table, digests.total.rows
            ),
        });
    }
    Ok(digests)
}

/// Why the stream stopped early.
enum Stop {
    Reader(Side, Failure),
    Writer(Failure),
    Malformed(NotACopy),
    Cancelled,
}

impl Stop {
    fn into_error(self, reading: &str, writing: &str) -> Error {
        match self {
            Stop::Reader(side, failure) => on(side, reading)(failure),
            Stop::Writer(failure) => on(Side::Target, writing)(failure),
            Stop::Malformed(what) => Error::Bug { what: format!("{reading}: {what}") },
            Stop::Cancelled => Error::Interrupted,
        }
    }
}

async fn run(
    reader: &mut WireConnection,
    mut writer: Option<&mut WireConnection>,
    query: &CopyQuery,
    cancel: &CancellationToken,
    progress: OnProgress<'_>,
) -> Result<Digests, Stop> {
    let side = reader.side();
    let mut frames =
        Frames { digester: RowDigester::new(query.format, query.by_bot), left: 0, done: false };
    loop {
        let rows_before = frames.digester.rows();
        let forward = frames.scan(reader.buffered()).map_err(Stop::Malformed)?;
        if let (Some(writer), true) = (writer.as_deref_mut(), forward > 0) {
            writer.write(&reader.buffered()[..forward]).await.map_err(Stop::Writer)?;
        }
        if forward > 0 {
            progress(forward as u64, frames.digester.rows() - rows_before);
        }
        reader.consume(forward);
        if frames.done {
            reader.read_until_ready().await.map_err(|failure| Stop::Reader(side, failure))?;
            return Ok(frames.digester.finish());
        }
        if let Some(failure) =
            take_other_message(reader).map_err(|failure| Stop::Reader(side, failure))?
        {
            return Err(Stop::Reader(side, failure));
        }
        // Only when what is buffered cannot be used any further.
        if frames.needs_more(reader.buffered()) {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Stop::Cancelled),
                filled = reader.fill() => { filled.map_err(|failure| Stop::Reader(side, failure))?; }
            }
        }
    }
}

/// Walks the frames of a COPY stream across buffer boundaries.
struct Frames {
    digester: RowDigester,
    /// Payload bytes of the current CopyData frame that have not been seen.
    left: usize,
    /// CopyDone has been seen; it and what follows are left in the buffer.
    done: bool,
}

impl Frames {
    /// Consumes the CopyData frames at the front of `bytes`, up to a message of another kind or the end. A frame
    /// whose payload is only partly there is hashed in pieces and forwarded as far as it goes. Returns how many bytes
    /// from the front may go on.
    fn scan(&mut self, bytes: &[u8]) -> Result<usize, NotACopy> {
        let mut at = 0;
        if self.left > 0 {
            let piece = self.left.min(bytes.len());
            self.digester.piece(&bytes[..piece])?;
            self.left -= piece;
            at = piece;
            if self.left > 0 {
                return Ok(at);
            }
            self.digester.end_of_frame()?;
        }
        while let Some((tag, length)) = frame(&bytes[at..]).map_err(|_| NotACopy::Row)? {
            if tag != COPY_DATA {
                self.done = tag == COPY_DONE;
                break;
            }
            let payload = &bytes[at + 5..bytes.len().min(at + length)];
            if at + length <= bytes.len() {
                self.digester.frame(payload)?;
                at += length;
                continue;
            }
            self.digester.piece(payload)?;
            self.left = length - 5 - payload.len();
            return Ok(bytes.len());
        }
        Ok(at)
    }

    /// Whether the buffer's front is less than a message head, or a message of another kind that is incomplete.
    fn needs_more(&self, bytes: &[u8]) -> bool {
        match frame(bytes) {
            _ if self.left > 0 => bytes.is_empty(),
            Ok(Some((COPY_DATA | COPY_DONE, _))) => false,
            Ok(Some((_, length))) => bytes.len() < length,
            Ok(None) | Err(_) => true,
        }
    }
}

/// Takes a complete message that is not part of the COPY off the buffer: an error is returned, notices are dropped.
fn take_other_message(reader: &mut WireConnection) -> Result<Option<Failure>, Failure> {
    let Some((tag, length)) = frame(reader.buffered())? else { return Ok(None) };
    if matches!(tag, COPY_DATA | COPY_DONE) || reader.buffered().len() < length {
        return Ok(None);
    }
    match tag {
        ERROR_RESPONSE => reader.take_error().map(Some),
        NOTICE_RESPONSE | PARAMETER_STATUS => {
            reader.consume(length);
            Ok(None)
        }
        other => Err(Failure::Protocol(format!(
            "message {:?} in the middle of a COPY",
            char::from(other)
        ))),
    }
}
