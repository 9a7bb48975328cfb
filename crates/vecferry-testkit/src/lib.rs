//! Everything a test or the demo needs besides vecferry itself: PostgreSQL clusters that live and
//! die with the process, databases on them, a proxy that misbehaves on command, a TLS terminator,
//! a corpus and vectors, a writer that knows what was acknowledged. Development only; nothing that ships depends on it.
//!
//! A test starts like this:
//!
//! ```no_run
//! # async fn example() -> Result<(), vecferry_testkit::Error> {
//! use vecferry_testkit::{Database, pair};
//!
//! let pair = pair().await; // one pair of clusters for all tests
//! let source = Database::create(&pair.source, "orders").await?; // dropped when it goes
//! source.batch("CREATE TABLE t (id int)").await?;
//! # Ok(()) }
//! ```

mod account;
mod cluster;
mod database;
mod dynamo;
mod error;
mod loopback;
mod moto;
mod packages;
mod pair;
mod proxy;
mod servers;
mod tls;
mod wheel;
mod writer;

pub mod bedrock;
pub mod chat;
pub mod corpus;
pub mod ecs;
pub mod iam;
pub mod papers;
pub mod rds;
pub mod site;
pub mod vectors;

pub use cluster::{Cluster, Options, Stop};
pub use database::{Database, Session};
pub use dynamo::Dynamo;
pub use error::{Error, Result};
pub use moto::{MOTO_ACCOUNT, MOTO_ENV, MOTO_REGION, Moto, moto};
pub use packages::Packages;
pub use pair::{PAIR_ENV, Pair, pair};
pub use proxy::FaultProxy;
pub use servers::Version;
pub use tls::{TlsError, TlsFront};
pub use wheel::{MODEL, Wheel, cache_dir};
pub use writer::{
    Kind, Ledger, Mix, Operation, Outcome, Progress, Uncertain, Visit, Writer, WriterOptions,
    percentile,
};
