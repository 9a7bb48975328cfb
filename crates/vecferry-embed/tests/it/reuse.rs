//! Vectors of unchanged texts, from servers of both versions.

use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::{Dsn, QualifiedName};
use vecferry_embed::reuse::KnownVectors;
use vecferry_testkit::vectors::{Vectors, literal};
use vecferry_testkit::{Cluster, Database, pair};

const BOT: &str = "01J0BOT0000000000000000001";
const OTHER: &str = "01J0BOT0000000000000000002";

/// Bedrock Chat's table, with vectors of three values.
async fn items(cluster: &Cluster) -> Database {
    let database = Database::with_vector(cluster, "reuse").await.unwrap();
    let table = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, \
                 source text, embedding vector(3))";
    database.batch(table).await.unwrap();
    database
}

async fn insert(database: &Database, id: u32, bot: &str, content: &str, embedding: &str) {
    let session = database.connect().await.unwrap();
    let sql = "INSERT INTO items VALUES ($1, $2, $3, 's', $4::text::vector)";
    session.execute(sql, &[&format!("{id:026}"), &bot, &content, &embedding]).await.unwrap();
}

async fn open(database: &Database, knowledge: &Knowledge, dimensions: usize) -> KnownVectors {
    let dsn: Dsn = database.url().parse().unwrap();
    KnownVectors::open(&dsn, knowledge, BOT, dimensions).await.unwrap()
}

#[tokio::test]
async fn a_text_is_known_when_the_bot_has_exactly_it() {
    for cluster in [&pair().await.source, &pair().await.target] {
        let database = items(cluster).await;
        let odd =
            "it's a \"text\"; DROP TABLE items; -- \\ ' 日本語 👩\u{200d}💻 e\u{301} \u{1}\n\t";
        insert(&database, 1, BOT, odd, "[1,2,3]").await;
        insert(&database, 2, BOT, "", "[0,0,1]").await;
        insert(&database, 3, OTHER, "another bot's", "[1,1,1]").await;
        insert(&database, 4, BOT, "twice", "[2,2,2]").await;
        insert(&database, 5, BOT, "twice", "[2,2,2]").await;
        let known = open(&database, &Knowledge::default(), 3).await;
        assert_eq!(known.rows(), 4);
        let texts = [odd, "é", "", "another bot's", "twice", "twice", "twice ", "unknown"];
        let vectors = known.take(&texts).await.unwrap();
        let two = Some(vec![2.0, 2.0, 2.0]);
        let expected = [
            Some(vec![1.0, 2.0, 3.0]),
            None,
            Some(vec![0.0, 0.0, 1.0]),
            None,
            two.clone(),
            two,
            None,
            None,
        ];
        assert_eq!(vectors, expected);
        assert!(known.take(&[]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn twenty_thousand_rows_are_known_and_every_vector_is_its_own() {
    let database = items(&pair().await.source).await;
    let sql = format!(
        "INSERT INTO items SELECT lpad(n::text, 26, '0'), CASE n % 2 WHEN 0 THEN '{BOT}' ELSE '{OTHER}' END,
           'text ' || n || repeat(' word', n % 50), 's', ARRAY[n, n / 7, -n]::vector
         FROM generate_series(1, 40000) n; CREATE INDEX ON items (botid); ANALYZE items"
    );
    database.batch(&sql).await.unwrap();
    let known = open(&database, &Knowledge::default(), 3).await;
    assert_eq!(known.rows(), 20_000);
    let text = |n: usize| format!("text {n}{}", " word".repeat(n % 50));
    for start in (1..40_000).step_by(4_000) {
        let numbers: Vec<usize> = (start..start + 96).collect();
        let texts: Vec<String> = numbers.iter().map(|n| text(*n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = known.take(&texts).await.unwrap();
        for (n, vector) in numbers.iter().zip(vectors) {
            let own = || vec![*n as f32, (*n / 7) as f32, -(*n as f32)];
            assert_eq!(vector, (n % 2 == 0).then(own), "{n}");
        }
    }
}

#[tokio::test]
async fn rows_that_changed_meanwhile_are_misses_and_never_wrong() {
    for cluster in [&pair().await.source, &pair().await.target] {
        let database = items(cluster).await;
        for (id, text) in ["stays", "changes", "goes", "moves", "leaves"].iter().enumerate() {
            insert(&database, id as u32, BOT, text, "[1,2,3]").await;
        }
        let known = open(&database, &Knowledge::default(), 3).await;
        database
            .batch(&format!(
                "UPDATE items SET content = 'changed', embedding = '[9,9,9]' WHERE content = 'changes';
                 DELETE FROM items WHERE content = 'goes';
                 UPDATE items SET source = 'moved' WHERE content = 'moves';
                 UPDATE items SET botid = '{OTHER}' WHERE content = 'leaves'"
            ))
            .await
            .unwrap();
        let texts = ["stays", "changes", "changed", "goes", "moves", "leaves"];
        let kept = Some(vec![1.0, 2.0, 3.0]);
        let expected = [kept.clone(), None, None, None, None, None];
        assert_eq!(known.take(&texts).await.unwrap(), expected);
        // Now other texts take the places that were given up.
        database.batch("VACUUM FULL items").await.unwrap();
        // What comes back by chance is right all the same.
        let now = [kept.clone(), None, Some(vec![9.0, 9.0, 9.0]), None, kept, None];
        for (vector, now) in known.take(&texts).await.unwrap().into_iter().zip(&now) {
            assert!(vector.is_none() || vector == *now, "{vector:?} instead of {now:?}");
        }
        let again = open(&database, &Knowledge::default(), 3).await;
        assert_eq!(again.take(&texts).await.unwrap(), now);
    }
}

#[tokio::test]
async fn no_embedding_and_one_of_another_length_are_not_known() {
    let database = items(&pair().await.source).await;
    database
        .batch(&format!(
            "ALTER TABLE items ALTER embedding TYPE vector;
             INSERT INTO items VALUES ('1', '{BOT}', 'none', 's', NULL), ('2', '{BOT}', 'short', 's', '[1,2]'),
               ('3', '{BOT}', 'right', 's', '[1,2,3]'), ('4', '{BOT}', NULL, 's', '[1,2,3]')"
        ))
        .await
        .unwrap();
    let known = open(&database, &Knowledge::default(), 3).await;
    assert_eq!(known.rows(), 2);
    let vectors = known.take(&["none", "short", "right"]).await.unwrap();
    assert_eq!(vectors, [None, None, Some(vec![1.0, 2.0, 3.0])]);
}

#[tokio::test]
async fn halfvec_partitions_odd_names_and_a_table_without_bots_work() {
    let database = Database::create(&pair().await.target, "reuse").await.unwrap();
    database
        .batch(
            "CREATE SCHEMA \"Ext\"; CREATE EXTENSION vector SCHEMA \"Ext\"; CREATE SCHEMA \"Größe \"\"x\"\"\";
             CREATE TABLE \"Größe \"\"x\"\"\".\"my items\" (id int, \"Text\" varchar, src text, \"Half\" \"Ext\".halfvec(3))
               PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF \"Größe \"\"x\"\"\".\"my items\" FOR VALUES FROM (0) TO (10);
             CREATE TABLE high PARTITION OF \"Größe \"\"x\"\"\".\"my items\" FOR VALUES FROM (10) TO (20);
             INSERT INTO \"Größe \"\"x\"\"\".\"my items\" VALUES (1, 'one', '', '[1,2,3]'), (11, 'eleven', '', '[0.5,0,-1]')",
        )
        .await
        .unwrap();
    let knowledge = Knowledge {
        table: QualifiedName::new("Größe \"x\"", "my items"),
        bot: None,
        content: "Text".into(),
        embedding: "Half".into(),
        ..Knowledge::default()
    };
    let known = open(&database, &knowledge, 3).await;
    assert_eq!(known.rows(), 2);
    let vectors = known.take(&["eleven", "one", "two"]).await.unwrap();
    assert_eq!(vectors, [Some(vec![0.5, 0.0, -1.0]), Some(vec![1.0, 2.0, 3.0]), None]);
}

#[tokio::test]
async fn a_view_or_a_column_of_another_type_offers_nothing() {
    let database = items(&pair().await.source).await;
    insert(&database, 1, BOT, "one", "[1,2,3]").await;
    database.batch("CREATE VIEW seen AS SELECT * FROM items").await.unwrap();
    let view = Knowledge { table: QualifiedName::new("public", "seen"), ..Knowledge::default() };
    let text = Knowledge { embedding: "source".into(), ..Knowledge::default() };
    for knowledge in [view, text] {
        let known = open(&database, &knowledge, 3).await;
        assert_eq!(known.rows(), 0);
        assert_eq!(known.take(&["one"]).await.unwrap(), [None]);
    }
}

#[tokio::test]
async fn vectors_of_the_applications_size_come_back_bit_for_bit() {
    let database = Database::with_vector(&pair().await.source, "reuse").await.unwrap();
    let vectors = Vectors::new(3, 1024, 8);
    database
        .batch(&format!(
            "CREATE TABLE items (id int, botid char(26), content text, source text, embedding vector(1024));
             INSERT INTO items VALUES (1, '{BOT}', 'one', 's', '{}'), (2, '{BOT}', 'two', 's', '{}')",
            literal(&vectors.get(1)),
            literal(&vectors.get(2))
        ))
        .await
        .unwrap();
    let known = open(&database, &Knowledge::default(), 1024).await;
    let expected = [Some(vectors.get(2)), None, Some(vectors.get(1))];
    assert_eq!(known.take(&["two", "three", "one"]).await.unwrap(), expected);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_an_error_without_the_text() {
    let database = items(&pair().await.source).await;
    insert(&database, 1, BOT, "one", "[1,2,3]").await;
    let known = open(&database, &Knowledge::default(), 3).await;
    database.batch("ALTER TABLE items RENAME TO elsewhere").await.unwrap();
    let error = known.take(&["one"]).await.unwrap_err();
    assert_eq!(error.side(), Some(vecferry_core::Side::Source));
    assert_eq!(error.to_string(), "source: cannot fetch vectors to reuse");
    let nowhere = Knowledge { content: "no such column".into(), ..Knowledge::default() };
    database.batch("ALTER TABLE elsewhere RENAME TO items").await.unwrap();
    let dsn: Dsn = database.url().parse().unwrap();
    assert!(KnownVectors::open(&dsn, &nowhere, BOT, 3).await.is_err());
}
