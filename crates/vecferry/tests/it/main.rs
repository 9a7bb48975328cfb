//! Tests of the built program: what an operator types and what comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod bad_input;
mod content;
mod disturbed;
mod killed;
mod life;
mod migrating;
mod mistakes;
mod program;
mod verifying;
mod words;
