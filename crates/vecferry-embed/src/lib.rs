//! One bot's work: documents become text, text becomes chunks, chunks become embeddings, embeddings become rows on the
//! target, staged per document and swapped per bot.
//!
//! Read [`document`] and [`embedder`] first: the two traits everything else hangs on. Nothing here knows AWS, a
//! registry or a command line.

pub mod document;
pub mod embedder;
#[cfg(feature = "local-model")]
mod local;
pub mod sources;

#[cfg(feature = "local-model")]
pub use local::{Error, LocalModel};
