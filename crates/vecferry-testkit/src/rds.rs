//! Amazon RDS, as far as restoring a cluster from its snapshot needs it, on a loopback port: clusters, instances and
//! snapshots whose states move on, the service's own refusals, and a log of what was asked.
//!
//! moto has the same calls, but there everything is ready at once and lies at an address that nobody answers. Here a
//! state moves one further with each look at it (no clocks: a test decides how long things take by looking), a cluster
//! may be attached to a real PostgreSQL server, so that its endpoint works and a new master password is one, and a call
//! can be refused, carried out unheard, or held until the caller is gone: what a process killed in the middle leaves.
//!
//! Secrets Manager answers on the same port by asking another double (moto), so that a test can hold the call that
//! stores a password as well.

mod attached;
mod faults;
mod form;
mod operations;
mod restore;
mod show;
mod state;
mod things;
mod wire;
mod xml;

use std::sync::Arc;

use crate::error::Result;
use crate::loopback::Loopback;
use crate::moto::{MOTO_REGION, Moto};
pub use attached::Attached;
pub use faults::{Fault, Stall};
pub use state::Call;
use state::Shared;
pub use things::{RdsCluster, RdsInstance, RdsSnapshot};

/// The account that everything belongs to; the same as moto's, so that both can be one account.
pub const RDS_ACCOUNT: &str = crate::moto::MOTO_ACCOUNT;

/// The double; dropping it closes its connections and frees the port.
#[derive(Debug)]
pub struct Rds {
    shared: Arc<Shared>,
    served: Loopback,
}

impl Rds {
    /// Starts it on a free port, with a subnet group `private` in `vpc-1`, and hands Secrets Manager's calls to moto.
    ///
    /// # Errors
    /// No port or thread.
    pub fn start(moto: &Moto) -> Result<Rds> {
        let shared = Arc::new(Shared::new(moto.endpoint()));
        Ok(Rds { served: Loopback::serve(wire::router(Arc::clone(&shared)))?, shared })
    }

    /// What `AWS_ENDPOINT_URL_RDS` and `AWS_ENDPOINT_URL_SECRETS_MANAGER` should say.
    pub fn url(&self) -> String {
        format!("http://{}", self.served.address())
    }

    /// What sends a program of ours to this double.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL_RDS", self.url()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.url()),
            ("AWS_REGION", MOTO_REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
        ]
    }

    /// Puts a cluster there, as if it had always been; with one instance, its writer.
    pub fn add_cluster(&self, cluster: RdsCluster) {
        let mut state = self.shared.state();
        let writer = RdsInstance::writer_of(&cluster);
        state.instances.insert(writer.id.clone(), writer);
        state.clusters.insert(cluster.id.clone(), cluster);
    }

    /// Changes a cluster that is there.
    pub fn replace_cluster(&self, cluster: RdsCluster) {
        self.shared.state().clusters.insert(cluster.id.clone(), cluster);
    }

    /// Puts a snapshot there.
    pub fn add_snapshot(&self, snapshot: RdsSnapshot) {
        self.shared.state().snapshots.insert(snapshot.id.clone(), snapshot);
    }

    /// Adds a DB subnet group.
    pub fn add_subnet_group(&self, name: &str, vpc: &str) {
        self.shared.state().subnet_groups.insert(name.to_owned(), vpc.to_owned());
    }

    /// Deletes a cluster with its instances at once, as if somebody else had.
    pub fn forget_cluster(&self, id: &str) {
        let mut state = self.shared.state();
        state.clusters.remove(id);
        state.instances.retain(|_, instance| instance.cluster != id);
    }

    /// How many things a page of an answer holds from now on; 100 at first, as on the real service.
    pub fn set_page(&self, page: usize) {
        self.shared.state().page = page;
    }

    /// Plays these faults with the calls of this operation that come next, one each.
    pub fn next(&self, operation: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().script.entry(operation.to_owned()).or_default().extend(faults);
    }

    /// Holds the call of this number from now on (1 is the next) and every later one; see [`Rds::stalled`].
    pub fn stall_at(&self, number: usize, stall: Stall) {
        self.shared.state().stall_at(number, stall);
    }

    /// Waits until a call is held. Whoever made it can then be killed.
    pub async fn stalled(&self) {
        let mut stalls = self.shared.stalls();
        // The sender lives in `shared`.
        let _ = stalls.wait_for(|held| *held).await;
    }

    /// Holds no call any more; those that are held stay so.
    pub fn go_on(&self) {
        self.shared.go_on();
    }

    /// Every call so far, in order; those of Secrets Manager too.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// How often an operation was asked for.
    pub fn count(&self, operation: &str) -> usize {
        self.shared.state().calls.iter().filter(|call| call.operation == operation).count()
    }

    /// The clusters as they are now, by name.
    pub fn clusters(&self) -> Vec<RdsCluster> {
        self.shared.state().clusters.values().cloned().collect()
    }

    /// The cluster of this name.
    pub fn cluster(&self, id: &str) -> Option<RdsCluster> {
        self.shared.state().clusters.get(id).cloned()
    }

    /// The instances as they are now, by name.
    pub fn instances(&self) -> Vec<RdsInstance> {
        self.shared.state().instances.values().cloned().collect()
    }

    /// The snapshots as they are now, by name.
    pub fn snapshots(&self) -> Vec<RdsSnapshot> {
        self.shared.state().snapshots.values().cloned().collect()
    }
}
