//! Under construction.
pub mod cleanup;
pub mod copy;
pub mod error;
pub mod index;
pub mod inspect;
pub mod inventory;
pub mod knowledge;
pub mod migration;
pub mod pg;
pub mod phase;
pub mod plan;
pub mod policy;
pub mod preflight;
mod probe;
pub mod report;
pub mod status;

pub use error::{Class, Error, Result, Side};

#[cfg(test)]
mod sample;
