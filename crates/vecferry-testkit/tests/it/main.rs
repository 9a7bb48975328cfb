//! Tests of the rig itself, one file per concept; `clusters` shows every way a server can end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod bedrock;
mod chat;
mod clusters;
mod databases;
mod ecs;
mod faults;
mod moto_server;
mod site;
mod text_and_vectors;
mod tls;
mod writers;
