//! Re-embedding on real clusters and with real files.

mod delta;
mod rows;
mod run;
mod store;
mod world;
