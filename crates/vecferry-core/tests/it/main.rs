//! The core on real clusters, one file per concept.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod copy;
mod fixture;
mod follow;
mod interrupted;
mod plan;
mod preflight;
mod verify;
mod verify_following;
