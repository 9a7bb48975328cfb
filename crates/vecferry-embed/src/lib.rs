//! One bot's work: documents become text, text becomes chunks, chunks become embeddings, embeddings become rows on the
//! target, staged per document and swapped per bot.
//!
//! Read [`document`] and [`embedder`] first: the two traits everything else hangs on. Nothing here knows AWS, a
//! registry or a command line.

pub mod document;
pub mod embedder;
pub mod embedding;
pub mod folder;
pub mod reuse;
pub mod sources;
pub mod split;
pub mod spool;
pub mod stage;
pub mod text;
pub mod web;
pub mod work;

#[cfg(feature = "local-model")]
pub use embedding::local::LocalModel;
