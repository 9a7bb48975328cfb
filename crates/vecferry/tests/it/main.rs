//! Tests of the built program: what an operator types and what comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod content;
mod killed;
mod life;
mod migrating;
mod mistakes;
mod program;
mod words;
