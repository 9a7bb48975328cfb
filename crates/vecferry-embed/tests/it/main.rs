//! The crate's parts on real servers, files and models.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[cfg(feature = "local-model")]
mod local_model;
mod stage;
mod work;
