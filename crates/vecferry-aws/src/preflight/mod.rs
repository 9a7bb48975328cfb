//! What `vecferry check` finds in AWS before a migration: who the caller is, what of the method's permissions it lacks,
//! what the Aurora clusters behind the host names are, which snapshots there are, whether the model answers and how
//! fast it may be called.
//!
//! [`gather`] reads plain [`facts`] and judges nothing; every judgement is a pure function in [`judge`]. Nothing is
//! changed, and nothing is tried that would be: permissions are simulated by IAM, or, where that is refused, found out
//! by harmless reads. What AWS refuses to tell is left out and said to be, never an error.

mod aurora;
mod facts;
mod gather;
mod judge;
mod model;
mod principal;
mod simulate;
#[cfg(test)]
mod tests;
mod trial;

use vecferry_core::policy::Method;
use vecferry_core::preflight::Report;

use crate::account::Account;
use crate::endpoint;
use crate::permission::Scope;

/// What to look into.
#[derive(Debug, Clone)]
pub struct Look {
    /// How the data is to be moved.
    pub method: Method,
    /// What the settings name.
    pub scope: Scope,
    /// Host of the source, when it is known.
    pub source_host: Option<String>,
    /// Host of the target, when it is known.
    pub target_host: Option<String>,
    /// Memory that the largest index build on the target wants, in bytes.
    pub index_bytes: Option<u64>,
}

/// Whether the host is an endpoint of RDS.
pub fn is_rds(host: &str) -> bool {
    endpoint::region(host).is_some()
}

/// Looks, and judges what is seen.
pub async fn check(account: &Account, look: Look) -> Report {
    judge::judge(&gather::gather(account, look).await)
}
