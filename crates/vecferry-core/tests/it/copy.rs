//! `migrate --method copy` on real clusters: what arrives.

use tokio_util::sync::CancellationToken;
use vecferry_core::policy::{Existing, IvfflatLists, Pattern, Policy};
use vecferry_core::verify::{Options, verify};
use vecferry_testkit::{Database, pair};

use crate::fixture::{
    APP_SETUP, Recorder, assert_same_content, assert_same_schema, clusters, copy, count, items,
    policy,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_everything_arrives_as_it_was() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "everything").await.unwrap();
    let target = Database::create(&pair.target, "everything").await.unwrap();
    source.psql(include_str!("everything.sql")).unwrap();
    let summary = copy(&source, &target, &policy()).await.unwrap();
    assert_same_content(&source, &target).await;
    assert_same_schema(&source, &target);
    let items = summary.tables.iter().find(|table| table.table == "public.items").unwrap();
    assert!(items.rows == 5000 && items.parts > 1, "{items:?}");
    assert_proved(&source, &target, summary.rows).await;
    let parent = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'other.events'::regclass";
    assert_eq!(count(&target, parent).await, 900, "partitioned parents are analysed too");
    assert_eq!(
        count(&target, "SELECT count(*) FROM vecferry.archive").await,
        0,
        "the dump is forgotten"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_precision_sparse_and_binary_vectors_arrive_with_their_indexes() {
    let pair = pair().await;
    // The older cluster of the pair does not know these types.
    let source = Database::with_vector(&pair.target, "modern").await.unwrap();
    let target = Database::create(&pair.target, "modern").await.unwrap();
    source.psql(include_str!("everything_new.sql")).unwrap();
    copy(&source, &target, &policy()).await.unwrap();
    assert_same_content(&source, &target).await;
    assert_same_schema(&source, &target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_target_gets_its_index_rebuilt_over_the_rows() {
    let pair = pair().await;
    let source = items(&pair.source, "prepared", 3000).await;
    let target = Database::with_vector(&pair.target, "prepared").await.unwrap();
    target.batch(APP_SETUP).await.unwrap();
    let before = index_oid(&target).await;
    let policy = Policy { ivfflat_lists: IvfflatLists::Auto, ..policy() };
    copy(&source, &target, &policy).await.unwrap();
    assert_same_content(&source, &target).await;
    assert_ne!(before, index_oid(&target).await, "the index made on the empty table was kept");
    let options = "SELECT reloptions::text FROM pg_class WHERE relname = 'idx_items_embedding'";
    assert_eq!(target.query_one(options).await.unwrap().get::<_, String>(0), "{lists=3}");
    let primary_key =
        "SELECT count(*) FROM pg_constraint WHERE conname = 'items_pkey' AND contype = 'p'";
    assert_eq!(count(&target, primary_key).await, 1);
}

async fn index_oid(database: &Database) -> u32 {
    database.query_one("SELECT 'idx_items_embedding'::regclass::oid").await.unwrap().get(0)
}

/// A source with bots 0 to 6 and a target that already holds bot 3 (other rows) and bot `mine`.
async fn two_with_bots(hint: &str) -> (Database, Database) {
    let pair = pair().await;
    let source = items(&pair.source, hint, 1400).await;
    let target = Database::with_vector(&pair.target, hint).await.unwrap();
    target.batch(APP_SETUP).await.unwrap();
    target
        .batch(
            "INSERT INTO items (id, botid, content) VALUES ('X1', 'bot3', 'kept'), ('X2', 'mine', 'kept'), \
             ('X3', NULL, 'kept')",
        )
        .await
        .unwrap();
    (source, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_the_target_are_refused_unless_said_otherwise() {
    let (source, target) = two_with_bots("refuse").await;
    let error = copy(&source, &target, &policy()).await.unwrap_err();
    assert!(error.to_string().contains("hold rows already: public.items"), "{error}");
    assert_eq!(count(&target, "SELECT count(*) FROM items").await, 3, "nothing was changed");
    assert_eq!(
        count(&target, "SELECT count(*) FROM pg_indexes WHERE tablename = 'items'").await,
        3
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_have_rows_keep_them_and_the_others_are_added() {
    let (source, target) = two_with_bots("keep").await;
    copy(&source, &target, &Policy { existing: Existing::Keep, ..policy() }).await.unwrap();
    assert_eq!(count(&target, "SELECT count(*) FROM items WHERE botid = 'bot3'").await, 1);
    assert_eq!(count(&target, "SELECT count(*) FROM items WHERE content = 'kept'").await, 3);
    assert_eq!(count(&target, "SELECT count(*) FROM items").await, 1400 - 200 + 3);
    assert_proved(&source, &target, 1200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sources_bots_replace_theirs_and_others_stay() {
    let (source, target) = two_with_bots("replace").await;
    copy(&source, &target, &Policy { existing: Existing::Replace, ..policy() }).await.unwrap();
    assert_eq!(count(&target, "SELECT count(*) FROM items WHERE botid = 'bot3'").await, 200);
    assert_eq!(count(&target, "SELECT count(*) FROM items WHERE content = 'kept'").await, 2);
    assert_eq!(count(&target, "SELECT count(*) FROM items").await, 1402);
    assert_proved(&source, &target, 1400).await;
}

/// Verify compares what was moved, and leaves out the bots that were there before.
async fn assert_proved(source: &Database, target: &Database, rows: u64) {
    let clusters = clusters(source, target);
    // The index's 100 lists are far too many for these rows: recall is another test's subject.
    let options = Options { recall_bots: 0, ..Options::default() };
    let cancel = CancellationToken::new();
    let verdict =
        verify(&clusters, &policy(), &options, &Recorder::default(), &cancel).await.unwrap();
    assert!(verdict.matches, "{verdict:#?}");
    assert_eq!(verdict.content.rows, rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_selected_tables_are_moved_with_what_they_need() {
    let pair = pair().await;
    let source = items(&pair.source, "selected", 100).await;
    source
        .psql(
            "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE picked (id serial PRIMARY KEY, m mood, left_out int); \
             CREATE TABLE left_out (id int PRIMARY KEY); INSERT INTO left_out VALUES (1); \
             INSERT INTO picked (m, left_out) VALUES ('a', 1); CREATE VIEW both_tables AS SELECT picked.id FROM picked, left_out; \
             ALTER TABLE picked ADD FOREIGN KEY (left_out) REFERENCES left_out",
        )
        .unwrap();
    let target = Database::create(&pair.target, "selected").await.unwrap();
    let policy =
        Policy { exclude: vec![Pattern::new("left*"), Pattern::new("public.items")], ..policy() };
    copy(&source, &target, &policy).await.unwrap();
    assert_eq!(count(&target, "SELECT count(*) FROM picked").await, 1);
    assert_eq!(count(&target, "SELECT nextval('picked_id_seq')").await, 2);
    let tables = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                  WHERE relkind IN ('r', 'v') AND nspname = 'public'";
    assert_eq!(count(&target, tables).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_is_copied_too() {
    let pair = pair().await;
    let source = Database::create(&pair.source, "nothing").await.unwrap();
    let target = Database::create(&pair.target, "nothing").await.unwrap();
    let summary = copy(&source, &target, &policy()).await.unwrap();
    assert_eq!((summary.rows, summary.tables.len()), (0, 0));
}
