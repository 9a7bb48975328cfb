//! Integration tests of the core against real clusters.
#![allow(clippy::unwrap_used, missing_docs)]

mod copy;
mod fixture;
mod verify;
