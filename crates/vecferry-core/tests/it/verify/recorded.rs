//! What verify says without the source: the target against what the migration recorded.

use tokio_util::sync::CancellationToken;
use vecferry_core::policy::{Existing, Policy};
use vecferry_core::verify::content::{BotDifference, Standing};
use vecferry_core::verify::{Against, Options, Verdict, verify_recorded};
use vecferry_core::{Error, Result, Side};
use vecferry_testkit::{Database, pair};

use super::table;
use crate::fixture::{self, Recorder};

/// A finished migration; the source's database is dropped before anything is verified.
struct Moved {
    target: Database,
    policy: Policy,
    options: Options,
}

impl Moved {
    async fn after(hint: &str, policy: Policy, source: Database, target: Database) -> Moved {
        fixture::copy(&source, &target, &policy).await.unwrap_or_else(|e| panic!("{hint}: {e}"));
        drop(source);
        // Smaller parts than the copy's: digests do not depend on them.
        let policy = Policy { part_bytes: 16 << 10, ..policy };
        Moved { target, policy, options: Options { recall_bots: 0, ..Options::default() } }
    }

    async fn items(hint: &str) -> Moved {
        let pair = pair().await;
        let source = fixture::items(&pair.source, hint, 700).await;
        let target = Database::create(&pair.target, hint).await.unwrap();
        Moved::after(hint, fixture::policy(), source, target).await
    }

    /// A table made by these statements.
    async fn made_by(hint: &str, sql: &str) -> Moved {
        let pair = pair().await;
        let source = Database::with_vector(&pair.source, hint).await.unwrap();
        source.batch(sql).await.unwrap();
        let target = Database::create(&pair.target, hint).await.unwrap();
        Moved::after(hint, fixture::policy(), source, target).await
    }

    async fn verify(&self) -> Verdict {
        recorded(&self.target, &self.policy, &self.options).await.unwrap()
    }

    async fn changed_by(&self, sql: &str) -> Verdict {
        self.target.batch(sql).await.unwrap();
        self.verify().await
    }
}

async fn recorded(target: &Database, policy: &Policy, options: &Options) -> Result<Verdict> {
    let target = target.url().parse().unwrap();
    let recorder = Recorder::default();
    verify_recorded(&target, policy, options, &recorder, &CancellationToken::new()).await
}

fn bots(verdict: &Verdict, name: &str) -> Vec<(String, Standing, u64, u64)> {
    let differing = table(verdict, name).bots_differing.iter();
    let said =
        |one: &BotDifference| (one.bot.clone(), one.standing, one.source_rows, one.target_rows);
    differing.map(said).collect()
}

#[tokio::test]
async fn what_was_copied_matches_and_the_verdict_says_what_it_does_not_cover() {
    let mut moved = Moved::items("recorded_same").await;
    moved.options = Options { recall_bots: 2, recall_queries: 2, ..Options::default() };
    let verdict = moved.verify().await;
    assert!(verdict.matches && verdict.structure.is_none(), "{verdict:#?}");
    assert_eq!(verdict.against, Against::Record);
    let items = table(&verdict, "public.items");
    assert_eq!((items.columns, items.bots, &items.source), (5, Some(7), &items.target));
    assert_eq!((verdict.content.rows, verdict.content.source_bytes), (700, 0));
    assert!(verdict.content.target_bytes > 700 * 40);
    assert_eq!((verdict.vectors.vectors, verdict.vectors.columns.len()), (700, 1));
    let recall = verdict.recall.as_ref().unwrap();
    assert!(recall.source.is_none() && recall.target.is_some(), "{recall:?}");
    assert!(verdict.notes.iter().any(|note| note.contains("structure, sequences")));
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!((&json["against"], &json["structure"]), (&"record".into(), &().into()));
    assert_eq!(json["version"], 1);
}

#[tokio::test]
async fn a_byte_changed_a_row_deleted_and_a_row_added_are_told_by_their_bots() {
    let moved = Moved::items("recorded_changed").await;
    let verdict = moved
        .changed_by(
            "UPDATE items SET content = overlay(content PLACING 'X' FROM 1) WHERE id = lpad('7', 26, '0');
             DELETE FROM items WHERE id = lpad('8', 26, '0');
             INSERT INTO items VALUES ('new', 'new', 'x', 'y', NULL)",
        )
        .await;
    assert!(!verdict.matches && !verdict.content.matches);
    let expected = [
        ("bot0".to_owned(), Standing::Changed, 100, 100),
        ("bot1".to_owned(), Standing::Changed, 100, 99),
        ("new".to_owned(), Standing::Extra, 0, 1),
    ];
    assert_eq!(bots(&verdict, "public.items"), expected);
    assert!(table(&verdict, "public.items").rows_differing.is_none());
    assert!(verdict.notes.iter().any(|note| note.contains("which rows differ cannot be told")));
    assert_eq!(verdict.vectors.columns[0].target.nulls, 1);
}

#[tokio::test]
async fn quick_compares_recorded_numbers_of_rows_by_bot() {
    let mut moved = Moved::items("recorded_quick").await;
    moved.options.quick = true;
    let verdict = moved.changed_by("UPDATE items SET content = 'x' WHERE botid = 'bot2'").await;
    assert!(verdict.matches && !verdict.content.digests, "{verdict:#?}");
    let verdict = moved.changed_by("DELETE FROM items WHERE botid = 'bot2'").await;
    assert_eq!(bots(&verdict, "public.items"), [("bot2".into(), Standing::Missing, 100, 0)]);
}

#[tokio::test]
async fn rows_of_bots_that_were_there_before_are_none_of_its_business() {
    let pair = pair().await;
    let source = fixture::items(&pair.source, "recorded_keep", 700).await;
    let target = Database::with_vector(&pair.target, "recorded_keep").await.unwrap();
    target
        .batch(&format!(
            "{} INSERT INTO items VALUES ('theirs', 'other', 'x', 'y', NULL), ('ours', 'bot3', 'x', 'y', NULL)",
            fixture::APP_SETUP
        ))
        .await
        .unwrap();
    let policy = Policy { existing: Existing::Keep, ..fixture::policy() };
    let moved = Moved::after("keep", policy, source, target).await;
    let verdict = moved.changed_by("UPDATE items SET content = 'z' WHERE botid = 'other'").await;
    assert!(verdict.matches, "{verdict:#?}");
    assert_eq!((verdict.content.rows, verdict.vectors.vectors), (600, 600));
    let verdict = moved.changed_by("UPDATE items SET content = 'z' WHERE botid = 'bot4'").await;
    assert_eq!(bots(&verdict, "public.items"), [("bot4".into(), Standing::Changed, 100, 100)]);
}

#[tokio::test]
async fn tables_that_travelled_as_text_are_read_as_text() {
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE felt (id int PRIMARY KEY, moods mood[], about regclass, note text,
                           twice int GENERATED ALWAYS AS (id * 2) STORED);
        INSERT INTO felt SELECT i, ARRAY['sad', NULL, 'ok']::mood[], 'felt', E'a\\tb\\\\' || i
        FROM generate_series(1, 50) i";
    let moved = Moved::made_by("recorded_text", sql).await;
    let verdict = moved.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    assert_eq!(table(&verdict, "public.felt").columns, 4);
    let verdict = moved.changed_by("UPDATE felt SET moods = '{ok}' WHERE id = 7").await;
    assert!(!verdict.matches && !table(&verdict, "public.felt").matches);
}

#[tokio::test]
async fn a_table_dropped_and_a_column_dropped_are_mismatches_and_further_tables_are_named() {
    let sql = "CREATE TABLE one (id int, x text); INSERT INTO one VALUES (1, 'a');
               CREATE TABLE two (id int); INSERT INTO two VALUES (1), (2)";
    let mut moved = Moved::made_by("recorded_dropped", sql).await;
    let verdict = moved
        .changed_by("DROP TABLE two; ALTER TABLE one DROP x; CREATE TABLE three (id int)")
        .await;
    let one = table(&verdict, "public.one");
    assert_eq!(one.obstacle.as_deref(), Some("the target's table lacks x; rows were counted"));
    let two = table(&verdict, "public.two");
    assert_eq!((two.matches, two.source.as_ref().unwrap().rows, &two.target), (false, 2, &None));
    assert!(verdict.notes.iter().any(|note| note.ends_with("not compared: public.three")));
    moved.policy.exclude = ["two", "one"].map(vecferry_core::policy::Pattern::new).to_vec();
    let verdict = moved.verify().await;
    assert!(verdict.matches && verdict.content.tables.is_empty(), "{verdict:#?}");
}

#[tokio::test]
async fn large_objects_are_compared_with_their_recorded_digests() {
    let sql = "SELECT lo_from_bytea(70001, decode(repeat('00ff', 700000), 'hex')), lo_from_bytea(70002, 'b'),
                      lo_from_bytea(70003, '')";
    let moved = Moved::made_by("recorded_objects", sql).await;
    let verdict = moved.verify().await;
    let objects = verdict.large_objects.as_ref().unwrap();
    assert!(verdict.matches, "{verdict:#?}");
    assert_eq!((objects.objects, objects.bytes), (3, 1_400_001));
    let verdict = moved
        .changed_by(
            "SELECT lo_put(70001, 1300000, '\\x07'), lo_unlink(70002), lo_from_bytea(80000, 'x')",
        )
        .await;
    let objects = verdict.large_objects.unwrap();
    assert_eq!((objects.missing, objects.changed, objects.extra), (1, 1, 1));
    assert!(!verdict.matches);
}

#[tokio::test]
async fn a_target_without_a_finished_migration_is_refused_with_a_hint() {
    let target = Database::create(&pair().await.target, "recorded_none").await.unwrap();
    let refused = |error: Error, words: &str| {
        assert!(matches!(error, Error::Refused { side: Side::Target, .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().unwrap().contains("vecferry "), "{:?}", error.hint());
    };
    let (policy, options) = (fixture::policy(), Options { recall_bots: 0, ..Options::default() });
    let error = recorded(&target, &policy, &options).await.unwrap_err();
    refused(error, "no record of a migration");

    let moved = Moved::items("recorded_unfinished").await;
    moved.target.batch("UPDATE vecferry.migration SET phase = 'rows'").await.unwrap();
    let error = recorded(&moved.target, &policy, &options).await.unwrap_err();
    refused(error, "not finished (phase rows)");

    let spoil = "UPDATE vecferry.migration SET phase = 'done'; UPDATE vecferry.part_bot SET rows = rows + 1";
    moved.target.batch(spoil).await.unwrap();
    let error = recorded(&moved.target, &policy, &options).await.unwrap_err();
    refused(error, "the record contradicts itself");
}
