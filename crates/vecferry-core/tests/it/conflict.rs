//! What stopped a subscription's apply, told from outside, and whether the ways out lead on.

use std::time::{Duration, Instant};

use vecferry_core::Result;
use vecferry_core::follow::conflict::{Cause, Diagnosis, MOST_CHANGES, Stopped, diagnose};
use vecferry_core::pg::QualifiedName;
use vecferry_core::policy::Clusters;
use vecferry_testkit::{Cluster, Database, Options, Version, pair};

use crate::fixture::{APP_SETUP, clusters, count};

/// A source, a target, and a subscription between them.
struct Link {
    source: Database,
    target: Database,
    stopped: Stopped,
}

/// Runs `setup` on both sides, and then sets up what carries changes across.
async fn link(hint: &str, setup: &str) -> Link {
    link_from(&pair().await.source, hint, setup).await
}

async fn link_from(from: &Cluster, hint: &str, setup: &str) -> Link {
    let source = Database::with_vector(from, hint).await.unwrap();
    let target = Database::with_vector(&pair().await.target, hint).await.unwrap();
    source.batch(setup).await.unwrap();
    target.batch(setup).await.unwrap();
    let slot = source.name().to_owned();
    let publish = format!("CREATE PUBLICATION \"all {slot}\" FOR ALL TABLES");
    source.batch(&publish).await.unwrap();
    let reserve = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    source.query_one(&reserve).await.unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION \"Sub {slot}\" CONNECTION '{}' PUBLICATION \"all {slot}\" WITH (create_slot = false, \
         slot_name = '{slot}', copy_data = false, binary = true, streaming = parallel, disable_on_error = true, \
         origin = none)",
        source.url()
    );
    target.batch(&subscribe).await.unwrap();
    let stopped = Stopped {
        publications: vec![format!("all {slot}")],
        subscription: format!("Sub {slot}"),
        slot,
    };
    Link { source, target, stopped }
}

impl Link {
    async fn diagnose(&self) -> Diagnosis {
        diagnose(&clusters(&self.source, &self.target), &self.stopped).await.unwrap()
    }

    /// Changes the source, waits until the apply has stopped at that, and asks why.
    async fn stops_at(&self, change: &str) -> Diagnosis {
        self.source.batch(change).await.unwrap();
        self.has_stopped().await;
        let found = self.diagnose().await;
        assert!(!found.enabled, "{found:?}");
        found
    }

    async fn has_stopped(&self) {
        self.target_shows(
            "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid \
                           WHERE datname = current_database() AND NOT subenabled",
        )
        .await;
    }

    /// Waits until a count on the target is one or more.
    async fn target_shows(&self, sql: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while count(&self.target, sql).await == 0 {
            assert!(Instant::now() < deadline, "never: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Follows a way out on the target, enables the subscription and waits until a last change has arrived.
    async fn goes_on(&self, way: &str) {
        if !way.is_empty() {
            self.target.batch(&command(way)).await.unwrap();
        }
        let enable = format!("ALTER SUBSCRIPTION \"{}\" ENABLE", self.stopped.subscription);
        self.target.batch(&enable).await.unwrap();
        let insert =
            "INSERT INTO last SELECT COALESCE(max(id), 0) + 1 FROM last RETURNING id::bigint";
        let id = count(&self.source, insert).await;
        self.target_shows(&format!("SELECT count(*) FROM last WHERE id = {id}")).await;
    }
}

/// The SQL in a way out.
fn command(way: &str) -> String {
    let (_, after) = way.split_once("on the target run ").unwrap();
    let end = after.rfind(';').unwrap();
    // What follows the command holds semicolons of the sentence.
    let end = after.find("; ").map_or(end, |first| first.min(end));
    after[..end].to_owned()
}

const TABLE: &str = "CREATE TABLE last (id int PRIMARY KEY); \
                     CREATE TABLE t (id char(26) PRIMARY KEY, mail text UNIQUE, body text);";

fn key(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

/// Asserts that `found` is a duplicate in `index` of `columns`, and gives its key.
#[track_caller]
fn duplicate(found: &Diagnosis, name: &str, columns: &[&str]) -> Vec<Option<String>> {
    match &found.cause {
        Cause::DuplicateKey { table, index, columns: names, key } => {
            assert_eq!((table.schema.as_str(), index.as_str()), ("public", name));
            assert_eq!(names, columns);
            key.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_primary_key_is_named_and_once_its_row_is_deleted_the_source_s_row_arrives() {
    let link = link("dup_pkey", &format!("{TABLE} {APP_SETUP}")).await;
    let row = "INSERT INTO items VALUES ('k1', 'bot', 'secret ' || current_database(), 's', '[1,2,3,4,5,6,7,8]')";
    link.target.batch(row).await.unwrap();
    let found = link.stops_at(&format!("INSERT INTO last VALUES (0); {row}")).await;
    let padded = format!("{:26}", "k1");
    assert_eq!(duplicate(&found, "items_pkey", &["id"]), key(&[&padded]));
    assert_eq!((found.changes_examined, found.transactions_before), (2, 0), "{found:?}");
    let shown =
        format!("{}{:?}{}", found.line(), found.ways_out(), serde_json::to_string(&found).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
    // The copy of the slot that was made to look ends with its session.
    let slots = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE database = '{}'",
        link.source.name()
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(&link.source, &slots).await > 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    link.goes_on(&found.ways_out()[0]).await;
    let same =
        format!("SELECT count(*) FROM items WHERE content = 'secret {}'", link.source.name());
    assert_eq!(count(&link.target, &same).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_skipped_is_lost_as_a_whole_and_the_next_arrives() {
    let link = link("dup_skip", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('x', 'taken', 'ours')").await.unwrap();
    let found = link.stops_at("INSERT INTO t VALUES ('a', 'free'), ('b', 'taken')").await;
    assert_eq!(duplicate(&found, "t_mail_key", &["mail"]), key(&["taken"]));
    link.goes_on(&found.ways_out()[1]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_waits_to_be_skipped_is_not_diagnosed_again() {
    let link = link("dup_skipped", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('x', 'm'), ('y', 'n')").await.unwrap();
    let first = link.stops_at("INSERT INTO t VALUES ('x')").await;
    link.target.batch(&command(&first.ways_out()[1])).await.unwrap();
    link.source.batch("INSERT INTO t VALUES ('y')").await.unwrap();
    let second = link.diagnose().await;
    assert!(second.lsn > first.lsn, "{first:?} {second:?}");
    assert_eq!(duplicate(&second, "t_pkey", &["id"]), key(&[&format!("{:26}", "y")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_quotes_backslashes_and_line_ends_is_deleted_exactly() {
    let setup = "CREATE TABLE last (id int PRIMARY KEY); CREATE TABLE \"It's\" (\"the \"\"key\" text PRIMARY KEY)";
    let link = link("dup_quotes", setup).await;
    let awkward = "E'o''brien\\\\ \"x\"\\n\\u001B'";
    let rows = format!("INSERT INTO \"It's\" VALUES ({awkward})");
    link.target.batch(&format!("{rows}, ('other')")).await.unwrap();
    let found = link.stops_at(&rows).await;
    let expected = key(&["o'brien\\ \"x\"\n\u{1b}"]);
    assert_eq!(duplicate(&found, "It's_pkey", &["the \"key"]), expected);
    assert!(!found.line().contains(char::is_control), "{}", found.line());
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM \"It's\"").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_several_columns_is_named_in_the_order_of_the_index_with_its_nulls() {
    let setup = "CREATE TABLE last (id int PRIMARY KEY); \
                 CREATE TABLE t (note text, b int, a date, n numeric, PRIMARY KEY (a, b)); \
                 CREATE UNIQUE INDEX t_n ON t (n, note) NULLS NOT DISTINCT";
    let link = link("dup_composite", setup).await;
    link.target
        .batch("INSERT INTO t VALUES ('x', 7, '2026-01-02', 1.50), (NULL, 1, '2026-01-01', NULL)")
        .await
        .unwrap();
    let found = link
        .stops_at("INSERT INTO t VALUES ('y', 8, '2026-01-02', 1.5), ('z', 7, '2026-01-02', 3)")
        .await;
    assert_eq!(duplicate(&found, "t_pkey", &["a", "b"]), key(&["2026-01-02", "7"]));
    link.goes_on(&found.ways_out()[0]).await;
    let found = link.stops_at("INSERT INTO t VALUES (NULL, 2, '2026-01-01', NULL)").await;
    assert_eq!(duplicate(&found, "t_n", &["n", "note"]), [None, None]);
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind_of_type_are_compared_as_their_index_does() {
    let setup = "CREATE TABLE last (id int PRIMARY KEY); CREATE SCHEMA app; CREATE TYPE app.\"Mood\" AS ENUM ('a', 'b'); \
                 CREATE DOMAIN app.code AS varchar(5); \
                 CREATE TABLE t (m app.\"Mood\", d app.code, v vector(2), a int[], c \"char\", n name, f float8, \
                 b bytea, z timestamptz, PRIMARY KEY (m, d, v, a, c, n, f, b, z) INCLUDE (f))";
    let link = link("dup_types", setup).await;
    let row = "INSERT INTO t VALUES ('b', 'x', '[1,0.1]', '{1,NULL}', 'c', 'n', 0.1, '\\x00ff', '2026-01-02 03:04:05.6+07')";
    link.target.batch(row).await.unwrap();
    let found = link.stops_at(row).await;
    let columns = ["m", "d", "v", "a", "c", "n", "f", "b", "z"];
    let values = duplicate(&found, "t_pkey", &columns);
    assert_eq!(values[2..4], key(&["[1,0.1]", "{1,NULL}"]));
    link.goes_on(&found.ways_out()[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_is_looked_into_through_its_root() {
    let setup = "CREATE TABLE last (id int PRIMARY KEY); \
                 CREATE TABLE t (id int PRIMARY KEY, body text) PARTITION BY HASH (id); \
                 CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
                 CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let link = link("dup_parts", setup).await;
    link.target.batch("INSERT INTO t VALUES (1), (2), (3)").await.unwrap();
    let found = link.stops_at("INSERT INTO t VALUES (1)").await;
    assert!(
        matches!(&found.cause, Cause::DuplicateKey { table, .. } if table.name.len() == 2),
        "{found:?}"
    );
    link.goes_on(&found.ways_out()[0]).await;
    let name = &link.stopped.publications[0];
    let by_root = format!("ALTER PUBLICATION \"{name}\" SET (publish_via_partition_root = true)");
    link.source.batch(&by_root).await.unwrap();
    let refresh = format!(
        "ALTER SUBSCRIPTION \"{}\" REFRESH PUBLICATION WITH (copy_data = false)",
        link.stopped.subscription
    );
    link.target.batch(&format!("{refresh}; ")).await.unwrap();
    let found = link.stops_at("INSERT INTO t VALUES (4), (2)").await;
    assert_eq!(duplicate(&found, "t_pkey", &["id"]), key(&["2"]));
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_freed_on_the_way_is_no_conflict_and_one_behind_it_is() {
    let link = link("dup_freed", TABLE).await;
    link.source.batch("INSERT INTO t VALUES ('a', 'm1'), ('b', 'm2'), ('c', 'm3')").await.unwrap();
    link.target_shows("SELECT count(*) FROM t").await;
    link.target.batch("INSERT INTO t VALUES ('z', 'm9')").await.unwrap();
    let found = link
        .stops_at(
            "BEGIN; DELETE FROM t WHERE id = 'a'; INSERT INTO t VALUES ('a', 'm1'); \
             DELETE FROM t WHERE id = 'b'; INSERT INTO t VALUES ('d', 'm2'); \
             UPDATE t SET id = 'e' WHERE id = 'c'; INSERT INTO t VALUES ('c', 'm4'); \
             UPDATE t SET mail = 'm9' WHERE id = 'e'; COMMIT",
        )
        .await;
    assert_eq!(duplicate(&found, "t_mail_key", &["mail"]), key(&["m9"]));
    assert_eq!(found.changes_examined, 7);
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(
        count(&link.target, "SELECT count(*) FROM t WHERE id = 'e' AND mail = 'm9'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_known_by_all_their_columns_are_followed_through_a_key() {
    let setup = format!("{TABLE} ALTER TABLE t REPLICA IDENTITY FULL");
    let link = link("dup_full", &setup).await;
    link.source.batch("INSERT INTO t VALUES ('a', 'm1'), ('b', 'm2')").await.unwrap();
    link.target_shows("SELECT count(*) FROM t").await;
    link.target
        .batch("INSERT INTO t VALUES ('z', 'm9'); DELETE FROM t WHERE id = 'b'")
        .await
        .unwrap();
    let found = link
        .stops_at(
            "BEGIN; DELETE FROM t WHERE id = 'a'; INSERT INTO t VALUES ('c', 'm1'); \
             UPDATE t SET mail = 'm3' WHERE id = 'b'; INSERT INTO t VALUES ('z'); COMMIT",
        )
        .await;
    assert_eq!(duplicate(&found, "t_pkey", &["id"]), key(&[&format!("{:26}", "z")]));
    assert_eq!((found.changes_examined, found.rows_absent), (4, 1));
    link.goes_on(&found.ways_out()[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_table_is_named_and_its_rows_come_with_the_refresh() {
    let link = link("no_table", TABLE).await;
    let create = "CREATE TABLE \"Added\" (id int PRIMARY KEY)";
    let found = link.stops_at(&format!("{create}; INSERT INTO \"Added\" VALUES (1)")).await;
    let table = QualifiedName::new("public", "Added");
    assert_eq!(found.cause, Cause::TableMissing { table });
    link.target.batch(create).await.unwrap();
    link.goes_on("").await;
    link.target.batch(&command(&found.ways_out()[0])).await.unwrap();
    link.target_shows("SELECT count(*) FROM \"Added\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_column_is_named_with_its_type() {
    let link = link("no_column", TABLE).await;
    let added = "ALTER TABLE t ADD COLUMN \"New one\" vector(8), ADD COLUMN code varchar(7)[]";
    let change = format!(
        "INSERT INTO t VALUES ('a'); {added}; INSERT INTO t (id, code) VALUES ('b', '{{x}}')"
    );
    let found = link.stops_at(&change).await;
    let Cause::ColumnMissing { columns, .. } = &found.cause else { panic!("{found:?}") };
    let types: Vec<_> = columns.iter().map(|column| column.sql_type.as_deref()).collect();
    assert_eq!(types, [Some("public.vector(8)"), Some("character varying(7)[]")]);
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(
        count(&link.target, "SELECT count(*) FROM t WHERE id = 'a' OR code[1] = 'x'").await,
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_takes_no_null_or_is_generated_is_named() {
    let link = link("no_value", TABLE).await;
    link.target.batch("ALTER TABLE t ALTER body SET NOT NULL").await.unwrap();
    let found = link.stops_at("INSERT INTO t VALUES ('a', 'm', 'x'), ('b', 'n', NULL)").await;
    assert!(
        matches!(&found.cause, Cause::ValueRequired { columns, .. } if columns == &["body"]),
        "{found:?}"
    );
    assert_eq!(found.changes_examined, 2);
    link.goes_on(&found.ways_out()[0]).await;
    link.target
        .batch("ALTER TABLE t DROP body, ADD body text GENERATED ALWAYS AS ('x') STORED")
        .await
        .unwrap();
    let found = link.stops_at("INSERT INTO t VALUES ('c')").await;
    assert!(
        matches!(&found.cause, Cause::GeneratedColumn { columns, .. } if columns == &["body"]),
        "{found:?}"
    );
    link.goes_on(&found.ways_out()[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_a_key_cannot_update_until_it_has_one() {
    let link = link("no_identity", TABLE).await;
    link.target.batch("ALTER TABLE t DROP CONSTRAINT t_pkey").await.unwrap();
    let found = link.stops_at("INSERT INTO t VALUES ('a'); UPDATE t SET body = 'x'").await;
    let Cause::NoReplicaIdentity { sent, expected, .. } = &found.cause else { panic!("{found:?}") };
    assert_eq!((sent.as_slice(), expected.len()), (["id".to_owned()].as_slice(), 0));
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t WHERE body = 'x'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_change_of_a_large_transaction_is_found_at_once() {
    let link = link("dup_large", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('1')").await.unwrap();
    let found = link
        .stops_at("INSERT INTO t SELECT g, g, repeat('x', 1000) FROM generate_series(1, 30000) g")
        .await;
    assert_eq!(duplicate(&found, "t_pkey", &["id"]), key(&[&format!("{:26}", "1")]));
    assert_eq!(found.changes_examined, 1);
    link.goes_on(&found.ways_out()[0]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t").await, 30_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_behind_the_bound_is_unknown_and_what_was_examined_is_told() {
    let link = link("dup_far", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('29000')").await.unwrap();
    let found = link.stops_at("INSERT INTO t SELECT g, g FROM generate_series(1, 30000) g").await;
    assert_eq!(found.changes_examined, MOST_CHANGES, "{found:?}");
    assert!(matches!(&found.cause, Cause::Unknown { why } if why.contains("10000")), "{found:?}");
    // What the log says can be skipped all the same.
    link.goes_on(&found.ways_out()[1]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t").await, 1);
}

/// A trigger, a check or a full disk is not ours to see; rows that are missing on the target stop nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keys_and_columns_do_not_tell_is_unknown() {
    let link = link("unknown", TABLE).await;
    link.source.batch("INSERT INTO t VALUES ('a', 'm')").await.unwrap();
    link.target_shows("SELECT count(*) FROM t").await;
    link.target.batch("DELETE FROM t; ALTER TABLE t ADD CHECK (body <> 'wrong')").await.unwrap();
    let found = link
        .stops_at(
            "BEGIN; UPDATE t SET mail = 'n'; INSERT INTO t VALUES ('b', 'o', 'wrong'); COMMIT",
        )
        .await;
    assert!(
        matches!(&found.cause, Cause::Unknown { why } if why.contains("all 2 changes")),
        "{found:?}"
    );
    assert_eq!((found.changes_examined, found.rows_absent), (2, 1));
    // The worker counts when it ends, which is after the subscription is seen disabled.
    let counted = "SELECT count(*) FROM pg_stat_subscription_stats c JOIN pg_subscription s ON s.oid = subid \
                   JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database() \
                   AND apply_error_count = 1 AND confl_update_missing = 1";
    link.target_shows(counted).await;
    let again = link.diagnose().await;
    assert_eq!(
        (again.errors, again.conflicts.get("confl_update_missing")),
        (1, Some(&1)),
        "{again:?}"
    );
    assert!(found.lsn.is_some());
    link.target.batch("ALTER TABLE t DROP CONSTRAINT t_body_check").await.unwrap();
    link.goes_on("").await;
    let idle = link.diagnose().await;
    assert!(idle.enabled, "{idle:?}");
}

/// The apply reports to its slot only now and then: what the slot would send again is there already, and is no conflict.
async fn is_read_from_where_the_apply_stands(cluster: &Cluster) {
    let mut link = link_from(cluster, "behind", TABLE).await;
    let behind = format!("{}_behind", link.stopped.slot);
    // Nobody ever confirms anything to this one.
    let reserve = format!("SELECT pg_create_logical_replication_slot('{behind}', 'pgoutput')");
    link.source.query_one(&reserve).await.unwrap();
    link.target.batch("INSERT INTO t VALUES ('z')").await.unwrap();
    link.source.batch("INSERT INTO t VALUES ('a'); INSERT INTO t VALUES ('b')").await.unwrap();
    link.target_shows("SELECT count(*) FROM t WHERE id = 'b'").await;
    link.stopped.slot = behind;
    let found = link.stops_at("INSERT INTO t VALUES ('c'), ('z')").await;
    assert_eq!(duplicate(&found, "t_pkey", &["id"]), key(&[&format!("{:26}", "z")]));
    assert_eq!((found.changes_examined, found.transactions_before), (2, 0), "{found:?}");
    link.goes_on(&found.ways_out()[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_applied_is_no_conflict() {
    is_read_from_where_the_apply_stands(&pair().await.source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_room_for_one_more_slot_is_read_all_the_same() {
    let options = Options::new().set("max_replication_slots", "2");
    is_read_from_where_the_apply_stands(&Cluster::start(Version::Pg16, options).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_not_there_is_refused_and_a_slot_that_is_not_there_is_told() {
    let link = link("gone", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('x')").await.unwrap();
    link.stops_at("INSERT INTO t VALUES ('x')").await;
    let other = Stopped { slot: "nowhere".into(), ..link.stopped.clone() };
    let both = clusters(&link.source, &link.target);
    let found = diagnose(&both, &other).await.unwrap();
    assert!(found.line().contains("slot nowhere is not on the source"), "{}", found.line());
    let other = Stopped { subscription: "nobody".into(), ..link.stopped.clone() };
    let error = diagnose(&both, &other).await.unwrap_err();
    assert_eq!(error.side(), Some(vecferry_core::Side::Target));
}

/// An apply that takes a large transaction as it comes meets the conflict before the source has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_not_committed_yet_cannot_be_seen_and_is_once_it_is() {
    let options = Options::new().set("logical_decoding_work_mem", "64kB");
    let cluster = Cluster::start(Version::Pg16, options).unwrap();
    let link = link_from(&cluster, "streamed", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('9')").await.unwrap();
    let writer = link.source.connect().await.unwrap();
    let rows =
        "BEGIN; INSERT INTO t SELECT g, g, repeat('x', 1000) FROM generate_series(1, 3000) g";
    writer.batch_execute(rows).await.unwrap();
    link.has_stopped().await;
    let early = link.diagnose().await;
    assert!(early.line().contains("no change waits"), "{}", early.line());
    assert_eq!((early.lsn, early.ways_out().len()), (None, 1));
    writer.batch_execute("COMMIT").await.unwrap();
    let found = link.diagnose().await;
    assert_eq!(duplicate(&found, "t_pkey", &["id"]), key(&[&format!("{:26}", "9")]));
    link.goes_on(&found.ways_out()[1]).await;
    assert_eq!(count(&link.target, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_too_long_to_be_fetched_ends_the_search_and_is_told() {
    let link = link("too_long", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('z')").await.unwrap();
    let found = link
        .stops_at(
            "INSERT INTO t (id, body) VALUES ('a', ''), ('b', repeat('x', 9000000)), ('z', '')",
        )
        .await;
    assert!(found.line().contains("too long to be looked at"), "{}", found.line());
    assert_eq!(found.changes_examined, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_told_without_its_value() {
    let setup = "CREATE TABLE last (id int PRIMARY KEY); CREATE TABLE t (id text PRIMARY KEY)";
    let link = link("other_type", setup).await;
    link.target.batch("ALTER TABLE t ALTER id TYPE int USING id::int").await.unwrap();
    let found = link.stops_at("INSERT INTO t VALUES ('secret')").await;
    let line = found.line();
    assert!(line.contains("does not fit") && !line.contains("secret"), "{line}");
}

/// As on a managed server: no superuser on either side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_roles_learn_which_grant_is_missing_and_need_no_other() {
    let link = link("roles", TABLE).await;
    link.target.batch("INSERT INTO t VALUES ('x')").await.unwrap();
    link.stops_at("INSERT INTO t VALUES ('x')").await;
    let role = format!("Role {}", link.source.name());
    let create = format!("CREATE ROLE \"{role}\" LOGIN REPLICATION");
    link.source.batch(&create).await.unwrap();
    link.target.batch(&format!("{create}; GRANT SELECT ON t TO \"{role}\"")).await.unwrap();
    let mut plain = clusters(&link.source, &link.target);
    plain.source.user.clone_from(&role);
    plain.target.user.clone_from(&role);
    let blind = diagnose(&plain, &link.stopped).await;
    let seen = diagnose_after_grant(&link, &plain).await;
    for database in [&link.source, &link.target] {
        database.batch(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await.unwrap();
    }
    let (blind, seen) = (blind.unwrap(), seen.unwrap());
    assert!(blind.line().contains(&format!("TO \"{role}\";")), "{}", blind.line());
    assert_eq!(duplicate(&seen, "t_pkey", &["id"]), key(&[&format!("{:26}", "x")]));
}

async fn diagnose_after_grant(link: &Link, plain: &Clusters) -> Result<Diagnosis> {
    let grant = format!(
        "GRANT EXECUTE ON FUNCTION pg_replication_origin_progress(text, boolean) TO \"{}\"",
        plain.target.user
    );
    link.target.batch(&grant).await.unwrap();
    diagnose(plain, &link.stopped).await
}
