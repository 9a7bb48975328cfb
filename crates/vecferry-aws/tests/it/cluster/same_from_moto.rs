//! moto makes everything ready at once and has addresses that nobody answers; what our calls ask of it, and what they
//! read in its answers, is the same.

use tokio_util::sync::CancellationToken;
use vecferry_aws::cluster::{
    Patience, Progress, TargetName, Wishes, find, holdings, propose, remove, restore, survey,
};
use vecferry_testkit::{Moto, moto};

use super::id;
use crate::rig::account;

/// An Aurora cluster in moto, and its endpoint.
async fn cluster(client: &aws_sdk_rds::Client, name: &str) -> (String, u16) {
    let answer = client
        .create_db_cluster()
        .db_cluster_identifier(name)
        .engine("aurora-postgresql")
        .engine_version("15.3")
        .master_username("postgres")
        .master_user_password("first-password")
        .send()
        .await
        .unwrap();
    let made = answer.db_cluster().unwrap();
    (made.endpoint().unwrap().to_owned(), u16::try_from(made.port().unwrap()).unwrap())
}

#[tokio::test]
async fn a_cluster_is_restored_found_and_removed_in_moto() {
    let account = account(moto().await.endpoint()).await;
    let client = aws_sdk_rds::Client::new(account.config());
    let (target_name, old) = (Moto::unique("target"), Moto::unique("chat"));
    let (host, port) = cluster(&client, &target_name).await;
    cluster(&client, &old).await;
    let snapshot = Moto::unique("final");
    let call = client.create_db_cluster_snapshot().db_cluster_identifier(&old);
    call.db_cluster_snapshot_identifier(&snapshot).send().await.unwrap();
    client
        .delete_db_cluster()
        .db_cluster_identifier(&old)
        .skip_final_snapshot(true)
        .send()
        .await
        .unwrap();

    let target = TargetName { host, port, database: "postgres".into() };
    let survey = survey(&account, &target, Some(&target_name)).await.unwrap();
    // Its subnet group `default` cannot be looked at in moto, so no VPC speaks for a snapshot: it is named.
    assert_eq!(survey.vpc, None);
    let wishes = Wishes { snapshot: Some(snapshot.clone()), ..Wishes::default() };
    let proposal = propose(&survey, &wishes, &id()).unwrap();
    let (report, cancel) = (|_: &Progress| {}, CancellationToken::new());
    let patience = Patience { poll: std::time::Duration::from_millis(2), ..Patience::default() };
    let both = (&report as _, &cancel);
    let temporary = restore(&account, &proposal, "postgres", patience, both).await.unwrap();
    assert!(temporary.snapshot.ends_with(&snapshot));
    assert_eq!(find(&account, &target, Some(&target_name)).await.unwrap(), Some(temporary.clone()));
    assert!(temporary.dsn(&account).await.unwrap().has_password());

    let found = holdings(&account, &target, Some(&target_name)).await.unwrap();
    assert_eq!(found.len(), 4, "{found:?}");
    remove(&account, &target, &found, patience, both).await.unwrap();
    let left = holdings(&account, &target, Some(&target_name)).await.unwrap();
    assert_eq!(left, []);
    let still = client.describe_db_cluster_snapshots().db_cluster_snapshot_identifier(&snapshot);
    assert_eq!(still.send().await.unwrap().db_cluster_snapshots().len(), 1);
}
