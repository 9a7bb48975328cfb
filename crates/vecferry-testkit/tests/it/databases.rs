//! Databases come empty, under names of their own, and go.

use vecferry_testkit::{Database, Session, pair};

async fn exists(url: &str, name: &str) -> bool {
    let session = Session::open(url).await.unwrap();
    let sql = "SELECT count(*) FROM pg_database WHERE datname = $1";
    session.query_one(sql, &[&name]).await.unwrap().get::<_, i64>(0) == 1
}

#[tokio::test]
async fn two_databases_with_one_hint_do_not_meet() {
    let pair = pair().await;
    let one = Database::with_vector(&pair.source, "Same hint!").await.unwrap();
    let two = Database::create(&pair.source, "Same hint!").await.unwrap();
    one.batch("CREATE TABLE t AS SELECT '[1,2]'::vector AS v").await.unwrap();
    let dims: i32 = one.query_one("SELECT vector_dims(v) FROM t").await.unwrap().get(0);
    assert_eq!(dims, 2);
    assert!(two.query_one("SELECT 1 FROM t").await.is_err());
}

#[tokio::test]
async fn psql_gives_what_it_printed_and_stops_at_the_first_error() {
    let database = Database::create(&pair().await.target, "psql").await.unwrap();
    assert_eq!(database.psql("SELECT 1, 'a';\nSELECT 2;").unwrap(), "1|a\n2");
    let error = database.psql("SELECT no_such; CREATE TABLE after ()").unwrap_err().to_string();
    assert!(error.contains("no_such"), "{error}");
    assert_eq!(database.psql("SELECT to_regclass('after') IS NULL").unwrap(), "t");
}

#[tokio::test]
async fn a_dropped_database_is_gone_though_connections_slots_and_subscriptions_hold_it() {
    let pair = pair().await;
    let source = Database::create(&pair.source, "held").await.unwrap();
    let target = Database::create(&pair.target, "held").await.unwrap();
    let _open = source.connect().await.unwrap();
    source
        .batch("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t")
        .await
        .unwrap();
    target.batch("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let url = source.url();
    target
        .batch(&format!("CREATE SUBSCRIPTION held_s CONNECTION '{url}' PUBLICATION p"))
        .await
        .unwrap();
    let names = (source.name().to_owned(), target.name().to_owned());
    drop(target);
    drop(source);
    assert!(!exists(&pair.target.url("postgres"), &names.1).await);
    assert!(!exists(&pair.source.url("postgres"), &names.0).await);
}
