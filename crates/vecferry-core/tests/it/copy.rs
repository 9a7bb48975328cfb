//! `migrate --method copy` on real clusters.

use vecferry_testkit::{Database, pair};

use crate::fixture::{assert_same_content, assert_same_schema, copy, policy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_everything_arrives_as_it_was() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "everything").await.unwrap();
    let target = Database::create(&pair.target, "everything").await.unwrap();
    source.psql(include_str!("everything.sql")).unwrap();
    let summary = copy(&source, &target, &policy()).await.unwrap();
    assert_same_content(&source, &target).await;
    assert_same_schema(&source, &target);
    assert!(
        summary
            .tables
            .iter()
            .any(|table| table.table == "public.items" && table.rows == 5000 && table.parts > 1)
    );
}
