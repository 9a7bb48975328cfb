//! The operations but the two that make a cluster: looking, changing, deleting.

use super::attached::Attached;
use super::faults::Fault;
use super::form::Form;
use super::restore;
use super::show;
use super::state::State;
use super::wire::Refusal;
use super::xml::{element, list, text};

/// What is still to be done outside the lock before the call is answered: a role's new password.
#[derive(Debug)]
pub(super) struct After {
    pub(super) server: Attached,
    pub(super) user: String,
    pub(super) password: String,
}

/// The answer's content, and what is still to be done.
type Done = Result<(String, Option<After>), Refusal>;

pub(super) fn perform(state: &mut State, operation: &str, form: &Form, fault: &Fault) -> Done {
    let content = match operation {
        "DescribeDBClusters" => clusters(state, form),
        "DescribeDBInstances" => instances(state, form),
        "DescribeDBClusterSnapshots" => snapshots(state, form),
        "DescribeDBSubnetGroups" => subnet_groups(state, form),
        "CreateDBClusterSnapshot" => restore::snapshot(state, form, fault),
        "RestoreDBClusterFromSnapshot" => restore::cluster(state, form, fault),
        "CreateDBInstance" => restore::instance(state, form, fault),
        "ModifyDBCluster" => return modify(state, form),
        "AddTagsToResource" => add_tags(state, form),
        "RemoveTagsFromResource" => remove_tags(state, form),
        "ListTagsForResource" => list_tags(state, form),
        "DeleteDBInstance" => delete_instance(state, form),
        "DeleteDBCluster" => delete_cluster(state, form),
        "DeleteDBClusterSnapshot" => delete_snapshot(state, form),
        other => Err(Refusal::new(400, "InvalidAction", format!("{other} is no action here."))),
    };
    content.map(|content| (content, None))
}

/// One page, by the name of its last thing: what comes or goes in between moves no other.
fn page<T>(
    all: &[(String, T)],
    form: &Form,
    most: usize,
    show: impl Fn(&T) -> String,
) -> (Vec<String>, String) {
    let size = form.number("MaxRecords").unwrap_or(most).min(most);
    let after = form.text("Marker");
    let mut rest = all.iter().filter(|(name, _)| name.as_str() > after);
    let shown: Vec<&(String, T)> = rest.by_ref().take(size).collect();
    let marker = match (rest.next(), shown.last()) {
        (Some(_), Some((name, _))) => text("Marker", name),
        _ => String::new(),
    };
    (shown.into_iter().map(|(_, thing)| show(thing)).collect(), marker)
}

/// An identifier or ARN, as an identifier. Those of automated snapshots have a colon of their own.
pub(super) fn short(name: &str) -> &str {
    match name.starts_with("arn:") {
        true => name.splitn(7, ':').nth(6).unwrap_or(name),
        false => name,
    }
}

fn clusters(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let asked = form.get("DBClusterIdentifier").map(short);
    let found: Vec<_> = state
        .clusters
        .values()
        .filter(|cluster| cluster.hidden == 0 && asked.is_none_or(|id| cluster.id == id))
        .map(|cluster| (cluster.id.clone(), cluster.clone()))
        .collect();
    let (members, marker) = page(&found, form, state.page, |cluster| {
        element("DBCluster", &state.show_cluster(cluster))
    });
    for cluster in state.clusters.values_mut().filter(|one| asked.is_none_or(|id| one.id == id)) {
        cluster.look();
    }
    state.clusters.retain(|_, cluster| cluster.status != "deleted");
    match (asked, members.is_empty()) {
        (Some(id), true) => Err(no_cluster(id)),
        _ => Ok([list("DBClusters", members), marker].concat()),
    }
}

fn instances(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let asked = form.get("DBInstanceIdentifier").map(short);
    let found: Vec<_> = state
        .instances
        .values()
        .filter(|instance| instance.hidden == 0 && asked.is_none_or(|id| instance.id == id))
        .map(|instance| (instance.id.clone(), instance.clone()))
        .collect();
    let (members, marker) = page(&found, form, state.page, |instance| {
        element("DBInstance", &state.show_instance(instance))
    });
    for instance in state.instances.values_mut().filter(|one| asked.is_none_or(|id| one.id == id)) {
        instance.look();
    }
    state.instances.retain(|_, instance| instance.status != "deleted");
    match (asked, members.is_empty()) {
        (Some(id), true) => {
            Err(Refusal::new(404, "DBInstanceNotFound", format!("DBInstance {id} not found.")))
        }
        _ => Ok([list("DBInstances", members), marker].concat()),
    }
}

fn snapshots(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let asked = form.get("DBClusterSnapshotIdentifier").map(short);
    let kind = form.get("SnapshotType");
    let of = form.get("DBClusterIdentifier").map(short);
    let found: Vec<_> = state
        .snapshots
        .values()
        .filter(|snapshot| snapshot.hidden == 0 && asked.is_none_or(|id| snapshot.id == id))
        .filter(|snapshot| kind.is_none_or(|kind| snapshot.kind == kind))
        .filter(|snapshot| of.is_none_or(|id| snapshot.cluster == id))
        .map(|snapshot| (snapshot.id.clone(), snapshot.clone()))
        .collect();
    let (members, marker) = page(&found, form, state.page, |snapshot| {
        element("DBClusterSnapshot", &show::snapshot(snapshot))
    });
    for snapshot in state.snapshots.values_mut().filter(|one| asked.is_none_or(|id| one.id == id)) {
        snapshot.look();
    }
    match (asked, members.is_empty()) {
        (Some(id), true) => Err(no_snapshot(id)),
        _ => Ok([list("DBClusterSnapshots", members), marker].concat()),
    }
}

fn subnet_groups(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let asked = form.get("DBSubnetGroupName");
    let found: Vec<String> = state
        .subnet_groups
        .iter()
        .filter(|(name, _)| asked.is_none_or(|asked| asked == name.as_str()))
        .map(|(name, vpc)| {
            let parts = [
                text("DBSubnetGroupName", name),
                text("VpcId", vpc),
                text("SubnetGroupStatus", "Complete"),
            ];
            element("DBSubnetGroup", &parts.concat())
        })
        .collect();
    match (asked, found.is_empty()) {
        (Some(name), true) => {
            let message = format!("DB subnet group '{name}' does not exist.");
            Err(Refusal::new(404, "DBSubnetGroupNotFoundFault", message))
        }
        _ => Ok(list("DBSubnetGroups", found)),
    }
}

pub(super) fn no_cluster(id: &str) -> Refusal {
    Refusal::new(404, "DBClusterNotFoundFault", format!("DBCluster {id} not found."))
}

pub(super) fn no_snapshot(id: &str) -> Refusal {
    let message = format!("DBClusterSnapshot not found: {id}");
    Refusal::new(404, "DBClusterSnapshotNotFoundFault", message)
}

fn wrong_state(what: &str) -> Refusal {
    Refusal::new(400, "InvalidDBClusterStateFault", what)
}

fn modify(state: &mut State, form: &Form) -> Done {
    let id = short(form.text("DBClusterIdentifier"));
    let cluster = state.clusters.get_mut(id).ok_or_else(|| no_cluster(id))?;
    if cluster.status != "available" {
        let message =
            format!("DB cluster isn't available for modification with status {}", cluster.status);
        return Err(wrong_state(&message));
    }
    if !form.is("ApplyImmediately") {
        return Err(Refusal::new(
            400,
            "InvalidParameterCombination",
            "No modifications were requested",
        ));
    }
    let password = form.get("MasterUserPassword").map(str::to_owned);
    if password.as_ref().is_some_and(|text| !(8..=128).contains(&text.chars().count())) {
        let message = "The parameter MasterUserPassword is not a valid password.";
        return Err(Refusal::new(400, "InvalidParameterValue", message));
    }
    let (least, most) = (
        form.number("ServerlessV2ScalingConfiguration.MinCapacity"),
        form.number("ServerlessV2ScalingConfiguration.MaxCapacity"),
    );
    if let (Some(least), Some(most)) = (least, most) {
        cluster.capacity = Some((least, most));
        cluster.ahead.extend(["modifying", "available"].map(str::to_owned));
    }
    if let Some(password) = &password {
        cluster.password = Some(password.clone());
        cluster.password_pending = true;
        // The real service is still available for a moment, with the change pending.
        let states = ["available", "resetting-master-credentials", "available"];
        cluster.ahead.extend(states.map(str::to_owned));
    }
    let after = match (&cluster.attached, password) {
        (Some(server), Some(password)) => {
            Some(After { server: server.clone(), user: cluster.user.clone(), password })
        }
        _ => None,
    };
    let cluster = cluster.clone();
    Ok((element("DBCluster", &state.show_cluster(&cluster)), after))
}

/// The tags of the thing with this ARN.
fn tags_of<'a>(
    state: &'a mut State,
    arn: &str,
) -> Result<&'a mut std::collections::BTreeMap<String, String>, Refusal> {
    let id = short(arn);
    let kind = arn.split(':').nth(5).unwrap_or_default();
    match kind {
        "cluster" => {
            state.clusters.get_mut(id).map(|one| &mut one.tags).ok_or_else(|| no_cluster(id))
        }
        "db" => state.instances.get_mut(id).map(|one| &mut one.tags).ok_or_else(|| {
            Refusal::new(404, "DBInstanceNotFound", format!("DBInstance {id} not found."))
        }),
        "cluster-snapshot" => {
            state.snapshots.get_mut(id).map(|one| &mut one.tags).ok_or_else(|| no_snapshot(id))
        }
        _ => Err(Refusal::new(
            400,
            "InvalidParameterValue",
            "The specified resource name does not match an RDS resource in this region.",
        )),
    }
}

fn add_tags(state: &mut State, form: &Form) -> Result<String, Refusal> {
    tags_of(state, form.text("ResourceName"))?.extend(form.tags());
    Ok(String::new())
}

fn remove_tags(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let tags = tags_of(state, form.text("ResourceName"))?;
    for key in form.list("TagKeys", "member") {
        tags.remove(&key);
    }
    Ok(String::new())
}

fn list_tags(state: &mut State, form: &Form) -> Result<String, Refusal> {
    Ok(show::tags(tags_of(state, form.text("ResourceName"))?))
}

fn delete_instance(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let id = short(form.text("DBInstanceIdentifier"));
    let missing = || Refusal::new(404, "DBInstanceNotFound", format!("DBInstance {id} not found."));
    let instance = state.instances.get_mut(id).ok_or_else(missing)?;
    if instance.status == "deleting" {
        let message = format!("Instance {id} is already being deleted.");
        return Err(Refusal::new(400, "InvalidDBInstanceState", message));
    }
    instance.status = "deleting".to_owned();
    instance.ahead = ["deleting", "deleted"].map(str::to_owned).into();
    let instance = instance.clone();
    Ok(element("DBInstance", &state.show_instance(&instance)))
}

fn delete_cluster(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let id = short(form.text("DBClusterIdentifier"));
    if !form.is("SkipFinalSnapshot") && form.get("FinalDBSnapshotIdentifier").is_none() {
        let message =
            "FinalDBSnapshotIdentifier is required when deleting a cluster with a final snapshot.";
        return Err(Refusal::new(400, "InvalidParameterCombination", message));
    }
    let inhabited = state
        .instances
        .values()
        .any(|instance| instance.cluster == id && instance.status != "deleting");
    let cluster = state.clusters.get_mut(id).ok_or_else(|| no_cluster(id))?;
    if cluster.protected {
        let message =
            "Cannot delete protected Cluster, please disable deletion protection and try again.";
        return Err(Refusal::new(400, "InvalidParameterCombination", message));
    }
    if inhabited {
        let message =
            "Cluster cannot be deleted, it still contains DB instances in non-deleting state.";
        return Err(wrong_state(message));
    }
    if cluster.status == "deleting" {
        return Err(wrong_state("Cluster is already being deleted."));
    }
    cluster.status = "deleting".to_owned();
    cluster.ahead = ["deleting", "deleted"].map(str::to_owned).into();
    let cluster = cluster.clone();
    Ok(element("DBCluster", &state.show_cluster(&cluster)))
}

fn delete_snapshot(state: &mut State, form: &Form) -> Result<String, Refusal> {
    let id = short(form.text("DBClusterSnapshotIdentifier"));
    let snapshot = state.snapshots.get(id).ok_or_else(|| no_snapshot(id))?;
    if snapshot.kind != "manual" || snapshot.status != "available" {
        let message = format!(
            "Cannot delete the snapshot {id} because it is not a manual one or not available."
        );
        return Err(Refusal::new(400, "InvalidDBClusterSnapshotStateFault", message));
    }
    let shown = element("DBClusterSnapshot", &show::snapshot(snapshot));
    state.snapshots.remove(id);
    Ok(shown)
}
