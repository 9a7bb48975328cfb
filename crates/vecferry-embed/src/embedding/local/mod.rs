//! A model run in this process. Computing takes whole cores for seconds, so it has a thread of its own: the runtime's
//! threads stay free for the network, and one call at a time uses what cores there are.

mod model;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

pub use model::{Error, LocalModel, MAX_TOKENS};

use crate::embedder::{Embedder, Embeddings, Failure, Model};

/// Texts of a call: enough for the model to work in batches, few enough that a cancelled call is over in seconds.
const TEXTS_PER_CALL: usize = 32;

/// A [`LocalModel`] on its thread, which ends when this is dropped, after the call it is at.
#[derive(Debug)]
pub struct LocalEmbedder {
    model: Model,
    calls: Option<mpsc::Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Call {
    texts: Arc<[String]>,
    answer: oneshot::Sender<Result<Vec<Vec<f32>>, String>>,
}

impl LocalEmbedder {
    /// Loads a model's files from a folder; `id` is what it is called in records. Blocks for some 100 ms.
    ///
    /// A text beyond [`MAX_TOKENS`] is read up to there, as everywhere with such models.
    ///
    /// # Errors
    /// [`Error`], when the files are not those of a model.
    pub fn load(folder: &Path, id: &str) -> Result<LocalEmbedder, Error> {
        let local = LocalModel::load(folder)?;
        let model = Model {
            id: id.to_owned(),
            dimensions: local.dimensions(),
            texts_per_call: TEXTS_PER_CALL,
            chars_per_text: None,
            tokens_per_text: MAX_TOKENS,
        };
        // One call waits while one is computed: more would only age.
        let (calls, waiting) = mpsc::channel(1);
        let thread = std::thread::spawn(move || serve(&local, waiting));
        Ok(LocalEmbedder { model, calls: Some(calls), thread: Some(thread) })
    }
}

fn serve(model: &LocalModel, mut calls: mpsc::Receiver<Call>) {
    while let Some(call) = calls.blocking_recv() {
        // Nobody waits for it any more: the caller was cancelled.
        if call.answer.is_closed() {
            continue;
        }
        let texts: Vec<&str> = call.texts.iter().map(String::as_str).collect();
        let answer = model.embed(&texts).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("cannot {error}: {cause}"))
        });
        // Fails only when the caller was cancelled meanwhile.
        let _ = call.answer.send(answer);
    }
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn model(&self) -> &Model {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Embeddings, Failure> {
        let ended = || Failure::Permanent("the model's thread has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        let call = Call { texts: texts.into(), answer };
        self.calls.as_ref().ok_or_else(ended)?.send(call).await.map_err(|_| ended())?;
        let vectors = answered.await.map_err(|_| ended())?.map_err(Failure::Permanent)?;
        Ok(Embeddings { vectors, tokens: None })
    }
}

impl Drop for LocalEmbedder {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been answered as "the model's thread has ended".
            let _ = thread.join();
        }
    }
}
