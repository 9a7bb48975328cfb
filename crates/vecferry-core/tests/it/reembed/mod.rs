//! Re-embedding on real clusters and with real files.

mod store;
