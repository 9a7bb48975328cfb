//! Documents become chunks: fetched to disk, read by a child process, split while the text is read. Several at a time;
//! the disk they take is bounded, and a chunk is made only when there is room for it downstream.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Semaphore, SemaphorePermit};
use vecferry_core::error::{Error, Result};

use super::Limits;
use super::find::Job;
use super::ledger::{Event, Head, Tag};
use crate::document::{Document, DocumentSource, Fetched};
use crate::split::Splitter;
use crate::text::{self, Extractor, Hints, Text};

/// The unit in which disk is accounted for.
const DISK_UNIT: u64 = 1 << 20;

/// What a document of unknown size is taken for until it is there.
const UNKNOWN: u64 = 32 << 20;

/// Reads documents.
pub(super) struct Reading<'a> {
    pub source: &'a dyn DocumentSource,
    pub extractor: &'a Extractor,
    pub splitter: Splitter,
    pub limits: &'a Limits,
    pub folder: &'a Path,
}

/// Where what was read goes.
#[derive(Clone)]
pub(super) struct Readings {
    pub chunks: Sender<Tag>,
    pub events: Sender<Event>,
}

impl Reading<'_> {
    /// Reads documents until there are no more jobs.
    ///
    /// # Errors
    /// [`Error::Local`] when this machine is at fault. A document that gives no text is an event.
    pub(super) async fn run(&self, mut jobs: Receiver<Job>, out: Readings) -> Result<()> {
        let disk = Semaphore::new(units(self.limits.disk_bytes) as usize);
        let mut at_work = FuturesUnordered::new();
        let mut open = true;
        while open || !at_work.is_empty() {
            tokio::select! {
                job = jobs.recv(), if open && at_work.len() < self.limits.documents_at_once => match job {
                    Some(job) => at_work.push(self.document(job, &disk, &out)),
                    None => open = false,
                },
                Some(done) = at_work.next() => done?,
            }
        }
        Ok(())
    }

    async fn document(&self, job: Job, disk: &Semaphore, out: &Readings) -> Result<()> {
        let Job { head, document } = job;
        let event = match self.chunks_of(&head, &document, disk, out).await {
            Ok(chunks) => Event::Ended(head, chunks),
            Err(text::Error::Lost(lost)) => {
                tracing::info!(source = head.source, %lost, "a document is lost");
                Event::Lost(head, lost)
            }
            Err(text::Error::Machine { action, source }) => {
                return Err(Error::Local { doing: action.to_owned(), source });
            }
        };
        // Nobody listens when the run has ended, which then has its own reason.
        let _ = out.events.send(event).await;
        Ok(())
    }

    async fn chunks_of(
        &self,
        head: &Arc<Head>,
        document: &Document,
        disk: &Semaphore,
        out: &Readings,
    ) -> Result<u32, text::Error> {
        let most = units(self.limits.disk_bytes);
        // The document and its text are there at the same time.
        let share = units(document.bytes.unwrap_or(UNKNOWN).saturating_mul(2)).min(most);
        // Never closed; without a permit there is just no bound.
        let mut room = disk.acquire_many(share).await.ok();
        let fetched = self.source.fetch(document, self.folder).await?;
        give_back(&mut room, share, units(fetched.bytes.saturating_mul(2)));
        let text = self.text_of(fetched).await?;
        self.split(text, Arc::clone(head), out.chunks.clone()).await
    }

    /// The document's text. Its own file is gone by then.
    async fn text_of(&self, fetched: Fetched) -> Result<Text, text::Error> {
        let Fetched { file, name, media_type, charset, .. } = fetched;
        let hints = Hints { name, media_type, charset };
        self.extractor.extract(file.path(), &hints, self.folder).await
    }

    /// Splits a text on a thread of its own, which waits where chunks are taken slowly.
    async fn split(
        &self,
        text: Text,
        head: Arc<Head>,
        chunks: Sender<Tag>,
    ) -> Result<u32, text::Error> {
        let splitter = self.splitter;
        let failed = |source| text::Error::Machine { action: "read a text", source };
        let work = move || -> std::io::Result<u32> {
            let reader = BufReader::new(File::open(text.file.path())?);
            let mut ordinal = 0;
            for chunk in splitter.chunks(reader) {
                let tag = Tag { head: Arc::clone(&head), ordinal, text: chunk? };
                // A lost document, or a run that has ended: nobody wants the rest.
                if head.is_lost() || chunks.blocking_send(tag).is_err() {
                    break;
                }
                ordinal += 1;
            }
            Ok(ordinal)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(chunks) => chunks.map_err(failed),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only when the runtime shuts down.
                Err(error) => Err(failed(std::io::Error::new(ErrorKind::Interrupted, error))),
            },
        }
    }
}

/// Gives back what a document turned out not to need. One that needs more than was thought goes on: waiting for more
/// while holding some is how everybody waits for everybody.
fn give_back(room: &mut Option<SemaphorePermit<'_>>, share: u32, needed: u32) {
    if let Some(room) = room
        && needed < share
    {
        drop(room.split((share - needed) as usize));
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(DISK_UNIT)).unwrap_or(u32::MAX).max(1)
}
