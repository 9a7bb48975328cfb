//! vecferry-embed against the testkit's doubles and servers, one module per concept.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod embedding;
#[cfg(feature = "local-model")]
mod local_model;
