//! One batch's life: paced, repeated while failures pass, cut in halves until the texts that the model refuses stand
//! alone, delivered.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::batch::{Batch, Embedded};
use super::pacing::Pacer;
use super::patience::{Passing, Patience};
use super::tokens::estimated_tokens;
use super::usage::{Usage, Why};
use crate::embedder::{Embedder, Embeddings, Failure};

/// A failure that is waited for as long as this is told: nobody should look at a silent program for minutes.
const HICCUP: Duration = Duration::from_secs(4);

/// Distinct texts of a batch from which on "every one is refused" means the model, not the texts.
const ALL: usize = 8;

/// Everything a call needs; cheap to clone.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) embedder: Arc<dyn Embedder>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) patience: Patience,
}

/// Vector or reason of one text.
type Outcome = Result<Vec<f32>, String>;

impl Caller {
    /// Embeds a batch and delivers every piece of it. What it used, and why everything must stop if it must.
    pub(super) async fn serve<T>(
        self,
        batch: Batch<T>,
        output: Sender<Embedded<T>>,
    ) -> (Usage, Result<(), Why>) {
        let mut usage = Usage::default();
        let served = match self.outcomes(&batch.texts, &mut usage).await {
            Ok(outcomes) => deliver(batch, &outcomes, &output, &mut usage).await,
            Err(why) => Err(why),
        };
        (usage, served)
    }

    /// An outcome for each text. A refusal says that some text of the call is at fault, not which: halves tell.
    async fn outcomes(&self, texts: &[String], usage: &mut Usage) -> Result<Vec<Outcome>, Why> {
        let mut outcomes: Vec<Outcome> = vec![Err(String::new()); texts.len()];
        let whole: Range<usize> = 0..texts.len();
        let mut parts = vec![whole];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.embed(&texts[part.clone()], usage).await? {
                Ok(embeddings) => {
                    for (place, vector) in part.zip(embeddings.vectors) {
                        let finite = vector.iter().all(|number| number.is_finite());
                        outcomes[place] = if finite {
                            Ok(vector)
                        } else {
                            Err("its vector is not made of finite numbers".to_owned())
                        };
                    }
                }
                Err(reason) if part.len() == 1 => outcomes[part.start] = Err(reason),
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
            }
        }
        let never = self.pacer.last_answer().is_none();
        match outcomes.first() {
            Some(Err(reason)) if never && texts.len() >= ALL => {
                Err(Why::RefusesAll(reason.clone()))
            }
            _ => Ok(outcomes),
        }
    }

    /// One call until it is answered: vectors, or the reason why the model refuses (some of) these texts.
    async fn embed(
        &self,
        texts: &[String],
        usage: &mut Usage,
    ) -> Result<Result<Embeddings, String>, Why> {
        let estimated = texts.iter().map(|text| estimated_tokens(text)).sum();
        let mut pauses = self.patience.pauses();
        let mut failing_since = None;
        let mut told = false;
        loop {
            let turn = self.pacer.turn(estimated).await;
            usage.calls += 1;
            let (kind, said) = match self.embedder.embed(texts).await {
                Ok(embeddings) => {
                    turn.answered(embeddings.tokens);
                    self.check(texts.len(), &embeddings)?;
                    usage.tokens += embeddings.tokens.unwrap_or(estimated);
                    usage.estimated += if embeddings.tokens.is_some() { 0 } else { estimated };
                    usage.texts += texts.len() as u64;
                    return Ok(Ok(embeddings));
                }
                Err(Failure::Texts(reason)) => return Ok(Err(reason)),
                Err(Failure::Permanent(said)) => return Err(Why::Permanent(said)),
                Err(failure @ Failure::Throttled { retry_after }) => {
                    turn.throttled(retry_after);
                    usage.throttles += 1;
                    (Passing::Throttle, failure.to_string())
                }
                Err(Failure::Transient(said)) => {
                    // The place in the window is free during the pause below.
                    drop(turn);
                    usage.failures += 1;
                    (Passing::Failure, said)
                }
            };
            let now = Instant::now();
            let since = *failing_since.get_or_insert(now);
            if self.patience.gives_up(kind, since, self.pacer.last_answer(), now) {
                return Err(Why::NoAnswer { after: now - since, said });
            }
            let pause = pauses.next().unwrap_or(self.patience.longest_pause);
            if kind == Passing::Failure && pause >= HICCUP && !told {
                told = true;
                let minutes = self.patience.give_up_after.as_secs() / 60;
                tracing::warn!(
                    "the model does not answer, and is asked for {minutes} minutes: {said}"
                );
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// An answer that is none would put one text's vector beside another text.
    fn check(&self, texts: usize, embeddings: &Embeddings) -> Result<(), Why> {
        let vectors = embeddings.vectors.len();
        if vectors != texts {
            return Err(Why::Permanent(format!("{vectors} vectors came back for {texts} texts")));
        }
        let expected = self.embedder.model().dimensions;
        match embeddings.vectors.iter().map(Vec::len).find(|length| *length != expected) {
            Some(length) => Err(Why::Permanent(format!(
                "a vector of {length} dimensions came back instead of {expected}"
            ))),
            // It has no direction: no search by cosine ever finds its row, in whose place a good one may stand.
            None if embeddings.vectors.iter().any(|vector| is_zero(vector)) => Err(Why::Permanent(
                "a vector of nothing but zeros came back, which no search can find".to_owned(),
            )),
            None => Ok(()),
        }
    }
}

/// Whether all components are zero, be it that the service said numbers too small for 32 bits.
fn is_zero(vector: &[f32]) -> bool {
    vector.iter().all(|number| *number == 0.0)
}

async fn deliver<T>(
    batch: Batch<T>,
    outcomes: &[Outcome],
    output: &Sender<Embedded<T>>,
    usage: &mut Usage,
) -> Result<(), Why> {
    let refused = batch.refused.into_iter().map(|(tag, reason)| (tag, Err(reason)));
    let waiting = batch.waiting.into_iter().map(|(tag, place)| (tag, outcomes[place].clone()));
    for (tag, vector) in refused.chain(waiting) {
        match vector {
            Ok(_) => usage.pieces += 1,
            Err(_) => usage.refused += 1,
        }
        output.send(Embedded { tag, vector }).await.map_err(|_| Why::Abandoned)?;
    }
    Ok(())
}
