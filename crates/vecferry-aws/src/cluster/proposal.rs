//! What a restore would do, decided from what there is and what is wished for: nothing here asks AWS.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use vecferry_core::{Error, Side};

use super::candidate::{Candidate, candidates};
use super::facts::{Capacity, Cluster, Snapshot};
use super::names::{self, TargetName};
use super::survey::Survey;

/// The class of an Aurora Serverless v2 instance.
const SERVERLESS: &str = "db.serverless";

/// What the operator wishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    /// The snapshot, by identifier or ARN.
    pub snapshot: Option<String>,
    /// The cluster whose data is wanted, by identifier, gone or not.
    pub source_cluster: Option<String>,
    /// The address it has, when it may still be there.
    pub source_address: Option<(String, u16)>,
    /// Whether a snapshot is taken of it now.
    pub take_snapshot: bool,
    /// Security groups in place of the target's.
    pub security_groups: Vec<String>,
    /// Instance class; Serverless v2 when `None`.
    pub instance_class: Option<String>,
    /// Engine version; the snapshot's when `None`.
    pub engine_version: Option<String>,
    /// KMS key to encrypt with, by id, ARN or alias; as the snapshot is when `None`.
    pub key: Option<String>,
    /// Serverless capacity of the temporary cluster.
    pub capacity: Capacity,
    /// Least capacity of the target while it is filled; as it is when `None`.
    pub raise_target: Option<f64>,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes {
            snapshot: None,
            source_cluster: None,
            source_address: None,
            take_snapshot: false,
            security_groups: Vec::new(),
            instance_class: None,
            engine_version: None,
            key: None,
            // Half an ACU, the least there is, reads its first gigabytes in slow motion; 16 feed any COPY.
            capacity: Capacity { least: 2.0, most: 16.0 },
            raise_target: None,
        }
    }
}

/// What the temporary cluster is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// A snapshot that is there.
    Snapshot(Snapshot),
    /// A snapshot that is taken of this cluster first.
    Cluster {
        /// Its identifier.
        cluster: String,
        /// Its engine.
        engine: String,
        /// Its engine version.
        engine_version: String,
        /// Identifier of the snapshot.
        snapshot: String,
    },
    /// The temporary cluster stands, or is being made.
    Standing {
        /// ARN of its snapshot.
        snapshot: String,
        /// When that was taken.
        time: Option<Timestamp>,
    },
}

/// What a restore does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// Migration id.
    pub migration: String,
    /// The database it is for.
    #[serde(serialize_with = "as_text")]
    pub target: TargetName,
    /// The target's cluster.
    #[serde(skip)]
    pub target_cluster: Cluster,
    /// What it is made of.
    pub origin: Origin,
    /// Identifier of the temporary cluster.
    pub cluster: String,
    /// Identifier of its instance.
    pub instance: String,
    /// Name of its secret.
    pub secret: String,
    /// Engine.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// Instance class.
    pub class: String,
    /// Serverless capacity, where the class has any.
    pub capacity: Option<Capacity>,
    /// DB subnet group.
    pub subnet_group: String,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// KMS key to encrypt with.
    pub key: Option<String>,
    /// GiB of its storage, when the snapshot tells.
    pub gib: Option<u64>,
    /// The target's capacity while it is filled, when it is raised.
    pub target_capacity: Option<Capacity>,
}

fn as_text<S: serde::Serializer>(target: &TargetName, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(target)
}

/// Why nothing can be proposed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Undecided {
    /// The snapshot that was named is not among the candidates.
    #[error("{0} is no snapshot that can be restored for this target")]
    NoSuchSnapshot(String),
    /// The snapshot that was named cannot be used.
    #[error("the snapshot {id} is in state {status}")]
    Unusable {
        /// Which.
        id: String,
        /// Its state.
        status: String,
    },
    /// There is none.
    #[error("no snapshot of a cluster that is gone is in the VPC of the target ({others} others)")]
    None {
        /// Candidates for which less speaks.
        others: usize,
    },
    /// Snapshots of several clusters.
    #[error("snapshots of several clusters may be meant: {}", .0.join(", "))]
    Several(Vec<String>),
    /// The cluster is still there, so that its snapshots are older than its data.
    #[error("the cluster {0} is still there: its snapshots lack what was written since")]
    StillThere(String),
    /// There is no cluster to take a snapshot of.
    #[error("it is not known which cluster a snapshot is to be taken of")]
    NothingToTake,
    /// The cluster that was named is the target.
    #[error("{0} is the cluster of the target")]
    IsTarget(String),
    /// Something that the engine cannot do.
    #[error("a multi-AZ cluster (engine postgres) has no serverless instances")]
    NeedsClass,
    /// Another snapshot was restored already.
    #[error("a temporary cluster restored from {0} stands for this target")]
    Another(String),
    /// Several temporary clusters.
    #[error("several temporary clusters stand for this target: {}", .0.join(", "))]
    Crowd(Vec<String>),
    /// The least capacity is above the most, or one of them is none.
    #[error("{0} ACUs is no capacity: from 0 to 256 by halves, the least not above the most")]
    Capacity(Capacity),
    /// The target has no serverless capacity.
    #[error("the capacity of {0} cannot be raised: it is no Serverless v2 cluster")]
    NotServerless(String),
}

impl Undecided {
    fn hint(&self) -> &'static str {
        match self {
            Undecided::NoSuchSnapshot(_) | Undecided::None { .. } => {
                "`vecferry restore --list` shows the candidates; --snapshot ID chooses one"
            }
            Undecided::Unusable { .. } => "wait until it is available, or choose another one",
            Undecided::Several(_) => {
                "choose one with --snapshot ID, or a cluster with --source-cluster"
            }
            Undecided::StillThere(_) => {
                "pass --take-snapshot to take one now, or --snapshot ID to restore an older one"
            }
            Undecided::NothingToTake => "pass --source-cluster ID of a cluster that is there",
            Undecided::IsTarget(_) => "name the cluster whose data is wanted",
            Undecided::NeedsClass => "pass --instance-class, for example db.m6gd.large",
            Undecided::Another(_) | Undecided::Crowd(_) => {
                "use it, or remove it with `vecferry cleanup` first"
            }
            Undecided::Capacity(_) => {
                "see --min-capacity, --max-capacity and --raise-target-capacity"
            }
            Undecided::NotServerless(_) => "leave out --raise-target-capacity",
        }
    }
}

impl From<Undecided> for Error {
    fn from(why: Undecided) -> Error {
        let (what, hint) = (why.to_string(), Some(why.hint().to_owned()));
        match why {
            Undecided::Another(_) | Undecided::Crowd(_) => {
                Error::Refused { side: Side::Source, what, hint }
            }
            _ => Error::Configuration { what, hint },
        }
    }
}

/// Decides what a restore would do. `new_id` is the migration's id unless one was begun already.
///
/// # Errors
/// Why it cannot be decided.
pub fn propose(survey: &Survey, wishes: &Wishes, new_id: &str) -> Result<Proposal, Undecided> {
    check(wishes.capacity)?;
    let standing = standing(survey)?;
    let candidates = candidates(survey);
    let id = begun(survey, standing).unwrap_or_else(|| new_id.to_owned());
    let origin = match standing {
        Some(cluster) => of_standing(cluster, wishes)?,
        None => choose(survey, &candidates, wishes, &id)?,
    };
    let (engine, version, gib) = match (&origin, standing) {
        (_, Some(cluster)) => (&cluster.engine, &cluster.version, None),
        (Origin::Snapshot(one), _) => (&one.engine, &one.engine_version, Some(one.gib)),
        (Origin::Cluster { engine, engine_version, .. }, _) => (engine, engine_version, None),
        (Origin::Standing { .. }, None) => (&survey.cluster.engine, &survey.cluster.version, None),
    };
    let class = match (&wishes.instance_class, engine.as_str()) {
        (Some(class), _) => class.clone(),
        (None, "postgres") => return Err(Undecided::NeedsClass),
        (None, _) => SERVERLESS.to_owned(),
    };
    let chosen = &wishes.security_groups;
    Ok(Proposal {
        cluster: standing.map_or_else(|| names::identifier(&id), |cluster| cluster.id.clone()),
        instance: names::instance(&id),
        secret: names::secret(&id),
        engine: engine.clone(),
        engine_version: wishes.engine_version.clone().unwrap_or_else(|| version.clone()),
        capacity: (class == SERVERLESS).then_some(wishes.capacity),
        class,
        subnet_group: survey.cluster.subnet_group.clone(),
        security_groups: match chosen.is_empty() {
            true => survey.cluster.security_groups.clone(),
            false => chosen.clone(),
        },
        key: wishes.key.clone(),
        gib: gib.filter(|gib| *gib > 0),
        target_capacity: raised(survey, wishes.raise_target)?,
        target: survey.target.clone(),
        target_cluster: survey.cluster.clone(),
        origin,
        migration: id,
    })
}

/// The temporary cluster that stands for the target.
fn standing(survey: &Survey) -> Result<Option<&Cluster>, Undecided> {
    let owner = survey.owner();
    let ours = |cluster: &&Cluster| owner.migration(&cluster.tags).is_some();
    let standing: Vec<&Cluster> = survey.clusters.iter().filter(ours).collect();
    match standing[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(Undecided::Crowd(standing.iter().map(|one| one.id.clone()).collect())),
    }
}

/// The id of a restore that was begun.
fn begun(survey: &Survey, standing: Option<&Cluster>) -> Option<String> {
    let owner = survey.owner();
    let of = |tags: &BTreeMap<String, String>| owner.migration(tags).map(str::to_owned);
    let reserved = || owner.reserved().map(str::to_owned);
    let taken = || survey.snapshots.iter().find_map(|snapshot| of(&snapshot.tags));
    standing.and_then(|cluster| of(&cluster.tags)).or_else(reserved).or_else(taken)
}

fn of_standing(cluster: &Cluster, wishes: &Wishes) -> Result<Origin, Undecided> {
    let snapshot = cluster.tags.get(names::SNAPSHOT).cloned().unwrap_or_default();
    let time = cluster.tags.get(names::SNAPSHOT_TIME).and_then(|time| time.parse().ok());
    match &wishes.snapshot {
        Some(asked) if !is_named(asked, &snapshot) => Err(Undecided::Another(snapshot)),
        _ => Ok(Origin::Standing { snapshot, time }),
    }
}

/// Whether an identifier or ARN is that of the thing with this ARN.
fn is_named(asked: &str, arn: &str) -> bool {
    asked == arn || arn.rsplit_once(":cluster-snapshot:").is_some_and(|(_, id)| id == asked)
}

fn choose(
    survey: &Survey,
    candidates: &[Candidate],
    wishes: &Wishes,
    id: &str,
) -> Result<Origin, Undecided> {
    let of = |candidate: &Candidate| Origin::Snapshot(candidate.snapshot.clone());
    if let Some(asked) = &wishes.snapshot {
        let named =
            |one: &&Candidate| one.snapshot.id == *asked || is_named(asked, &one.snapshot.arn);
        let one = candidates.iter().find(named);
        let one = one.ok_or_else(|| Undecided::NoSuchSnapshot(asked.clone()))?;
        return match one.snapshot.status.as_str() {
            "available" | "creating" => Ok(of(one)),
            status => Err(Undecided::Unusable { id: asked.clone(), status: status.to_owned() }),
        };
    }
    if let Some(taken) = candidates.iter().find(|candidate| candidate.taken_for_this) {
        return Ok(of(taken));
    }
    if let Some(cluster) = source_cluster(survey, wishes)? {
        return match wishes.take_snapshot {
            true => Ok(Origin::Cluster {
                cluster: cluster.id.clone(),
                engine: cluster.engine.clone(),
                engine_version: cluster.version.clone(),
                snapshot: names::identifier(id),
            }),
            false => Err(Undecided::StillThere(cluster.id.clone())),
        };
    }
    if wishes.take_snapshot {
        return Err(Undecided::NothingToTake);
    }
    let within = |one: &&Candidate| {
        let named = |name: &String| one.snapshot.cluster == *name;
        one.is_likely() && wishes.source_cluster.as_ref().is_none_or(named)
    };
    let likely: Vec<&Candidate> = candidates.iter().filter(within).collect();
    let clusters: BTreeSet<(&str, &str)> = likely
        .iter()
        .map(|one| (one.snapshot.cluster.as_str(), one.snapshot.resource.as_str()))
        .collect();
    match (likely.first(), clusters.len()) {
        (Some(newest), 1) => Ok(of(newest)),
        (None, _) => Err(Undecided::None { others: candidates.len() }),
        _ => {
            let names = clusters.into_iter().map(|(cluster, _)| cluster.to_owned());
            Err(Undecided::Several(names.collect()))
        }
    }
}

/// The cluster whose data is wanted, if it is there.
fn source_cluster<'a>(
    survey: &'a Survey,
    wishes: &Wishes,
) -> Result<Option<&'a Cluster>, Undecided> {
    let named = |cluster: &&Cluster| match (&wishes.source_cluster, &wishes.source_address) {
        (Some(id), _) => cluster.id == *id || cluster.arn == *id,
        (None, Some((host, port))) => cluster.is_at(host, *port),
        (None, None) => false,
    };
    match survey.clusters.iter().find(named) {
        Some(cluster) if cluster.resource == survey.cluster.resource => {
            Err(Undecided::IsTarget(cluster.id.clone()))
        }
        found => Ok(found),
    }
}

fn check(capacity: Capacity) -> Result<(), Undecided> {
    let halves = |acus: f64| (0.0..=256.0).contains(&acus) && (acus * 2.0).fract() == 0.0;
    match halves(capacity.least) && halves(capacity.most) && capacity.least <= capacity.most {
        // RDS takes no most below one ACU.
        true if capacity.most >= 1.0 => Ok(()),
        _ => Err(Undecided::Capacity(capacity)),
    }
}

/// The target's capacity while it is filled, where that is more than it has.
fn raised(survey: &Survey, least: Option<f64>) -> Result<Option<Capacity>, Undecided> {
    let Some(least) = least else { return Ok(None) };
    let Some(now) = survey.cluster.capacity else {
        return Err(Undecided::NotServerless(survey.cluster.id.clone()));
    };
    let raised = Capacity { least: least.max(now.least), most: now.most.max(least) };
    check(raised)?;
    Ok((raised != now).then_some(raised))
}

#[cfg(test)]
mod tests;
