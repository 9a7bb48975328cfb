//! Following a source that stays in use: copy under a slot, apply, resume, and what stops it.

use tokio_util::sync::CancellationToken;
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::phase::Phase;
use vecferry_core::policy::{ApplyStart, Clusters, FollowPolicy, Method, Policy};
use vecferry_core::report::Summary;
use vecferry_core::status::status;
use vecferry_core::{Error, Result};
use vecferry_testkit::{Database, pair};

use crate::fixture::{Recorder, assert_same_content, clusters, items, policy};

/// A policy that follows.
pub(crate) fn following() -> Policy {
    Policy { method: Some(Method::Follow), ..policy() }
}

/// Runs until the target has caught up.
pub(crate) async fn follow(
    clusters: &Clusters,
    policy: &Policy,
    recorder: &Recorder,
) -> Result<Summary, Error> {
    let options = RunOptions { detach: true, ..RunOptions::default() };
    migrate(clusters, policy, options, recorder, &CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_after_the_copy_arrives_by_itself() {
    let pair = pair().await;
    for apply_start in [ApplyStart::Last, ApplyStart::First] {
        let source = items(&pair.source, "follow", 4000).await;
        let target = Database::create(&pair.target, "follow").await.unwrap();
        let clusters = clusters(&source, &target);
        let policy =
            Policy { follow: FollowPolicy { apply_start, ..following().follow }, ..following() };
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        let status = status(&clusters.target).await.unwrap().unwrap();
        assert_eq!((status.phase, status.running), (Phase::Following, false), "{status:?}");
        source
            .batch(
                "DELETE FROM items WHERE botid = 'bot1'; UPDATE items SET content = 'changed' WHERE botid = 'bot2'; \
                 INSERT INTO items (id, botid, embedding) VALUES ('new', 'bot8', '[1,2,3,4,5,6,7,8]')",
            )
            .await
            .unwrap();
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        assert_same_content(&source, &target).await;
    }
}
