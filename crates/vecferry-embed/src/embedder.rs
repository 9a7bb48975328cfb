//! Embedding models: Bedrock (`vecferry-aws`), any OpenAI-compatible endpoint, or a model run in this process.

use std::time::Duration;

use async_trait::async_trait;

/// Makes vectors of texts. Knows one model and its limits; pacing and repeating are not its business.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The model.
    fn model(&self) -> &Model;

    /// One vector for each text, in order. The caller keeps to the model's limits.
    ///
    /// # Errors
    /// [`Failure`], which says what repeating can achieve.
    async fn embed(&self, texts: &[String]) -> Result<Embeddings, Failure>;
}

/// A model and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its maker's id: `cohere.embed-multilingual-v3`.
    pub id: String,
    /// Length of its vectors.
    pub dimensions: usize,
    /// Most texts in one call.
    pub texts_per_call: usize,
    /// Longest text, in characters; `None` when only tokens count.
    pub chars_per_text: Option<usize>,
    /// Longest text, in tokens.
    pub tokens_per_text: usize,
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One vector for each text, each as long as the model says.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens the service counted, where it says so.
    pub tokens: Option<u64>,
}

/// Why a call returned nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Too many requests or tokens: slow down and try again.
    #[error("throttled")]
    Throttled {
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
    },
    /// A lost connection, a timeout, an error of the service's own: the same call may succeed.
    #[error("{0}")]
    Transient(String),
    /// The service refuses these texts; others may pass.
    #[error("{0}")]
    Texts(String),
    /// No call can succeed: credentials, a model that is not enabled, an answer that is none.
    #[error("{0}")]
    Permanent(String),
}
