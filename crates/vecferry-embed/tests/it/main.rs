//! The crate's parts on real servers, files and models.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod chunks;
#[cfg(feature = "local-model")]
mod local_model;
mod reuse;
mod stage;
mod work;
