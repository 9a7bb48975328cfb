//! Under construction.
pub mod digest;
pub mod part;
pub mod stream;
