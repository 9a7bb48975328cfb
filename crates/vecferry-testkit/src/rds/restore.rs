//! What makes something: a snapshot of a cluster, a cluster of a snapshot, an instance of a cluster.

use std::collections::VecDeque;

use super::faults::Fault;
use super::form::Form;
use super::operations::{no_cluster, no_snapshot, short};
use super::show;
use super::state::State;
use super::things::{RdsCluster, RdsInstance, RdsSnapshot};
use super::wire::Refusal;
use super::xml::element;

/// What comes after the first state, and how long nobody sees it.
fn course(states: &[&str], fault: &Fault) -> (VecDeque<String>, u32) {
    let mut ahead: VecDeque<String> = states.iter().map(|state| (*state).to_owned()).collect();
    let hidden = match fault {
        Fault::EndsIn(state) => {
            ahead.pop_back();
            ahead.push_back(state.clone());
            0
        }
        Fault::Late(looks) => *looks,
        _ => 0,
    };
    (ahead, hidden)
}

pub(super) fn snapshot(state: &mut State, form: &Form, fault: &Fault) -> Result<String, Refusal> {
    let id = form.text("DBClusterSnapshotIdentifier").to_owned();
    if state.snapshots.contains_key(&id) {
        let message = format!(
            "Cannot create the snapshot because one with the identifier {id} already exists."
        );
        return Err(Refusal::new(400, "DBClusterSnapshotAlreadyExistsFault", message));
    }
    let name = form.text("DBClusterIdentifier");
    let time = state.time();
    let cluster = state.clusters.get_mut(name).ok_or_else(|| no_cluster(name))?;
    if cluster.status != "available" {
        let message = format!("The DB cluster {name} is not in the available state.");
        return Err(Refusal::new(400, "InvalidDBClusterStateFault", message));
    }
    cluster.status = "backing-up".to_owned();
    cluster.ahead.push_back("available".to_owned());
    let (ahead, hidden) = course(&["creating", "available"], fault);
    let vpc = state.subnet_groups.get(&cluster.subnet_group).cloned().unwrap_or_default();
    let made = RdsSnapshot {
        status: "creating".to_owned(),
        ahead,
        hidden,
        vpc,
        tags: form.tags(),
        ..RdsSnapshot::of(cluster, &id, &time)
    };
    let shown = element("DBClusterSnapshot", &show::snapshot(&made));
    state.snapshots.insert(id, made);
    Ok(shown)
}

pub(super) fn cluster(state: &mut State, form: &Form, fault: &Fault) -> Result<String, Refusal> {
    let id = form.text("DBClusterIdentifier").to_owned();
    if state.clusters.contains_key(&id) {
        let message = format!("DB Cluster already exists: {id}");
        return Err(Refusal::new(400, "DBClusterAlreadyExistsFault", message));
    }
    let name = form.text("SnapshotIdentifier");
    let name = short(name).to_owned();
    let time = state.time();
    let snapshot = state.snapshots.get(&name).ok_or_else(|| no_snapshot(&name))?.clone();
    if snapshot.status != "available" {
        let message = format!("The snapshot {name} is not in the available state.");
        return Err(Refusal::new(400, "InvalidDBClusterSnapshotStateFault", message));
    }
    if form.text("Engine") != snapshot.engine {
        let message = "The engine of the snapshot is another one.";
        return Err(Refusal::new(400, "InvalidParameterCombination", message));
    }
    let subnet_group = form.get("DBSubnetGroupName").unwrap_or("default").to_owned();
    if subnet_group != "default" && !state.subnet_groups.contains_key(&subnet_group) {
        let message = format!("DB subnet group '{subnet_group}' does not exist.");
        return Err(Refusal::new(404, "DBSubnetGroupNotFoundFault", message));
    }
    let mut security_groups = form.list("VpcSecurityGroupIds", "VpcSecurityGroupId");
    if security_groups.is_empty() {
        security_groups.push("sg-default".to_owned());
    }
    let (ahead, hidden) = course(&["creating", "backing-up", "available"], fault);
    let capacity = |name: &str| form.number(&format!("ServerlessV2ScalingConfiguration.{name}"));
    let made = RdsCluster {
        version: form.get("EngineVersion").unwrap_or(&snapshot.version).to_owned(),
        engine: snapshot.engine.clone(),
        status: "creating".to_owned(),
        ahead,
        hidden,
        resource: format!("cluster-RESTORED{}", state.made()),
        subnet_group,
        security_groups,
        database: form.get("DatabaseName").map(str::to_owned).or(snapshot.database),
        user: snapshot.user,
        key: form.get("KmsKeyId").map(str::to_owned).or(snapshot.key),
        capacity: capacity("MinCapacity").zip(capacity("MaxCapacity")),
        protected: form.is("DeletionProtection"),
        retention: form.number("BackupRetentionPeriod").unwrap_or(1),
        tags: form.tags(),
        created: time,
        attached: snapshot.attached,
        ..RdsCluster::new(&id)
    };
    let shown = element("DBCluster", &state.show_cluster(&made));
    state.clusters.insert(id, made);
    Ok(shown)
}

pub(super) fn instance(state: &mut State, form: &Form, fault: &Fault) -> Result<String, Refusal> {
    let id = form.text("DBInstanceIdentifier").to_owned();
    if state.instances.contains_key(&id) {
        return Err(Refusal::new(400, "DBInstanceAlreadyExists", "DB instance already exists"));
    }
    let name = form.text("DBClusterIdentifier").to_owned();
    let cluster = state.clusters.get(&name).ok_or_else(|| no_cluster(&name))?;
    if cluster.status != "available" {
        let message = format!("The cluster {name} is not in the available state.");
        return Err(Refusal::new(400, "InvalidDBClusterStateFault", message));
    }
    let class = form.text("DBInstanceClass").to_owned();
    if class == "db.serverless" && cluster.capacity.is_none() {
        let message = "Set the Serverless v2 scaling configuration on the parent DB cluster before creating a Serverless v2 DB instance.";
        return Err(Refusal::new(400, "InvalidParameterCombination", message));
    }
    let (ahead, hidden) =
        course(&["creating", "configuring-enhanced-monitoring", "available"], fault);
    let made = RdsInstance {
        id: id.clone(),
        cluster: name,
        class,
        status: "creating".to_owned(),
        ahead,
        hidden,
        public: form.is("PubliclyAccessible"),
        tags: form.tags(),
    };
    let shown = element("DBInstance", &state.show_instance(&made));
    state.instances.insert(id, made);
    Ok(shown)
}
