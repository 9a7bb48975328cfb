//! PostgreSQL as seen from outside: addresses, sockets, sessions, failures, names.
//! Knows nothing of bots, phases or migrations.

mod authorities;
mod credentials;
mod dsn;
mod failure;
mod holders;
mod lsn;
mod name;
pub mod programs;
mod session;
mod stream;
mod wire;

pub use credentials::{Credentials, Login, LoginSource};
pub use dsn::{Dsn, DsnParts, SslMode};
pub use failure::Failure;
pub(crate) use holders::{holders, with_holders};
pub use lsn::Lsn;
pub use name::{QualifiedName, quote_ident, quote_literal};
pub use session::Session;
pub use stream::Stream;
pub(crate) use wire::frame;
pub use wire::{CopyFormat, TextRow, WireConnection};
