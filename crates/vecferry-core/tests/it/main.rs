//! The core on real clusters, one file per concept.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod cleanup_follow;
mod conflict;
mod copy;
mod cutover;
mod cutover_apart;
mod fixture;
mod follow;
mod handover;
mod interrupted;
mod plan;
mod preflight;
mod preflight_follow;
mod reembed;
mod status_follow;
mod tls;
mod verify;
mod verify_following;
