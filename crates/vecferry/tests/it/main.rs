//! Tests of the built program: what an operator types and what comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod bad_input;
mod content;
mod cutover;
mod delta;
mod deploy;
mod disturbed;
mod following;
mod guide;
mod init;
mod killed;
mod killed_following;
mod life;
mod migrating;
mod mistakes;
mod permitted;
mod planning;
mod policy;
mod program;
mod reembed;
mod restore;
mod secrets;
mod stack;
mod verifying;
mod words;
