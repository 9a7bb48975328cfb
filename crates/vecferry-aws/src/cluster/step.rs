//! The next step of a restore, from what there is now. Pure: a run that was killed anywhere begins by looking, like
//! one that goes on.

use vecferry_core::{Error, Side};

use super::facts::{Cluster, Instance, Snapshot};
use super::names::READY;
use super::proposal::{Origin, Proposal};

/// What there is now of what is to be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Whether the target's cluster carries the id.
    pub(super) reserved: bool,
    /// The snapshot to restore.
    pub(super) snapshot: Option<Snapshot>,
    /// The temporary cluster.
    pub(super) cluster: Option<Cluster>,
    /// Its instances that are there.
    pub(super) instances: Vec<Instance>,
    /// Version of the secret, if it is there.
    pub(super) secret: Option<String>,
    /// Version of the secret whose password this process has set.
    pub(super) password_set: Option<String>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Write the id onto the target's cluster.
    Reserve,
    /// Take a snapshot of the cluster that is there.
    TakeSnapshot,
    /// Restore the cluster.
    Restore,
    /// Give it its instance.
    CreateInstance,
    /// Make the secret, with a new password.
    WriteSecret,
    /// Set the master password to the one in the secret.
    SetPassword,
    /// Note on the cluster from which version of the secret its password is.
    Ready {
        /// That version.
        version: String,
    },
    /// Wait until this leaves its state.
    Wait {
        /// `snapshot`, `cluster`, `instance`.
        what: &'static str,
        /// Its identifier.
        id: String,
        /// Its state.
        status: String,
    },
    /// The cluster can be used.
    Done,
}

/// States from which nothing comes by itself
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/accessing-monitoring.html>).
fn is_dead(status: &str) -> bool {
    const DEAD: [&str; 9] = [
        "failed",
        "restore-error",
        "storage-full",
        "stopped",
        "stopping",
        "deleting",
        "insufficient-capacity",
        "cloning-failed",
        "migration-failed",
    ];
    DEAD.contains(&status)
        || status.starts_with("incompatible-")
        || status.starts_with("inaccessible-encryption-credentials")
}

/// The next step.
///
/// # Errors
/// [`Error::Refused`] when something has come into a state that it does not leave.
pub(super) fn next(proposal: &Proposal, seen: &Seen) -> Result<Step, Error> {
    if !seen.reserved {
        return Ok(Step::Reserve);
    }
    let Some(cluster) = &seen.cluster else { return before_the_cluster(proposal, seen) };
    if let Some(step) = waiting("cluster", &cluster.id, &cluster.status)? {
        return Ok(step);
    }
    if seen.instances.is_empty() {
        return Ok(match makes_its_instances(proposal) {
            true => wait("cluster", &cluster.id, &cluster.status),
            false => Step::CreateInstance,
        });
    }
    for instance in &seen.instances {
        if let Some(step) = waiting("instance", &instance.id, &instance.status)? {
            return Ok(step);
        }
    }
    let Some(version) = &seen.secret else { return Ok(Step::WriteSecret) };
    Ok(match seen.password_set.as_ref() == Some(version) {
        _ if is_ready(cluster, version) => Step::Done,
        false => Step::SetPassword,
        true if cluster.password_pending => {
            wait("cluster", &cluster.id, "resetting-master-credentials")
        }
        true => Step::Ready { version: version.clone() },
    })
}

/// Whether the cluster's password is known to be the one in this version of its secret.
pub(super) fn is_ready(cluster: &Cluster, version: &str) -> bool {
    cluster.tags.get(READY).is_some_and(|noted| noted == version)
}

/// Whether the cluster makes its instances itself, as a multi-AZ cluster does.
pub(super) fn makes_its_instances(proposal: &Proposal) -> bool {
    proposal.engine == "postgres"
}

fn before_the_cluster(proposal: &Proposal, seen: &Seen) -> Result<Step, Error> {
    match (&seen.snapshot, &proposal.origin) {
        (Some(snapshot), _) => {
            Ok(waiting("snapshot", &snapshot.id, &snapshot.status)?.unwrap_or(Step::Restore))
        }
        (None, Origin::Cluster { .. }) => Ok(Step::TakeSnapshot),
        (None, Origin::Snapshot(Snapshot { id, .. })) => Err(gone("snapshot", id)),
        (None, Origin::Standing { .. }) => Err(gone("cluster", &proposal.cluster)),
    }
}

fn gone(what: &str, id: &str) -> Error {
    Error::Refused {
        side: Side::Source,
        what: format!("the {what} {id} is not there any more"),
        hint: Some("somebody has deleted it; run `vecferry restore` again to choose anew".into()),
    }
}

fn wait(what: &'static str, id: &str, status: &str) -> Step {
    Step::Wait { what, id: id.to_owned(), status: status.to_owned() }
}

/// The step of waiting for something that is not available yet.
fn waiting(what: &'static str, id: &str, status: &str) -> Result<Option<Step>, Error> {
    if status == "available" {
        return Ok(None);
    }
    if !is_dead(status) {
        return Ok(Some(wait(what, id, status)));
    }
    Err(Error::Refused {
        side: Side::Source,
        what: format!("the {what} {id} is in state {status}, which it does not leave by itself"),
        hint: Some(match what {
            "snapshot" => "choose another one with --snapshot ID".to_owned(),
            _ => "the events of RDS say why; `vecferry cleanup` removes it, then restore again"
                .to_owned(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::proposal::{Wishes, propose};
    use super::super::survey::tests::{cluster, snapshot, survey};
    use super::*;

    fn proposal() -> Proposal {
        let mut survey = survey();
        survey.snapshots = vec![snapshot("s", "gone", "2026-01-01T00:00:00Z")];
        propose(&survey, &Wishes::default(), "0198c3f1-7000-7abc-8def-1a2b3c4d5e6f").unwrap()
    }

    fn instance(status: &str) -> Instance {
        Instance { id: "i".into(), status: status.into(), ..Instance::default() }
    }

    #[test]
    fn one_step_follows_the_other() {
        let proposal = proposal();
        let step = |seen: &Seen| next(&proposal, seen).unwrap();
        let mut seen = Seen::default();
        assert_eq!(step(&seen), Step::Reserve);
        seen.reserved = true;
        seen.snapshot = Some(snapshot("s", "gone", "2026-01-01T00:00:00Z"));
        assert_eq!(step(&seen), Step::Restore);
        let mut made = cluster("c");
        made.status = "creating".into();
        seen.cluster = Some(made.clone());
        assert_eq!(step(&seen), wait("cluster", "c", "creating"));
        made.status = "available".into();
        seen.cluster = Some(made.clone());
        assert_eq!(step(&seen), Step::CreateInstance);
        seen.instances = vec![instance("configuring-enhanced-monitoring")];
        assert_eq!(step(&seen), wait("instance", "i", "configuring-enhanced-monitoring"));
        seen.instances = vec![instance("available")];
        assert_eq!(step(&seen), Step::WriteSecret);
        seen.secret = Some("v1".into());
        assert_eq!(step(&seen), Step::SetPassword);
        seen.password_set = seen.secret.clone();
        made.password_pending = true;
        seen.cluster = Some(made.clone());
        assert_eq!(step(&seen), wait("cluster", "c", "resetting-master-credentials"));
        made.password_pending = false;
        seen.cluster = Some(made.clone());
        assert_eq!(step(&seen), Step::Ready { version: "v1".into() });
        made.tags.insert(READY.to_owned(), "v1".into());
        seen.cluster = Some(made);
        assert_eq!(step(&seen), Step::Done);
        // Another process has set it: what is noted counts.
        seen.password_set = None;
        assert_eq!(step(&seen), Step::Done);
        // The secret was made anew, or has another password now.
        seen.secret = Some("v2".into());
        assert_eq!(step(&seen), Step::SetPassword);
    }

    #[test]
    fn a_snapshot_is_taken_once_and_waited_for() {
        let mut proposal = proposal();
        proposal.origin = Origin::Cluster {
            cluster: "chat".into(),
            engine: "aurora-postgresql".into(),
            engine_version: "15.3".into(),
            snapshot: "vecferry-1-2".into(),
        };
        let mut seen = Seen { reserved: true, ..Seen::default() };
        assert_eq!(next(&proposal, &seen).unwrap(), Step::TakeSnapshot);
        let mut taken = snapshot("vecferry-1-2", "chat", "");
        taken.status = "creating".into();
        seen.snapshot = Some(taken);
        assert_eq!(next(&proposal, &seen).unwrap(), wait("snapshot", "vecferry-1-2", "creating"));
    }

    #[test]
    fn a_state_without_a_way_out_ends_the_run() {
        let proposal = proposal();
        let failed = |status: &str| Cluster { status: status.into(), ..cluster("c") };
        for status in ["failed", "inaccessible-encryption-credentials-recoverable", "deleting"] {
            let seen = Seen { reserved: true, cluster: Some(failed(status)), ..Seen::default() };
            let error = next(&proposal, &seen).unwrap_err();
            assert!(error.to_string().contains(status) && error.hint().is_some(), "{error}");
        }
        let seen = Seen {
            reserved: true,
            cluster: Some(cluster("c")),
            instances: vec![instance("incompatible-network")],
            ..Seen::default()
        };
        assert!(next(&proposal, &seen).is_err());
        let seen = Seen { reserved: true, ..Seen::default() };
        assert!(next(&proposal, &seen).unwrap_err().to_string().contains("not there any more"));
    }
}
