//! Under construction: the executor.

use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::policy::{Clusters, Policy};
use crate::report::{Reporter, Summary};

/// How a run of `migrate` begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Forget what an interrupted run has done and begin again.
    pub restart: bool,
}

/// Runs the copy to its end, continuing an interrupted one.
///
/// # Errors
/// Any [`crate::Error`]; what was finished before it is recorded.
pub async fn migrate(
    _clusters: &Clusters,
    _policy: &Policy,
    _options: RunOptions,
    _reporter: &dyn Reporter,
    _cancel: &CancellationToken,
) -> Result<Summary> {
    Err(crate::Error::Bug { what: "under construction".into() })
}
