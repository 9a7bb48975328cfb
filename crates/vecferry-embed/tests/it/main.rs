//! The crate's parts on real servers, files and models, and on a site that answers every way the web does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod chunks;
#[cfg(feature = "local-model")]
mod local_model;
mod reuse;
mod sitemaps;
mod stage;
mod videos;
mod web;
mod text;
//! vecferry-embed against the testkit's doubles and servers, one module per concept.
mod embedding;
mod work;
