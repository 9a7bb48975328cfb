//! What `check --print-policy` can print.

use clap::ValueEnum;
use vecferry_aws::permission::Purpose;
use vecferry_core::policy::Method;

/// Whose permissions, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyFor {
    /// The operator, for everything a copy takes
    Copy,
    /// The operator, for everything a follow takes
    Follow,
    /// The operator, for everything a re-embedding takes
    Reembed,
    /// The operator, for everything a delta takes
    Delta,
    /// The task role of workers
    Worker,
    /// The operator, for `bots` alone
    Bots,
    /// The operator, for `init --stack` alone
    Init,
    /// The operator, for `restore` and the cleanup of what it made
    Restore,
    /// The operator, for a cutover that rewrites the application's secret
    Cutover,
}

impl From<PolicyFor> for Purpose {
    fn from(policy: PolicyFor) -> Purpose {
        match policy {
            PolicyFor::Copy => Purpose::Method(Method::Copy),
            PolicyFor::Follow => Purpose::Method(Method::Follow),
            PolicyFor::Reembed => Purpose::Method(Method::Reembed),
            PolicyFor::Delta => Purpose::Method(Method::Delta),
            PolicyFor::Worker => Purpose::Worker,
            PolicyFor::Bots => Purpose::Bots,
            PolicyFor::Init => Purpose::Init,
            PolicyFor::Restore => Purpose::Restore,
            PolicyFor::Cutover => Purpose::Cutover,
        }
    }
}
