//! `cutover` and `rollback`: one engine with a direction. Fence the sender, drain it to the last write, prove the
//! receiver, switch the application; undo everything when any of that fails before the switch.
//!
//! ```text
//! decide ─ prepare ─ FENCE ─ drain ─┬ sequences ─ verify ┬─ SWITCH ─ finish
//!                                   └ way back ──────────┘
//!             └────────┴────────┴─ any no: fence lifted, nothing switched
//! ```
//!
//! What is durable when, each step recorded in `vecferry.crossing` on the target before or after what it names:
//!
//! 1. `preparing`, then publication and slot of the way back on the target. Killed here: the application has noticed
//!    nothing; the next run makes what is missing, `rollback` or a run that says no drops it.
//! 2. `fencing`, then the fence, in one transaction on the sender. Killed here: the fence may be up.
//! 3. `fenced`, after the fence, with a position of the sender's WAL that lies behind it. Drain, large objects,
//!    sequences, proof and the way back's position follow; each may be repeated. Killed here: the fence is up.
//! 4. `switching`, before the switch command. Killed here: nobody knows where the application is, so nothing before
//!    is done again (the receiver may be in use), and the command is run again.
//! 5. `switched`, after it; then links that have served are dropped and the way back is set up.
//! 6. `finished`, together with the migration's last phase.
//!
//! A finished `copy` or `delta` has no link to its source: nothing is drained and nothing flows back ([`handover`]). Its
//! crossings have the same record and the same steps, without those of the fence unless one is asked for.
//!
//! The order that matters: the slot of the way back stands beyond everything that apply wrote before the application
//! can write on the target, and its subscription begins only when the forward one is gone, so no change comes around.
//! The target's lock is held from the first look to the end.

pub mod decide;
mod drain;
mod ending;
pub(crate) mod fence;
mod gather;
mod handover;
pub mod position;
mod proof;
mod run;
mod sequences;
pub mod step;
pub mod switch;
mod switching;
mod way_back;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{Result, Side};
use crate::pg::Session;
use crate::policy::{Clusters, Method, Policy};
use crate::report::Reporter;
use crate::store;
use decide::{Decision, Reason};
use gather::Ground;
use step::Direction;
use switch::Switch;

/// How a crossing is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which way.
    pub direction: Direction,
    /// Whether every row is compared by digest under the fence; otherwise rows are counted by table and bot.
    pub full: bool,
    /// What points the application at the receiver; the operator does it when `None`.
    pub switch: Option<Arc<dyn Switch>>,
    /// How long that may take.
    pub switch_timeout: Duration,
    /// How long one try of the fence waits for a lock.
    pub fence_timeout: Duration,
    /// How many tries there are.
    pub fence_tries: u32,
    /// How long the receiver may take to apply what was written before the fence.
    pub drain_timeout: Duration,
    /// The most bytes of WAL that the receiver may be behind at the beginning.
    pub max_lag: u64,
    /// How many values beyond the sender's the receiver's sequences begin.
    pub sequence_margin: u64,
    /// Whether a cutover sets up the link that a rollback needs.
    pub way_back: bool,
    /// Whether writes are refused where nothing is replicated, too; a follow always refuses them.
    pub fence: bool,
}

impl Options {
    /// The defaults.
    pub fn new(direction: Direction) -> Options {
        Options {
            direction,
            full: false,
            switch: None,
            switch_timeout: Duration::from_secs(60),
            // Longer than the servers' deadlock_timeout of 1 s, after which autovacuum gives way to us; shorter than
            // twice that, so that in a deadlock with the application it is we who give way.
            fence_timeout: Duration::from_millis(1500),
            fence_tries: 15,
            drain_timeout: Duration::from_secs(60),
            max_lag: 64 << 20,
            sequence_margin: 1000,
            way_back: true,
            fence: false,
        }
    }
}

/// How a crossing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The application is on the receiver, or is the operator's to point there now; everything is set up.
    Done,
    /// It was not begun; nothing was changed.
    Refused,
    /// It was stopped before the switch: the sender takes writes as before.
    Undone,
    /// Whether the application was switched is not known: the sender's fence stays up.
    Unknown,
}

/// What a crossing did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Version of this shape.
    pub version: u32,
    /// Migration id; `None` when there is none.
    pub migration: Option<String>,
    /// How the migration moves its rows; `None` when there is none. Rows go back with a `follow` only.
    pub method: Option<Method>,
    /// Which way.
    pub direction: Direction,
    /// Whether what was asked for is done. A rollback of a cutover that had not switched is, too.
    pub done: bool,
    /// How it ended.
    pub end: End,
    /// Whether the application is on the receiver, or is the operator's to point there now.
    pub switched: bool,
    /// Whether a command or a secret switched the application; otherwise that is left to the operator.
    pub switched_by_command: bool,
    /// Whether there is a way back.
    pub way_back: bool,
    /// Seconds from the fence to the switch, when there was one.
    pub downtime_seconds: Option<f64>,
    /// What was done, and how long each took.
    pub steps: Vec<StepSeconds>,
    /// Why it was begun or not.
    pub decision: Decision,
    /// What stopped it on the way.
    pub stopped: Option<Reason>,
}

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSeconds {
    /// [`step::Stage`] by name.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
}

/// Whether a crossing would begin or go on now. Changes nothing.
///
/// # Errors
/// [`crate::Error::Postgres`] when a side cannot be read.
pub async fn decide(clusters: &Clusters, policy: &Policy, options: &Options) -> Result<Decision> {
    let target = Session::open(&clusters.target, Side::Target, "decide").await?;
    let source = Session::open(&clusters.source, Side::Source, "decide").await?;
    let ground = Ground { clusters, policy, options, source: &source, target: &target };
    let mut gathered = gather::gather(ground).await?;
    gathered.facts.busy = busy(&target).await?;
    Ok(decide::judge(&gathered.facts))
}

/// Who works on the migration. A process that has just ended holds its lock until its server has noticed.
async fn busy(target: &Session) -> Result<Option<String>> {
    let mut looks = 0;
    loop {
        let holder = store::lock_holder(target).await?;
        looks += 1;
        if holder.is_none() || looks == LOOKS {
            return Ok(holder);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// How often the target's lock must be seen held.
const LOOKS: u32 = 6;

/// Crosses, or says why not. Goes on where an earlier run of the same direction was cut off.
///
/// # Errors
/// [`crate::Error::Postgres`] and others when a side fails, [`crate::Error::Interrupted`] when cancelled; before the
/// switch everything is undone then, and where that fails too the error's hint says so.
pub async fn cross(
    clusters: &Clusters,
    policy: &Policy,
    options: &Options,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let target = Session::open(&clusters.target, Side::Target, "control").await?;
    store::lock(&target).await?;
    let source = Session::open(&clusters.source, Side::Source, "control").await?;
    let ground = Ground { clusters, policy, options, source: &source, target: &target };
    run::run(ground, reporter, cancel).await
}
