//! The stream from pieces to vectors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Embedded, Filler, Piece};
use super::call::Caller;
use super::pacing::Pacer;
use super::patience::Patience;
use super::usage::{Stopped, Usage, Why};
use crate::embedder::{Embedder, Model};

/// A batch that is not full goes once its input has been silent for so long with no call under way. Long against the
/// time between two pieces of a document, short against a producer that waits for its vectors before it goes on.
const IDLE: Duration = Duration::from_millis(250);

/// A model, and how it is called. Cheap to clone; clones share the pacer.
#[derive(Clone)]
pub struct Service {
    caller: Caller,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("model", self.model()).finish_non_exhaustive()
    }
}

impl Service {
    /// A model called at the pace of `pacer`, which others may share.
    pub fn new(embedder: Arc<dyn Embedder>, pacer: Arc<Pacer>, patience: Patience) -> Service {
        Service { caller: Caller { embedder, pacer, patience } }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.caller.embedder.model()
    }
}

/// Embeds every piece of `input` until it is closed and delivers each to `output` exactly once, in any order. Pieces of
/// many documents may be mixed.
///
/// Memory: the open batch, and [`super::Pace::calls_at_once`] batches under way with their vectors. While `output` is
/// full nothing more is called for; whoever drains it must not wait for whoever feeds `input`.
///
/// # Errors
/// [`Stopped`], when no further call can help, `output` is gone or `cancel` is; calls under way are dropped, and pieces
/// that were not delivered by then have no vector.
pub async fn embed_all<T: Send + 'static>(
    input: Receiver<Piece<T>>,
    output: Sender<Embedded<T>>,
    service: &Service,
    cancel: &CancellationToken,
) -> Result<Usage, Stopped> {
    let started = Instant::now();
    let mut usage = Usage::default();
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Why::Cancelled),
        ended = run(input, output, &service.caller, &mut usage) => ended,
    };
    usage.elapsed = started.elapsed();
    match ended {
        Ok(()) => Ok(usage),
        Err(why) => Err(Stopped { model: service.model().id.clone(), why, usage }),
    }
}

async fn run<T: Send + 'static>(
    mut input: Receiver<Piece<T>>,
    output: Sender<Embedded<T>>,
    caller: &Caller,
    usage: &mut Usage,
) -> Result<(), Why> {
    let at_once = caller.pacer.pace().calls_at_once.max(1);
    let mut filler = Filler::new(caller.embedder.model());
    // Dropped on every way out, which ends the calls under way.
    let mut calls: JoinSet<(Usage, Result<(), Why>)> = JoinSet::new();
    let mut open = true;
    while open || !calls.is_empty() || !filler.is_empty() {
        let room = calls.len() < at_once;
        let next = if room {
            // With the input closed nothing fills the last batch.
            if open { filler.full() } else { filler.rest() }
        } else {
            None
        };
        if let Some(batch) = next {
            call(&mut calls, caller, batch, &output);
            continue;
        }
        let stuck = open && calls.is_empty() && !filler.is_empty();
        tokio::select! {
            // In this order: the input is idle only if nothing is there to be taken.
            biased;
            Some(ended) = calls.join_next() => {
                let (used, outcome) = match ended.map_err(JoinError::try_into_panic) {
                    Ok(ended) => ended,
                    Err(Ok(panic)) => std::panic::resume_unwind(panic),
                    // Only when the runtime shuts down.
                    Err(Err(_)) => return Err(Why::Cancelled),
                };
                *usage += used;
                outcome?;
            }
            piece = input.recv(), if open && room => match piece {
                Some(piece) => filler.push(piece),
                None => open = false,
            },
            () = tokio::time::sleep(IDLE), if stuck => {
                if let Some(batch) = filler.rest() {
                    call(&mut calls, caller, batch, &output);
                }
            }
        }
    }
    Ok(())
}

fn call<T: Send + 'static>(
    calls: &mut JoinSet<(Usage, Result<(), Why>)>,
    caller: &Caller,
    batch: Batch<T>,
    output: &Sender<Embedded<T>>,
) {
    calls.spawn(caller.clone().serve(batch, output.clone()));
}
