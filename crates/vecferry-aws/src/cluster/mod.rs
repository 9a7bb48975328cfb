//! A temporary cluster, restored from a snapshot of the cluster that is gone, as the source of a migration.
//!
//! `cdk deploy` has replaced the Aurora cluster of a Bedrock Chat stack; what is left of the old one is its final
//! snapshot. Nobody needs to know the old password, nor which of the account's snapshots it is: candidates are found
//! by engine, cluster, VPC and time ([`candidates`]), never by name alone, and the master password of the temporary
//! cluster, which nobody else uses, is set anew.
//!
//! # What is durable when
//!
//! Everything that is made carries as tags the migration's id, the target it is made for and that target's cluster, so a
//! run that was killed at any instant is found again and continued from any machine, and [`remove`] deletes exactly what
//! carries them. Which cluster is behind an address that is a tunnel's, nobody guesses (`owner`).
//!
//! | step | durable with it | a run that finds only this |
//! |---|---|---|
//! | reservation | tag `vecferry:restore/<database>` = id on the *target's* cluster | goes on with that id |
//! | snapshot (only if asked for) | manual snapshot `vecferry-…`, tagged | waits for it |
//! | cluster | the cluster `vecferry-…`, tagged | waits for it |
//! | instance | its only instance, tagged | waits for it |
//! | password | nothing: only this process knows it | sets another one |
//! | secret | `vecferry/<id>` with address and password | is done |
//! | target's capacity (only if asked for) | tag `vecferry:capacity` with the values before, then the new ones | keeps the tag, sets them again |
//!
//! The id is made first and kept where it can be read at once, because everything else is eventually consistent: a
//! cluster whose creation nobody has heard of yet has the same name when it is asked for a second time, and RDS refuses
//! the second (`DBClusterAlreadyExistsFault`), which is then no error. The secret is written last: it is there when,
//! and only when, the cluster can be used.
//!
//! [`mod@survey`] reads, [`propose`] decides what would be done (pure), [`mod@restore`] does it, [`find`] finds it again,
//! [`holdings`] and [`remove`] end it.

mod candidate;
mod capacity;
mod facts;
mod found;
mod holding;
mod names;
mod owner;
mod progress;
mod proposal;
mod rds;
mod removal;
mod restore;
mod secret;
mod step;
mod survey;
mod wait;

pub use candidate::{Candidate, candidates};
pub use facts::{Capacity, Cluster, Instance, Snapshot};
pub use found::{Temporary, find};
pub use holding::{Holding, Kind};
pub use names::TargetName;
pub use progress::Progress;
pub use proposal::{Origin, Proposal, Undecided, Wishes, propose};
pub use removal::{holdings, remove};
pub use restore::restore;
pub use survey::{Survey, survey};
pub use wait::Patience;
