//! Re-embedding on real clusters and with real files.

mod delta;
mod embedded;
mod rows;
mod run;
mod store;
mod world;
