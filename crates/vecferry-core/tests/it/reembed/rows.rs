//! What is read of bots' texts on a real cluster.

use vecferry_core::Side;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::rows::{held, scripts};
use vecferry_testkit::{Database, pair};

#[tokio::test]
async fn scripts_are_told_from_a_sample_of_each_bots_rows() {
    let source = Database::create(&pair().await.source, "scripts").await.unwrap();
    let dsn: Dsn = source.url().parse().unwrap();
    let knowledge = Knowledge::default();
    assert!(scripts(&dsn, Side::Source, &knowledge).await.unwrap().is_empty(), "no table");
    source
        .batch(
            "CREATE TABLE items (id char(26), botid char(26), content text, source text); \
             INSERT INTO items SELECT i, 'english', repeat('word ', 200), 's' FROM generate_series(1, 50) i; \
             INSERT INTO items SELECT i, 'japanese', repeat('文書です。', 200), 's' FROM generate_series(1, 50) i; \
             INSERT INTO items VALUES ('n', 'nothing', NULL, 's')",
        )
        .await
        .unwrap();
    let found = scripts(&dsn, Side::Source, &knowledge).await.unwrap();
    let of = |bot: &str| found[&Some(bot.to_owned())];
    assert_eq!((of("english").latin, of("english").total()), (15_000, 15_000), "300 of each row");
    assert_eq!((of("japanese").han, of("japanese").kana), (9_000, 6_000));
    assert_eq!(of("nothing").total(), 0);
    assert_eq!(found[&None].total(), 30_000, "all of them, for bots that a sample misses");
    let held = held(&dsn, Side::Source, &knowledge).await.unwrap();
    assert_eq!(held["japanese"].chars, 50_000);

    // Partitions are sampled through their parent.
    source
        .batch(
            "DROP TABLE items; CREATE TABLE items (botid text, content text) PARTITION BY HASH (botid); \
             CREATE TABLE part PARTITION OF items FOR VALUES WITH (MODULUS 1, REMAINDER 0); \
             INSERT INTO items SELECT 'b' || i % 5, repeat('x', 1000) FROM generate_series(1, 60000) i",
        )
        .await
        .unwrap();
    let found = scripts(&dsn, Side::Source, &knowledge).await.unwrap();
    let sampled = found[&None].total() / 300;
    assert!((2_000..=5_000).contains(&sampled), "{sampled} rows of 60 000");
}

#[tokio::test]
async fn a_table_for_one_bot_has_its_scripts_under_no_name() {
    let source = Database::create(&pair().await.source, "one_script").await.unwrap();
    source
        .batch("CREATE TABLE items (content text); INSERT INTO items VALUES ('한국어')")
        .await
        .unwrap();
    let dsn: Dsn = source.url().parse().unwrap();
    let knowledge = Knowledge { bot: None, ..Knowledge::default() };
    let found = scripts(&dsn, Side::Source, &knowledge).await.unwrap();
    assert_eq!(found[&Some(String::new())].hangul, 3);
}
