//! Doing what was proposed: look, do the next step, look again. What a step leaves is written in [`super`].

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use vecferry_core::{Error, Result, Side};

use super::capacity;
use super::facts::{Cluster, Instance};
use super::found::Temporary;
use super::names::{MIGRATION, SNAPSHOT, SNAPSHOT_TIME, TARGET, TARGET_CLUSTER};
use super::owner::{self, Owner};
use super::progress::Report;
use super::proposal::{Origin, Proposal};
use super::rds::{Rds, RestoreCall};
use super::secret::{Secrets, password};
use super::step::{Seen, Step, makes_its_instances, next};
use super::wait::{Patience, Waiting};
use crate::account::Account;

/// Restores the temporary cluster, or goes on where an earlier run stopped. `database` is the one whose name the secret
/// gives: snapshots do not tell the names of their databases.
///
/// # Errors
/// [`Error::Service`] when AWS refuses a step, [`Error::Refused`] when something came into a state that it does not
/// leave or the limit has passed, [`Error::Interrupted`]. What was made stays, and the same call goes on from there.
pub async fn restore(
    account: &Account,
    proposal: &Proposal,
    database: &str,
    patience: Patience,
    (report, cancel): (Report<'_>, &CancellationToken),
) -> Result<Temporary> {
    let mut run = Run {
        rds: Rds::new(account),
        secrets: Secrets::new(account),
        proposal,
        database,
        password: None,
        target: None,
    };
    let mut waiting = Waiting::new(patience, report, cancel);
    let cluster = run.go_on(&mut waiting).await?;
    if let Some(wanted) = proposal.target_capacity {
        let target = run.rds.cluster(&proposal.target_cluster.id).await?;
        let target = target.as_ref().unwrap_or(&proposal.target_cluster);
        capacity::raise(&run.rds, target, wanted, &mut waiting).await?;
    }
    Ok(Temporary::of(&cluster, &proposal.migration, true))
}

/// One run.
struct Run<'a> {
    rds: Rds,
    secrets: Secrets,
    proposal: &'a Proposal,
    database: &'a str,
    /// The password that this process has set.
    password: Option<String>,
    /// The target's cluster, once it was seen to carry the id.
    target: Option<Cluster>,
}

impl Run<'_> {
    async fn go_on(&mut self, waiting: &mut Waiting<'_>) -> Result<Cluster> {
        let mut last = None;
        loop {
            waiting.check()?;
            let seen = match self.look().await {
                Ok(seen) => seen,
                Err(error) => {
                    waiting.pause_after(error).await?;
                    continue;
                }
            };
            let step = next(self.proposal, &seen)?;
            match (&step, seen.cluster.as_ref()) {
                (Step::Wait { what, id, status }, _) => {
                    waiting.pause_for(what, id, status).await?;
                    continue;
                }
                (Step::Done, Some(cluster)) => return Ok(cluster.clone()),
                _ => {}
            }
            if last.as_ref() == Some(&step) {
                // Done, and not to be seen yet: RDS is eventually consistent.
                waiting.pause_for("cluster", &self.proposal.cluster, "not visible yet").await?;
            } else {
                waiting.doing(self.name(&step));
            }
            match self.perform(&step, &seen).await {
                Ok(()) => last = Some(step),
                Err(error) => waiting.pause_after(error).await?,
            }
        }
    }

    /// What there is, as far as the next step depends on it.
    async fn look(&mut self) -> Result<Seen> {
        let mut seen = Seen { password_set: self.password.is_some(), ..Seen::default() };
        if self.target.is_none() {
            self.target = self.reserved().await?;
        }
        seen.reserved = self.target.is_some();
        if !seen.reserved {
            return Ok(seen);
        }
        seen.cluster = self.rds.cluster(&self.proposal.cluster).await?;
        let Some(cluster) = &seen.cluster else {
            let id = match &self.proposal.origin {
                Origin::Snapshot(snapshot) => &snapshot.id,
                Origin::Cluster { snapshot, .. } => snapshot,
                Origin::Standing { .. } => return Ok(seen),
            };
            seen.snapshot = self.rds.snapshot(id).await?;
            return Ok(seen);
        };
        let (target, now) = (&self.proposal.target, self.target.as_ref());
        let owner = Owner { target, cluster: now.or(Some(&self.proposal.target_cluster)) };
        if owner.migration(&cluster.tags) != Some(&self.proposal.migration) {
            return Err(not_ours(&cluster.id));
        }
        seen.instances = self.instances(cluster).await?;
        let settled = cluster.status == "available"
            && !seen.instances.is_empty()
            && seen.instances.iter().all(|instance| instance.status == "available");
        seen.secret = settled && self.secrets.exists(&self.proposal.secret).await?;
        Ok(seen)
    }

    /// The target's cluster, if it carries our id. Another's is a second operator.
    async fn reserved(&self) -> Result<Option<Cluster>> {
        let target = &self.proposal.target_cluster;
        let now = self.rds.cluster(&target.id).await?.unwrap_or_else(|| target.clone());
        match now.tags.get(&self.proposal.target.reservation()) {
            None => Ok(None),
            Some(id) if *id == self.proposal.migration => Ok(Some(now)),
            Some(other) => Err(Error::Refused {
                side: Side::Source,
                what: format!("another restore for this target was begun, {other}"),
                hint: Some("run `vecferry restore` again to go on with that one".to_owned()),
            }),
        }
    }

    /// The cluster's instances: of ours the one that we make.
    async fn instances(&self, cluster: &Cluster) -> Result<Vec<Instance>> {
        if cluster.status != "available" {
            return Ok(Vec::new());
        }
        let names: Vec<&String> = match makes_its_instances(self.proposal) {
            true => cluster.members.iter().collect(),
            false => vec![&self.proposal.instance],
        };
        let mut found = Vec::new();
        for name in names {
            found.extend(self.rds.instance(name).await?);
        }
        Ok(found)
    }

    async fn perform(&mut self, step: &Step, seen: &Seen) -> Result<()> {
        let proposal = self.proposal;
        match (step, &seen.cluster, &seen.snapshot) {
            (Step::Reserve, ..) => {
                let arn = &proposal.target_cluster.arn;
                self.rds.tag(arn, &proposal.target.reservation(), &proposal.migration).await
            }
            (Step::TakeSnapshot, ..) => match &proposal.origin {
                Origin::Cluster { cluster, snapshot, .. } => {
                    self.rds.take_snapshot(cluster, snapshot, &self.tags()).await
                }
                _ => Ok(()),
            },
            (Step::Restore, _, Some(snapshot)) => {
                let mut tags = self.tags();
                tags.insert(SNAPSHOT.to_owned(), snapshot.arn.clone());
                tags.extend(snapshot.time.map(|time| (SNAPSHOT_TIME.to_owned(), time.to_string())));
                let class = makes_its_instances(proposal).then_some(proposal.class.as_str());
                let call = RestoreCall {
                    id: &proposal.cluster,
                    snapshot: &snapshot.id,
                    engine: &proposal.engine,
                    engine_version: &proposal.engine_version,
                    subnet_group: &proposal.subnet_group,
                    security_groups: &proposal.security_groups,
                    key: proposal.key.as_deref(),
                    capacity: proposal.capacity,
                    class,
                    tags: &tags,
                };
                self.rds.restore(&call).await
            }
            (Step::CreateInstance, Some(cluster), _) => {
                let tags = inherited(cluster);
                self.rds.create_instance(&proposal.instance, cluster, &proposal.class, &tags).await
            }
            (Step::SetPassword, Some(cluster), _) => {
                let password = password()?;
                self.rds.set_password(cluster, &password).await?;
                self.password = Some(password);
                Ok(())
            }
            (Step::WriteSecret, Some(cluster), _) => {
                let tags = inherited(cluster);
                let words = (self.database, self.password.as_deref().unwrap_or_default());
                self.secrets.write(&proposal.secret, cluster, words, &tags).await
            }
            // The other steps do nothing, and these three are only taken with what they are about.
            _ => Ok(()),
        }
    }

    fn name(&self, step: &Step) -> String {
        let Proposal { cluster, instance, secret, .. } = self.proposal;
        match step {
            Step::Reserve => format!("note the restore on {}", self.proposal.target_cluster.id),
            Step::TakeSnapshot => format!("take the snapshot {cluster}"),
            Step::Restore => format!("restore the cluster {cluster}"),
            Step::CreateInstance => format!("create the instance {instance}"),
            Step::SetPassword => format!("set a new master password of {cluster}"),
            Step::WriteSecret => format!("write the secret {secret}"),
            Step::Wait { what, id, .. } => format!("wait for the {what} {id}"),
            Step::Done => "finish".to_owned(),
        }
    }

    /// The tags that everything gets.
    fn tags(&self) -> BTreeMap<String, String> {
        let Proposal { migration, target, target_cluster, .. } = self.proposal;
        let pairs = [
            (MIGRATION, migration.clone()),
            (TARGET, target.tag()),
            (TARGET_CLUSTER, owner::tag(target_cluster)),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }
}

/// Our tags of the cluster, for what belongs to it.
fn inherited(cluster: &Cluster) -> BTreeMap<String, String> {
    let ours = [MIGRATION, TARGET, TARGET_CLUSTER, SNAPSHOT, SNAPSHOT_TIME];
    let tag = |key: &str| cluster.tags.get_key_value(key);
    ours.into_iter().filter_map(tag).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn not_ours(id: &str) -> Error {
    Error::Refused {
        side: Side::Source,
        what: format!("there is a cluster {id} that does not carry the tags of this restore"),
        hint: Some(
            "vecferry touches nothing without its tags: rename or delete that cluster".to_owned(),
        ),
    }
}
