//! vecferry-embed against real files, a site on the loopback address and a model. The model's tests fetch it (some
//! 80 MB) the first time.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[cfg(feature = "local-model")]
mod local_model;
mod sitemaps;
mod videos;
mod web;
