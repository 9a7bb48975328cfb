//! vecferry's core: moves the tables of a pgvector database from one cluster to another and proves the result.
//!
//! Read [`migration`] first: it is the loop that takes phase after phase. [`phase`] says what is durable in each,
//! [`copy`] how rows move, `store` where state is recorded, [`mod@verify`] how the result is proved. Pure files
//! ([`phase`], [`inventory`], [`copy::part`], …) decide; the others do.
//!
//! The core prints nothing, reads no environment and knows no command line: it takes [`policy::Policy`] and
//! [`policy::Clusters`] and tells what it does through [`report::Reporter`].

mod analyze;
pub mod bot;
pub mod cleanup;
pub mod copy;
pub mod cutover;
pub mod delta;
pub mod error;
pub mod follow;
pub mod index;
pub mod inspect;
pub mod inventory;
pub mod knowledge;
pub mod migration;
pub mod operator_file;
pub mod pg;
pub mod phase;
pub mod plan;
pub mod policy;
pub mod preflight;
pub mod price;
mod probe;
pub mod reembed;
pub mod report;
mod schema;
mod sequences;
mod source;
pub mod status;
mod store;
pub mod verify;

pub use error::{Class, Error, Result, Side};

#[cfg(test)]
mod sample;
