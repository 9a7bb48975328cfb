//! Under construction.

pub mod size;
