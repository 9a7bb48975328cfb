//! What the preflight knows of AWS when it judges: plain data, no I/O.

use vecferry_core::Side;

use super::Look;

/// Everything that was found out.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) look: Look,
    /// ARN of the caller, or why it is not known.
    pub(super) caller: Result<String, String>,
    /// The operator's permissions.
    pub(super) operator: Vec<Tested>,
    /// The task role's, when tasks run on ECS.
    pub(super) worker: Vec<Tested>,
    /// Clusters whose host is an endpoint of RDS.
    pub(super) clusters: Vec<Cluster>,
    /// The newest snapshots, newest first; `None` where the method needs none.
    pub(super) snapshots: Option<Result<Vec<Snapshot>, String>>,
    /// What the model said; `None` where Bedrock has none of ours.
    pub(super) model: Option<ModelSays>,
    /// Quotas of the model, by name, per minute.
    pub(super) model_quotas: Option<Result<Vec<(String, f64)>, String>>,
}

/// One action on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tested {
    /// The statement that grants it.
    pub(super) sid: &'static str,
    pub(super) action: &'static str,
    pub(super) resource: String,
    pub(super) why: &'static str,
    /// Whether only checks need it.
    pub(super) optional: bool,
    pub(super) verdict: Verdict,
}

/// Whether an action is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// It is not, as this says.
    Denied(String),
    /// Nobody knows, because of this.
    Untested(String),
}

/// A cluster behind a host name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cluster {
    pub(super) side: Side,
    pub(super) host: String,
    /// `None` when no cluster of the account has this endpoint; an error when AWS does not tell.
    pub(super) found: Result<Option<Aurora>, String>,
    /// `rds.logical_replication` of its parameter group, read for a follow's source.
    pub(super) logical_replication: Option<Result<Option<String>, String>>,
}

/// An Aurora cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Aurora {
    pub(super) id: String,
    pub(super) engine: String,
    pub(super) version: String,
    pub(super) parameter_group: String,
    pub(super) status: String,
    pub(super) encrypted: bool,
    /// Least and most capacity units, where it is serverless.
    pub(super) capacity: Option<(f64, f64)>,
    /// Whether the host is the endpoint of its readers.
    pub(super) is_reader: bool,
}

/// A snapshot of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Snapshot {
    /// When it was taken, RFC 3339: first, for the order.
    pub(super) taken: String,
    pub(super) id: String,
    pub(super) cluster: String,
    pub(super) version: String,
    pub(super) encrypted: bool,
}

/// How the model answered a call that it cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModelSays {
    /// It found fault with the body: it may be called.
    Ready,
    /// The account has not enabled it.
    NotEnabled(String),
    /// It is not in this region.
    NotOffered(String),
    /// It takes calls through an inference profile only.
    ProfileOnly(String),
    /// The caller may not call it; others may.
    NotOurs,
    /// Something that tells nothing.
    Unclear(String),
}
