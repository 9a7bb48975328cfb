//! From addresses to staged rows: find → read → sort → embed → write, all at once, joined by bounded queues.
//!
//! Every stage waits for room in the next one's queue, so a slow target or a throttled model slows everything before
//! it, down to the fetching. The writer alone touches the target; it writes whatever has arrived while it wrote.
//! The stages are futures of one task: whoever drops the run drops them all.

use std::collections::HashMap;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use vecferry_core::bot::Bot;
use vecferry_core::error::{Error, Result};

use super::Workbench;
use super::find::{Finder, Findings};
use super::ledger::{Event, Ledger, Tag};
use super::read::{Reading, Readings};
use crate::embedding::{Embedded, Piece, Usage, embed_all};
use crate::reuse::KnownVectors;
use crate::split::Splitter;
use crate::stage::{Kept, Stage};

/// Bytes of chunks in each queue, about. There are four, and a batch being written.
const QUEUE_BYTES: usize = 8 << 20;

/// Documents found and not yet begun.
const JOBS: usize = 32;

/// Chunks looked up at the source at once: a call's worth.
const LOOK_UP: usize = 96;

/// Events are a few words each; more of them gains nothing.
const EVENTS: usize = 64;

/// What the stages made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// All documents' ends.
    pub ledger: Ledger,
    /// Chunks that took their vector from the source.
    pub reused: u64,
    /// What embedding cost.
    pub usage: Usage,
}

/// Stages all of the bot's documents. What the run had achieved when it failed is in `made`, too.
pub(super) async fn run(
    bot: &Bot,
    bench: &Workbench,
    stage: &mut Stage,
    kept: HashMap<String, Kept>,
    made: &mut Made,
) -> Result<()> {
    let model = bench.embedding.model();
    let known = known_vectors(bot, bench).await?;
    let splitter = Splitter::new(bot.splitting, model.chars_per_text);
    let room = queue(splitter.chunk_chars(), model.dimensions);
    let (job_in, job_out) = channel(JOBS);
    let (event_in, event_out) = channel(EVENTS);
    let (tag_in, tag_out) = channel::<Tag>(room);
    let (piece_in, piece_out) = channel(room);
    let (done_in, done_out) = channel(room);
    let finder = Finder::new(bot, &bench.sources, kept, stage.source_chars());
    let findings = Findings { jobs: job_in, events: event_in.clone() };
    let reading = Reading {
        source: &bench.sources,
        extractor: &bench.extractor,
        splitter,
        limits: &bench.limits,
        folder: &bench.folder,
    };
    let readings = Readings { chunks: tag_in, events: event_in };
    let Made { ledger, reused, usage } = made;
    // A finder that is abandoned was so by a stage that failed, whose error is the one to tell.
    let finding = async { finder.run(findings).await.or(Ok(())) };
    let sorter = Sorter { known, to_embed: piece_in, done: done_in.clone(), reused };
    let embedding = async {
        let never = CancellationToken::new();
        match embed_all(piece_out, done_in, &bench.embedding, &never).await {
            Ok(used) => *usage = used,
            Err(stopped) => {
                *usage = stopped.usage;
                return Err(Error::from(stopped));
            }
        }
        Ok(())
    };
    let writing = Writer { stage, ledger, batch: room }.run(event_out, done_out);
    let reading = reading.run(job_out, readings);
    tokio::try_join!(finding, reading, sorter.run(tag_out), embedding, writing)?;
    Ok(())
}

/// How many chunks a queue holds. A chunk is there with its text twice (to be embedded, to be staged) and its vector; a
/// character is taken for two bytes.
fn queue(chunk_chars: usize, dimensions: usize) -> usize {
    (QUEUE_BYTES / (4 * chunk_chars + 4 * dimensions).max(1)).clamp(4, 512)
}

/// The bot's vectors on the source, where there are any that this model made.
async fn known_vectors(bot: &Bot, bench: &Workbench) -> Result<Option<KnownVectors>> {
    let model = bench.embedding.model();
    match &bench.reuse {
        Some(reuse) if reuse.model == model.id => {
            let (source, knowledge) = (&reuse.source, &reuse.knowledge);
            KnownVectors::open(source, knowledge, &bot.key.id, model.dimensions).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Sends each chunk where it gets its vector.
struct Sorter<'a> {
    known: Option<KnownVectors>,
    to_embed: Sender<Piece<Tag>>,
    done: Sender<Embedded<Tag>>,
    reused: &'a mut u64,
}

impl Sorter<'_> {
    async fn run(mut self, mut chunks: Receiver<Tag>) -> Result<()> {
        let mut some = Vec::with_capacity(LOOK_UP);
        while chunks.recv_many(&mut some, LOOK_UP).await > 0 {
            some.retain(|tag: &Tag| !tag.head.is_lost());
            let vectors = self.look_up(&some).await;
            for (tag, vector) in some.drain(..).zip(vectors) {
                let sent = match vector {
                    Some(vector) => {
                        *self.reused += 1;
                        self.done.send(Embedded { tag, vector: Ok(vector) }).await.is_ok()
                    }
                    None => {
                        let text = tag.text.clone();
                        self.to_embed.send(Piece { tag, text }).await.is_ok()
                    }
                };
                if !sent {
                    // A later stage has failed, and its error is the one to tell.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A source that cannot be read any more costs money, not the run.
    async fn look_up(&mut self, chunks: &[Tag]) -> Vec<Option<Vec<f32>>> {
        let texts: Vec<&str> = chunks.iter().map(|tag| tag.text.as_str()).collect();
        let looked_up = match &self.known {
            Some(known) => known.take(&texts).await,
            None => return vec![None; texts.len()],
        };
        looked_up.unwrap_or_else(|error| {
            tracing::warn!(%error, "no more vectors are reused");
            self.known = None;
            vec![None; texts.len()]
        })
    }
}

/// Writes what arrives.
struct Writer<'a> {
    stage: &'a mut Stage,
    ledger: &'a mut Ledger,
    /// Chunks taken at once.
    batch: usize,
}

impl Writer<'_> {
    async fn run(
        mut self,
        mut events: Receiver<Event>,
        mut chunks: Receiver<Embedded<Tag>>,
    ) -> Result<()> {
        let (mut events_open, mut chunks_open) = (true, true);
        let mut arrived = Vec::with_capacity(self.batch);
        while events_open || chunks_open {
            tokio::select! {
                // Events first: one that a chunk's document depends on was sent before the chunk was made.
                biased;
                event = events.recv(), if events_open => match event {
                    Some(event) => self.ledger.event(event),
                    None => events_open = false,
                },
                count = chunks.recv_many(&mut arrived, self.batch), if chunks_open => {
                    chunks_open = count > 0;
                }
            }
            while let Ok(event) = events.try_recv() {
                self.ledger.event(event);
            }
            for Embedded { tag, vector } in arrived.drain(..) {
                self.ledger.arrived(tag, vector);
            }
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        let outdated = self.ledger.take_outdated();
        if !outdated.is_empty() {
            self.stage.discard(&outdated).await?;
        }
        self.stage.write(&self.ledger.take_batch()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_hold_many_small_chunks_and_few_large_ones() {
        assert_eq!(queue(10, 4), 512);
        assert_eq!(queue(1000, 1024), 512);
        assert_eq!(queue(256 * 1024, 1024), 7);
        assert_eq!(queue(10_000_000, 1024), 4);
        assert_eq!(queue(0, 0), 512);
    }
}
