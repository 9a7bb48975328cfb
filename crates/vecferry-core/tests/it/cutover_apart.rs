//! What two migrations of one database, a second cutover and a cluster that dies under the fence come to.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vecferry_core::Side;
use vecferry_core::cutover::step::{Direction, Stage};
use vecferry_core::cutover::{End, Options, Outcome, cross};
use vecferry_core::policy::{Clusters, FollowPolicy, Pattern, Policy};
use vecferry_core::report::{Event, Reporter};
use vecferry_testkit::{
    Cluster, Database, FaultProxy, Options as ClusterOptions, Stop, Version, pair,
};

use crate::fixture::{Recorder, clusters, items};
use crate::follow::{follow, following};

async fn go(clusters: &Clusters, policy: &Policy, direction: Direction) -> Outcome {
    let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
    cross(clusters, policy, &Options::new(direction), &recorder, &cancel).await.unwrap()
}

const WRITE: &str = "UPDATE items SET content = 'written' WHERE botid = 'bot1'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_migration_never_lifts_the_fence_of_another() {
    let pair = pair().await;
    let source = items(&pair.source, "fences", 200).await;
    source.batch("CREATE TABLE other (id int PRIMARY KEY)").await.unwrap();
    let one = Database::create(&pair.target, "fences").await.unwrap();
    let two = Database::create(&pair.target, "fences").await.unwrap();
    let first = Policy { include: vec![Pattern::new("items")], ..following() };
    let second = Policy { exclude: vec![Pattern::new("items")], ..following() };
    let (to_one, to_two) = (clusters(&source, &one), clusters(&source, &two));
    follow(&to_one, &first, &Recorder::default()).await.unwrap();
    follow(&to_two, &second, &Recorder::default()).await.unwrap();
    assert_eq!(go(&to_one, &first, Direction::Cutover).await.end, End::Done);
    assert!(source.batch(WRITE).await.is_err(), "fenced");

    let refused = go(&to_two, &second, Direction::Cutover).await;
    assert_eq!(refused.end, End::Refused);
    let said =
        refused.decision.reasons.iter().any(|reason| reason.what.contains("another migration"));
    assert!(said, "{refused:#?}");
    vecferry_core::cleanup::cleanup(&to_two).await.unwrap();
    assert!(source.batch(WRITE).await.is_err(), "fenced still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_that_was_taken_back_is_not_said_to_be_done() {
    let pair = pair().await;
    let source = items(&pair.source, "again", 200).await;
    let target = Database::create(&pair.target, "again").await.unwrap();
    let (clusters, policy) = (clusters(&source, &target), following());
    follow(&clusters, &policy, &Recorder::default()).await.unwrap();
    assert_eq!(go(&clusters, &policy, Direction::Cutover).await.end, End::Done);
    assert_eq!(go(&clusters, &policy, Direction::Cutover).await.end, End::Done, "done is done");
    assert_eq!(go(&clusters, &policy, Direction::Rollback).await.end, End::Done);
    let again = go(&clusters, &policy, Direction::Cutover).await;
    assert!(again.end == End::Refused && !again.done, "{again:#?}");
}

/// Stops the target at once when the drain begins: the fence is up by then.
struct Killer<'a>(&'a Cluster);

impl Reporter for Killer<'_> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::StageStarted { stage: Stage::Drain }) {
            self.0.stop(Stop::Immediate).unwrap();
        }
    }
}

/// Holds everything that passes when the drain begins.
struct Silencer<'a>(&'a FaultProxy);

impl Reporter for Silencer<'_> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::StageStarted { stage: Stage::Drain }) {
            self.0.hold();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_falls_silent_under_the_fence_leaves_the_source_in_use() {
    let pair = pair().await;
    let source = items(&pair.source, "silent", 200).await;
    let target = Database::create(&pair.target, "silent").await.unwrap();
    let direct = clusters(&source, &target);
    follow(&direct, &following(), &Recorder::default()).await.unwrap();
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", pair.target.port())).unwrap();
    let through = format!("{}?connect_timeout=1", proxy.url(target.url()));
    let way_back =
        FollowPolicy { target_from_source: Some(direct.target.clone()), ..following().follow };
    let policy = Policy { follow: way_back, ..following() };
    let clusters = Clusters { target: through.parse().unwrap(), ..direct };
    let options =
        Options { drain_timeout: Duration::from_secs(1), ..Options::new(Direction::Cutover) };
    let cancel = CancellationToken::new();
    let error = cross(&clusters, &policy, &options, &Silencer(&proxy), &cancel).await.unwrap_err();
    assert_eq!(error.side(), Some(Side::Target), "{error}");
    source.batch(WRITE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_under_the_fence_leaves_the_source_in_use() {
    let dying = Cluster::start(Version::Pg18, ClusterOptions::new().durable()).unwrap();
    let source = items(&pair().await.source, "dying", 200).await;
    let target = Database::create(&dying, "dying").await.unwrap();
    let (clusters, policy) = (clusters(&source, &target), following());
    follow(&clusters, &policy, &Recorder::default()).await.unwrap();
    let (options, cancel) = (Options::new(Direction::Cutover), CancellationToken::new());
    let error = cross(&clusters, &policy, &options, &Killer(&dying), &cancel).await.unwrap_err();
    assert_eq!(error.side(), Some(Side::Target), "{error}");
    source.batch(WRITE).await.unwrap();
    dying.start_again().unwrap();
    let patience = std::time::Instant::now();
    // Apply needs a moment to connect again; until then the answer is no.
    while go(&clusters, &policy, Direction::Cutover).await.end != End::Done {
        assert!(patience.elapsed().as_secs() < 120, "never went");
    }
    let written = "SELECT count(*) FROM items WHERE content = 'written'";
    let here = crate::fixture::count(&source, written).await;
    assert!(here > 0 && crate::fixture::count(&target, written).await == here);
}
