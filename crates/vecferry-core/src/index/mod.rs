//! Indexes: which to build on the target, with how much memory, and building them.

pub mod build;
pub mod memory;
mod plan;
mod schedule;

pub use plan::{IndexPlan, plan_indexes, plan_prepared};
