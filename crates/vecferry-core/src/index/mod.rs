//! Indexes of the target, built after the rows.

pub mod memory;
