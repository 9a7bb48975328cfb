//! vecferry-aws against doubles that speak the real wire: moto, and the testkit's own for what moto does not do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod bedrock;
mod bots;
mod bots_in_both;
mod cluster;
mod documents;
mod interruption;
mod preflight;
mod rig;
mod secret;
mod stack;
mod switch;
mod tasks;
