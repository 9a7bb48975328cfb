//! Re-embedding on real clusters and with real files.

mod run;
mod store;
mod world;
