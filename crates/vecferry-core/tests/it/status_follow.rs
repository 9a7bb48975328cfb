//! What `status` says of a `follow`, with the source and without it.

use vecferry_core::policy::Clusters;
use vecferry_core::status::{FollowState, FollowStatus, status, status_of};
use vecferry_testkit::{Cluster, Database, Options, Version, pair};

use crate::fixture::{Recorder, clusters, items};
use crate::follow::{follow, following};

async fn told(clusters: &Clusters) -> FollowStatus {
    let status = status_of(&clusters.target, Some(&clusters.source)).await.unwrap().unwrap();
    status.follow.unwrap()
}

/// Asks until it is in that state; gives up after a minute or so.
async fn until(clusters: &Clusters, state: FollowState) -> FollowStatus {
    for _ in 0..120 {
        let told = told(clusters).await;
        if told.state == state {
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    panic!("not {state:?}: {:#?}", told(clusters).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_that_applies_says_how_far_behind_it_is_and_how_fast() {
    let pair = pair().await;
    let source = items(&pair.source, "applying", 1000).await;
    let target = Database::create(&pair.target, "applying").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    let told = until(&clusters, FollowState::Applying).await;
    assert!(told.source_reachable && told.warnings.is_empty(), "{told:#?}");
    assert!(told.lag_bytes.is_some() && told.bytes_per_second.is_some(), "{told:#?}");
    assert!(told.retained_bytes.is_some() && told.safe_bytes.is_none(), "{told:#?}");
    assert!(told.links.len() == 1 && told.way_back.is_none(), "{told:#?}");
    let alone = status(&clusters.target).await.unwrap().unwrap().follow.unwrap();
    assert_eq!((alone.state, alone.source_reachable), (FollowState::Unknown, false));
    assert!(alone.links[0].subscription.as_ref().unwrap().running, "{alone:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_that_a_conflict_stopped_is_told_with_and_without_the_source() {
    let pair = pair().await;
    let source = items(&pair.source, "conflict", 1000).await;
    let target = Database::create(&pair.target, "conflict").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    target.batch("INSERT INTO items (id) VALUES ('taken')").await.unwrap();
    source.batch("INSERT INTO items (id) VALUES ('taken')").await.unwrap();
    let told = until(&clusters, FollowState::Stopped).await;
    let subscription = told.links[0].subscription.as_ref().unwrap();
    assert!(subscription.apply_errors.is_some_and(|errors| errors > 0), "{told:#?}");
    let name = &told.links[0].name;
    target.batch(&format!("ALTER SUBSCRIPTION {name} DISABLE")).await.unwrap();
    // Nothing listens there.
    let away = Clusters { source: "postgres://u@127.0.0.1:1/gone".parse().unwrap(), ..clusters };
    let alone = self::told(&away).await;
    assert_eq!((alone.state, alone.lag_bytes), (FollowState::Stopped, None));
    assert!(!alone.source_reachable && alone.source_problem.is_some(), "{alone:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_whose_wal_is_gone_is_lost() {
    let options = Options::new().set("max_slot_wal_keep_size", "1MB");
    let cluster = Cluster::start(Version::Pg16, options).unwrap();
    let source = items(&cluster, "lost", 1000).await;
    let target = Database::create(&pair().await.target, "lost").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    let told = told(&clusters).await;
    assert!(told.safe_bytes.is_some(), "{told:#?}");
    let name = told.links[0].name.clone();
    target.batch(&format!("ALTER SUBSCRIPTION {name} DISABLE")).await.unwrap();
    for round in 0..5 {
        source.batch(&format!("CREATE TABLE filler_{round} ()")).await.unwrap();
        source.query_one("SELECT pg_switch_wal()::text").await.unwrap();
    }
    source.batch("CHECKPOINT").await.unwrap();
    let told = until(&clusters, FollowState::SlotLost).await;
    assert!(told.links[0].slot.as_ref().is_some_and(|slot| slot.is_lost()), "{told:#?}");
}
