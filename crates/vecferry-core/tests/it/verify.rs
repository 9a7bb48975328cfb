//! What verify says about two databases that are the same, and about every way in which they are not.

mod definitions;
mod objects;
mod recall;
mod recorded;

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::QualifiedName;
use vecferry_core::policy::{Clusters, Policy};
use vecferry_core::report::{Event, Reporter};
use vecferry_core::verify::content::{Standing, TableContent};
use vecferry_core::verify::keys::KeyDifference;
use vecferry_core::verify::{Options, Verdict, verify};
use vecferry_core::{Error, Side};
use vecferry_testkit::{Database, pair};

/// The application's table with 300 rows of three bots, in the order of `$order`.
const ITEMS: &str = "
CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26) NOT NULL, content text, source text,
                    embedding vector(4));
CREATE INDEX items_botid ON items (botid);
INSERT INTO items
SELECT 'id' || lpad(i::text, 4, '0'), 'bot' || i % 3, 'text ' || i, NULLIF('s' || i % 7, 's3'),
       ARRAY[i % 13, i % 17, i % 19, i]::vector
FROM generate_series(1, 300) i ORDER BY $order;
ANALYZE items;
";

struct Events(Mutex<Vec<Event>>);

impl Reporter for Events {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A source and a target database.
struct Both {
    source: Database,
    target: Database,
    policy: Policy,
    options: Options,
}

impl Both {
    async fn new(hint: &str) -> Both {
        let pair = pair().await;
        Both {
            source: Database::with_vector(&pair.source, hint).await.unwrap(),
            target: Database::with_vector(&pair.target, hint).await.unwrap(),
            // Parts of four pages: small tables are read in many parts, too.
            policy: Policy { jobs: 2, part_bytes: 32 << 10, ..Policy::default() },
            options: Options { recall_bots: 0, ..Options::default() },
        }
    }

    /// Both sides made by the same statements.
    async fn made_by(hint: &str, sql: &str) -> Both {
        let both = Both::new(hint).await;
        both.source.batch(sql).await.unwrap();
        both.target.batch(sql).await.unwrap();
        both
    }

    /// The application's table, its rows in another physical order on the target.
    async fn items(hint: &str) -> Both {
        let both = Both::new(hint).await;
        both.source.batch(&ITEMS.replace("$order", "i")).await.unwrap();
        both.target.batch(&ITEMS.replace("$order", "md5(i::text)")).await.unwrap();
        both
    }

    fn clusters(&self) -> Clusters {
        Clusters {
            source: self.source.url().parse().unwrap(),
            target: self.target.url().parse().unwrap(),
        }
    }

    async fn verify(&self) -> Verdict {
        let events = Events(Mutex::default());
        let cancel = CancellationToken::new();
        let clusters = self.clusters();
        let verdict =
            verify(&clusters, &self.policy, &self.options, &events, &cancel).await.unwrap();
        let events = events.0.into_inner().unwrap();
        assert!(events.iter().all(|event| matches!(event, Event::Verifying { .. })));
        assert!(!events.is_empty());
        verdict
    }

    /// The verdict after a statement on the target.
    async fn after(&self, sql: &str) -> Verdict {
        self.target.batch(sql).await.unwrap();
        self.verify().await
    }
}

/// The rows of one table.
fn table<'a>(verdict: &'a Verdict, name: &str) -> &'a TableContent {
    verdict.content.tables.iter().find(|table| table.table == name).unwrap()
}

/// The rows named for `public.items`.
fn named(verdict: &Verdict) -> Vec<KeyDifference> {
    table(verdict, "public.items").rows_differing.clone().unwrap().first
}

fn row(key: &str, bot: &str, standing: Standing, columns: &[&str]) -> KeyDifference {
    KeyDifference {
        key: vec![key.into()],
        bot: Some(bot.into()),
        standing,
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn structure(verdict: &Verdict) -> Vec<String> {
    let differences = verdict.structure.as_ref().unwrap().differences.iter();
    differences.map(|one| format!("{:?} {}: {}", one.what, one.name, one.difference)).collect()
}

#[tokio::test]
async fn equal_rows_in_another_order_match_and_the_verdict_says_what_it_rests_on() {
    let both = Both::items("same").await;
    let verdict = both.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    let items = table(&verdict, "public.items");
    assert_eq!((items.columns, items.bots), (5, Some(3)));
    assert_eq!(items.source, items.target);
    assert_eq!(items.source.as_ref().unwrap().rows, 300);
    assert_eq!((verdict.content.rows, verdict.vectors.vectors), (300, 300));
    assert!(verdict.content.source_bytes > 300 * 40);
    assert_eq!(verdict.content.source_bytes, verdict.content.target_bytes);
    assert_eq!(verdict.structure.as_ref().unwrap().notes, ["extension vector: 0.6.2 became 0.8.5"]);
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!((&json["version"], &json["matches"]), (&1.into(), &true.into()));
}

#[tokio::test]
async fn a_row_lost_a_row_added_a_bit_flipped_and_a_null_turned_empty_are_each_named() {
    let both = Both::items("rows").await;
    let verdict = both
        .after(
            "DELETE FROM items WHERE id = 'id0004';
             INSERT INTO items VALUES ('id0301', 'new', 'x', 'y', '[1,2,3,4]');
             UPDATE items SET embedding = '[6,6,6,6.0000005]' WHERE id = 'id0006';
             UPDATE items SET source = '' WHERE id = 'id0010';",
        )
        .await;
    assert!(
        !verdict.matches && !verdict.content.matches && verdict.structure.as_ref().unwrap().matches
    );
    let expected = [
        row("id0004", "bot1", Standing::Missing, &[]),
        row("id0006", "bot0", Standing::Changed, &["embedding"]),
        row("id0010", "bot1", Standing::Changed, &["source"]),
        row("id0301", "new", Standing::Extra, &[]),
    ];
    assert_eq!(named(&verdict), expected);
    let items = table(&verdict, "public.items");
    let bots: Vec<_> = items
        .bots_differing
        .iter()
        .map(|bot| (bot.bot.as_str(), bot.standing, bot.source_rows, bot.target_rows))
        .collect();
    let expected = [
        ("bot0", Standing::Changed, 100, 100),
        ("bot1", Standing::Changed, 100, 99),
        ("new", Standing::Extra, 0, 1),
    ];
    assert_eq!(bots, expected);
}

#[tokio::test]
async fn of_many_differences_all_are_counted_and_the_first_are_shown() {
    let mut both = Both::items("many").await;
    both.options.differences = 2;
    let verdict = both.after("DELETE FROM items WHERE botid = 'bot2'").await;
    let found = table(&verdict, "public.items").rows_differing.clone().unwrap();
    assert_eq!((found.missing, found.extra, found.changed), (100, 0, 0));
    let keys: Vec<_> = found.first.into_iter().map(|row| row.key.concat()).collect();
    assert_eq!(keys, ["id0002", "id0005"]);
}

#[tokio::test]
async fn quick_counts_rows_by_bot_and_does_not_compare_values() {
    let mut both = Both::items("quick").await;
    both.options.quick = true;
    let changed = both.after("UPDATE items SET content = 'other' WHERE id = 'id0001'").await;
    assert!(changed.matches && !changed.content.digests, "{changed:#?}");
    let moved = both.after("UPDATE items SET botid = 'bot2' WHERE id = 'id0001'").await;
    let items = table(&moved, "public.items");
    let bots: Vec<_> = items.bots_differing.iter().map(|bot| bot.bot.as_str()).collect();
    assert_eq!((items.matches, bots), (false, vec!["bot1", "bot2"]));
}

#[tokio::test]
async fn differences_of_structure_are_found_and_the_rows_are_still_compared() {
    let both = Both::items("structure").await;
    both.source
        .batch(
            "CREATE TABLE lost (id int); INSERT INTO lost VALUES (1);
             CREATE TABLE narrow (id int PRIMARY KEY, gone text); INSERT INTO narrow VALUES (1, 'x');
             CREATE SEQUENCE counted; SELECT setval('counted', 7);",
        )
        .await
        .unwrap();
    let verdict = both
        .after(
            "ALTER TABLE items ALTER content TYPE varchar(100); DROP INDEX items_botid;
             CREATE TABLE narrow (id int PRIMARY KEY); INSERT INTO narrow VALUES (1);
             CREATE TABLE theirs (id int);
             CREATE SEQUENCE counted; SELECT setval('counted', 6);",
        )
        .await;
    let expected = [
        "Column public.items.content: type character varying(100), on the source text",
        "Index public.items: items_botid: missing: USING btree (botid)",
        "Table public.lost: missing",
        "Column public.narrow.gone: missing",
        "Sequence public.counted: stands at 6, on the source at 7",
    ];
    assert_eq!(structure(&verdict), expected);
    assert!(
        verdict
            .structure
            .as_ref()
            .unwrap()
            .notes
            .contains(&"table public.theirs is on the target only".into())
    );
    assert!(table(&verdict, "public.items").matches);
    assert!(!table(&verdict, "public.lost").matches);
    let narrow = table(&verdict, "public.narrow");
    assert_eq!(
        narrow.obstacle.as_deref(),
        Some("the target's table lacks gone; rows were counted")
    );
    assert_eq!(narrow.source.as_ref().unwrap().rows, narrow.target.as_ref().unwrap().rows);
}

#[tokio::test]
async fn quoted_and_non_ascii_names_keys_and_bots_are_carried() {
    let sql = r#"
        CREATE SCHEMA "Über ""x""";
        CREATE TABLE "Über ""x"""."Stück'e" ("Schlüssel" text, "b.ot" text, "Inhalt" text, source text,
            "Vektor" vector(2), PRIMARY KEY ("b.ot", "Schlüssel"));
        INSERT INTO "Über ""x"""."Stück'e"
        SELECT k, b, 'x', NULL, '[1,2]'
        FROM unnest(ARRAY['ä', 'Z', 'a', 'it''s', E'tab\there', '日本']) k, unnest(ARRAY['o''b', 'ボット']) b;"#;
    let mut both = Both::made_by("names", sql).await;
    let name = QualifiedName::new("Über \"x\"", "Stück'e");
    both.policy.knowledge = Knowledge {
        table: name.clone(),
        id: "Schlüssel".into(),
        bot: Some("b.ot".into()),
        content: "Inhalt".into(),
        embedding: "Vektor".into(),
        ..Knowledge::default()
    };
    assert!(both.verify().await.matches);
    let change = format!("UPDATE {name} SET \"Inhalt\" = 'y' WHERE \"b.ot\" = 'ボット'");
    let verdict = both.after(&change).await;
    let found = table(&verdict, "Über \"x\".Stück'e").rows_differing.clone().unwrap();
    assert_eq!((found.key, found.changed), (vec!["b.ot".into(), "Schlüssel".into()], 6));
    let keys: Vec<_> = found.first.iter().map(|row| row.key[1].as_str()).collect();
    assert_eq!(keys, ["Z", "a", "it's", "tab\there", "ä", "日本"]);
    assert!(found.first.iter().all(|row| row.bot.as_deref() == Some("ボット")));
}

#[tokio::test]
async fn partitions_are_compared_one_by_one() {
    let sql = "
        CREATE TABLE items (id int, botid text, content text, source text, embedding vector(2),
                            PRIMARY KEY (botid, id)) PARTITION BY LIST (botid);
        CREATE TABLE items_a PARTITION OF items FOR VALUES IN ('a');
        CREATE TABLE items_rest PARTITION OF items DEFAULT;
        CREATE INDEX ON items USING hnsw (embedding vector_l2_ops);
        INSERT INTO items SELECT i, chr(97 + i % 3), 'x', 'y', ARRAY[i, 1]::vector FROM generate_series(1, 90) i;";
    let both = Both::made_by("parts", sql).await;
    let verdict = both.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    let tables: Vec<_> = verdict.content.tables.iter().map(|table| table.bots).collect();
    assert_eq!(tables, [Some(1), Some(2)]);
    let verdict = both.after("DELETE FROM items WHERE id = 2").await;
    let lost = table(&verdict, "public.items_rest").rows_differing.clone().unwrap();
    let expected = KeyDifference {
        key: vec!["c".into(), "2".into()],
        bot: Some("c".into()),
        standing: Standing::Missing,
        columns: vec![],
    };
    assert_eq!(lost.first, [expected]);
    assert!(table(&verdict, "public.items_a").matches);
}

#[tokio::test]
async fn rows_of_a_table_without_a_key_are_compared_but_not_named() {
    let sql = "CREATE TABLE loose (a int, b text); INSERT INTO loose VALUES (1, 'x'), (1, 'x'), (NULL, NULL)";
    let both = Both::made_by("loose", sql).await;
    assert!(both.verify().await.matches);
    let verdict = both.after("UPDATE loose SET b = '' WHERE b IS NULL").await;
    let loose = table(&verdict, "public.loose");
    let found = loose.rows_differing.as_ref().unwrap();
    assert!(!loose.matches && found.first.is_empty());
    assert_eq!(found.obstacle.as_deref(), Some("the table has no key that could name its rows"));
}

#[tokio::test]
async fn types_that_travel_as_text_are_compared_as_text() {
    let make = "CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE felt (id int PRIMARY KEY, moods mood[], about regclass, note text);
        INSERT INTO felt SELECT i, ARRAY['sad', NULL, 'ok']::mood[], 'felt', E'a\\tb\\\\' || i
        FROM generate_series(1, 50) i;";
    let both = Both::new("text").await;
    both.source.batch(make).await.unwrap();
    // Other OIDs on the target, and the same content.
    let other = format!("CREATE TYPE before AS ENUM ('x'); CREATE TABLE earlier (); {make}");
    both.target.batch(&other).await.unwrap();
    assert!(both.verify().await.content.matches);
    let verdict = both
        .after(
            "UPDATE felt SET moods = '{ok}' WHERE id = 7; UPDATE felt SET note = NULL WHERE id = 8",
        )
        .await;
    let found = table(&verdict, "public.felt").rows_differing.clone().unwrap();
    let named: Vec<_> =
        found.first.iter().map(|row| (row.key.concat(), row.columns.concat())).collect();
    assert_eq!(named, [("7".into(), "moods".into()), ("8".into(), "note".into())]);
}

#[tokio::test]
async fn generated_columns_are_compared_and_alone_are_only_a_note() {
    let make = |expression: &str| {
        format!(
            "CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int DEFAULT 3,
                twice int GENERATED ALWAYS AS ({expression}) STORED);
             INSERT INTO made (a) VALUES (1), (2)"
        )
    };
    let both = Both::new("generated").await;
    both.source.batch(&make("a * 2")).await.unwrap();
    both.target.batch(&make("a * 2")).await.unwrap();
    assert!(both.verify().await.matches);
    let verdict = both.after(&format!("DROP TABLE made; {}", make("a + 1"))).await;
    // The expression is a difference of structure; the rows it is computed from are the same.
    assert!(!verdict.structure.as_ref().unwrap().matches && verdict.content.matches);
    assert!(
        verdict.notes[0].contains("1 rows differ in generated columns only"),
        "{:?}",
        verdict.notes
    );
}

#[tokio::test]
async fn constraints_rewritten_by_a_restore_are_no_difference() {
    let make = |check: &str| {
        format!("CREATE TABLE checked (s varchar(9), CONSTRAINT known CHECK ({check}))")
    };
    let both = Both::new("rewritten").await;
    both.source.batch(&make("s IN ('a', 'b')")).await.unwrap();
    let written: String = both
        .source
        .query_one("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'known'")
        .await
        .unwrap()
        .get(0);
    let restored = written.strip_prefix("CHECK").unwrap();
    both.target.batch(&make(restored)).await.unwrap();
    let verdict = both.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    assert!(
        verdict
            .structure
            .as_ref()
            .unwrap()
            .notes
            .iter()
            .any(|note| note.contains("known is written"))
    );
}

#[tokio::test]
async fn flawed_vectors_are_counted_on_both_sides_and_more_of_them_are_a_mismatch() {
    let both = Both::items("vectors").await;
    let flaw = "UPDATE items SET embedding = NULL WHERE id = 'id0001';
                UPDATE items SET embedding = '[0,0,0,0]' WHERE id = 'id0002';
                CREATE TABLE mixed (id int PRIMARY KEY, v vector);
                INSERT INTO mixed VALUES (1, '[1]'), (2, '[1,2]'), (3, NULL);";
    both.source.batch(flaw).await.unwrap();
    let verdict = both.after(flaw).await;
    assert!(verdict.matches, "{verdict:#?}");
    let counts = verdict.vectors.columns[0].target;
    assert_eq!((counts.rows, counts.nulls, counts.zero, counts.not_finite), (300, 1, 1, 0));
    let mixed = verdict.vectors.columns[1].target;
    assert_eq!((mixed.min_dimensions, mixed.max_dimensions), (Some(1), Some(2)));
    let verdict = both.after("UPDATE items SET embedding = '[0,0,0,0]' WHERE id = 'id0003'").await;
    let column = &verdict.vectors.columns[0];
    assert_eq!(column.differences, ["2 vectors of length zero, on the source 1"]);
    assert!(!verdict.vectors.matches);
}

#[tokio::test]
async fn half_and_sparse_vectors_and_bits_are_looked_at_where_both_sides_know_them() {
    let pair = pair().await;
    let mut both = Both::new("halves").await;
    both.source = Database::with_vector(&pair.target, "halves_source").await.unwrap();
    let make = "CREATE TABLE kinds (id int PRIMARY KEY, h halfvec(2), s sparsevec(9), t sparsevec, b bit(3));
                INSERT INTO kinds VALUES (1, '[0,0]', '{1:2}/9', '{}/4', '101'), (2, NULL, NULL, NULL, NULL);
                CREATE INDEX ON kinds USING hnsw (h halfvec_l2_ops);
                CREATE INDEX ON kinds USING hnsw (b bit_hamming_ops);";
    both.source.batch(make).await.unwrap();
    let verdict = both.after(make).await;
    assert!(verdict.matches, "{verdict:#?}");
    let found: Vec<_> = verdict
        .vectors
        .columns
        .iter()
        .map(|column| (column.column.as_str(), column.target.zero, column.target.max_dimensions))
        .collect();
    assert_eq!(found, [("h", 1, Some(2)), ("s", 0, Some(9)), ("t", 1, Some(4))]);
}

#[tokio::test]
async fn rows_of_several_megabytes_are_named_too() {
    let sql = "CREATE TABLE wide (id int PRIMARY KEY, body bytea);
        INSERT INTO wide SELECT i, decode(repeat(md5(i::text), 65536 * i), 'hex') FROM generate_series(1, 4) i";
    let both = Both::made_by("wide", sql).await;
    assert!(both.verify().await.matches);
    let verdict =
        both.after("UPDATE wide SET body = set_byte(body, 3000000, 255) WHERE id = 4").await;
    let found = table(&verdict, "public.wide").rows_differing.clone().unwrap();
    assert_eq!((found.changed, found.first[0].key.concat()), (1, "4".into()));
}

#[tokio::test]
async fn an_empty_database_matches_an_empty_one() {
    let both = Both::new("empty").await;
    let verdict = both.verify().await;
    assert!(verdict.matches && verdict.content.tables.is_empty(), "{verdict:#?}");
}

#[tokio::test]
async fn a_verification_cancelled_while_it_reads_is_interrupted() {
    struct Canceller(CancellationToken);
    impl Reporter for Canceller {
        fn event(&self, event: &Event) {
            // Reading has begun when bytes are expected.
            if matches!(event, Event::Verifying { bytes_expected: 1.., .. }) {
                self.0.cancel();
            }
        }
    }
    let both = Both::items("cancelled").await;
    let cancel = CancellationToken::new();
    let reporter = Canceller(cancel.clone());
    let stopped = verify(&both.clusters(), &both.policy, &both.options, &reporter, &cancel).await;
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
}

#[tokio::test]
async fn a_side_that_cannot_be_read_is_named_by_the_error() {
    let both = Both::new("unreadable").await;
    let make = "CREATE TABLE closed (id int PRIMARY KEY)";
    both.source.batch(make).await.unwrap();
    let role = format!("reader_{}", both.target.name());
    both.target.batch(&format!("{make}; CREATE ROLE {role} LOGIN")).await.unwrap();
    let mut clusters = both.clusters();
    clusters.target.user = role.clone();
    let events = Events(Mutex::default());
    let cancel = CancellationToken::new();
    let error = verify(&clusters, &both.policy, &both.options, &events, &cancel).await.unwrap_err();
    both.target.batch(&format!("DROP ROLE {role}")).await.unwrap();
    assert_eq!((error.side(), error.sqlstate()), (Some(Side::Target), Some("42501")));
    assert_eq!(error.to_string(), "target: cannot read public.closed");
}
