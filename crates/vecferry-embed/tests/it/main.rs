//! The crate's parts on real servers, files and models, and on a site that answers every way the web does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod chunks;
mod embedding;
mod folders;
#[cfg(feature = "local-model")]
mod local_model;
mod reuse;
mod sitemaps;
mod stage;
mod text;
mod videos;
mod web;
mod work;
