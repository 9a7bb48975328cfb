//! Re-embedding: every bot's documents become rows on the target, each exactly once.
//!
//! Core orchestrates: it reads the bots from a [`registry::BotRegistry`], starts one task per bot through a
//! [`task::TaskRunner`], and proves each bot on the target (or by the registry's record of exactly that attempt). What
//! a task does is `vecferry-embed`'s; Amazon is `vecferry-aws`'s.

pub mod estimate;
pub mod price;
pub mod registry;
pub mod rows;
pub mod task;
