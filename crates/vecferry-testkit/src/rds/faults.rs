//! How the double misbehaves.

/// One thing that goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused with `Throttling`.
    Throttle,
    /// Refused with this code and message (status 400).
    Refuse(String, String),
    /// Refused with `InternalFailure` (500); nothing was done.
    ServerError,
    /// Carried out, and then answered with `InternalFailure`, so that whoever asked asks again.
    Unanswered,
    /// What the call makes ends in this state instead of `available`.
    EndsIn(String),
    /// What the call makes is unknown to this many looks: the service is eventually consistent.
    Late(u32),
    /// Nothing goes wrong; keeps a place in [`super::Rds::next`].
    None,
}

impl Fault {
    /// A quota that is used up: `InstanceQuotaExceeded`, `SnapshotQuotaExceeded`.
    pub fn quota(code: &str) -> Fault {
        let message = "Cannot create more of these: the quota of the account is used up.";
        Fault::Refuse(code.to_owned(), message.to_owned())
    }
}

/// When a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// Before anything is done.
    Before,
    /// After it is done, before the answer.
    After,
}
