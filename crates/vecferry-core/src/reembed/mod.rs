//! Re-embedding: every bot's documents become rows on the target, each exactly once.
//!
//! Core orchestrates: it reads the bots from a [`registry::BotRegistry`], starts one task per bot through a
//! [`task::TaskRunner`], and proves each bot on the target (or by the registry's record of exactly that attempt). What
//! a task does is `vecferry-embed`'s; Amazon is `vecferry-aws`'s.
//!
//! Read [`store`] for what is recorded and durable when, [`decide`] and [`verdict`] for what follows from what is seen.

pub mod decide;
pub mod file;
pub mod pace;
pub mod registry;
pub mod select;
pub mod store;
pub mod task;
pub mod verdict;
