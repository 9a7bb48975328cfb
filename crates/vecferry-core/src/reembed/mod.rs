//! Re-embedding: every bot's documents become rows on the target, each exactly once.
//!
//! Core orchestrates: it reads the bots from a [`registry::BotRegistry`], starts one task per bot through a
//! [`task::TaskRunner`], and proves each bot on the target (or by the registry's record of exactly that attempt). What
//! a task does is `vecferry-embed`'s; Amazon is `vecferry-aws`'s.
//!
//! Read `run` and `attempt` for the order of things, [`store`] for what is recorded and durable when, [`decide`] and
//! [`verdict`] for what follows from what is seen.

mod adopt;
mod attempt;
pub mod brake;
mod claim;
pub mod decide;
pub mod estimate;
pub mod file;
mod ledger;
mod muster;
mod opening;
mod order;
pub mod pace;
mod pacer;
mod patience;
mod precheck;
pub(crate) mod proof;
pub mod registry;
pub mod rows;
mod run;
pub mod script;
pub mod select;
mod shared;
mod spent;
pub mod store;
pub mod task;
pub mod verdict;
mod watch;

pub use decide::NONE_LEFT;
pub use order::{FailedBot, ReembedOrder, Summary, TaskPolicy};
pub use precheck::precheck;
pub use run::run;
pub use spent::Spent;
