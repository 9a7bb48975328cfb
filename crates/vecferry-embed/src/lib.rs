//! One bot's work: documents become text, text becomes chunks, chunks become embeddings, embeddings become rows on the
//! target, staged per document and swapped per bot.
//!
//! Read [`document`] and [`embedder`] first: the two traits everything else hangs on. Nothing here knows AWS, a
//! registry or a command line.

pub mod document;
pub mod embedder;
pub mod folder;
#[cfg(feature = "local-model")]
mod local;
pub mod reuse;
pub mod embedding;
pub mod sources;
pub mod split;
pub mod spool;
pub mod stage;
pub mod web;
pub mod text;

#[cfg(feature = "local-model")]
pub use embedding::local::LocalModel;
