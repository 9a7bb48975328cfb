//! What verify says about functions, views, triggers, rules and policies.

use super::{Both, structure};
use crate::fixture;
use vecferry_testkit::{Database, pair};

const MAKE: &str = r#"
CREATE TABLE t (id int PRIMARY KEY, owner text, at timestamptz);
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1 * 2';
CREATE FUNCTION parsed(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n + 1; END;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
CREATE PROCEDURE nothing() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE VIEW "Größe" WITH (security_barrier) AS
  SELECT id, twice(id) AS d, owner FROM t WHERE owner IN ('a', 'b') AND id <> ALL (ARRAY[1, 2]);
CREATE VIEW joined AS SELECT a.id, b.owner FROM t a LEFT JOIN t b USING (id) ORDER BY 1;
CREATE TRIGGER touched BEFORE INSERT OR UPDATE ON t FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION touch();
CREATE RULE kept AS ON DELETE TO t WHERE OLD.id = 1 DO INSTEAD NOTHING;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t FOR SELECT TO PUBLIC USING (owner = CURRENT_USER::text);
"#;

#[tokio::test]
async fn the_same_statements_on_two_major_versions_are_no_difference() {
    let both = Both::made_by("definitions", MAKE).await;
    let verdict = both.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    let found = verdict.structure.unwrap();
    let compared = found.compared;
    assert_eq!((compared.functions, compared.views, compared.triggers), (5, 2, 1));
    assert_eq!((compared.rules, compared.policies), (1, 1));
    assert_eq!(found.notes, ["extension vector: 0.6.2 became 0.8.5"]);
}

#[tokio::test]
async fn what_is_defined_otherwise_is_named_and_shown_where_it_parts() {
    let both = Both::made_by("defined_otherwise", MAKE).await;
    let verdict = both
        .after(
            "CREATE OR REPLACE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1 * 3';
             DROP PROCEDURE nothing; DROP RULE kept ON t; ALTER TABLE t DISABLE TRIGGER touched;
             DROP POLICY own ON t; CREATE POLICY own ON t TO PUBLIC USING (true);
             ALTER VIEW \"Größe\" RESET (security_barrier);
             CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1';",
        )
        .await;
    assert!(!verdict.matches && verdict.content.matches);
    let expected = [
        "Function public.nothing(): missing",
        "Function public.twice(n integer): ",
        "Policy public.t: own: ",
        "Rule public.t: kept: missing",
        "Trigger public.t: touched: ",
        "View public.Größe: ",
    ];
    let found = structure(&verdict);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (said, begin) in found.iter().zip(expected) {
        assert!(said.starts_with(begin), "{said} does not begin with {begin}");
    }
    assert!(
        found[1].ends_with("SELECT $1 * 2") && found[1].contains("SELECT $1 * 3, on the source"),
        "{}",
        found[1]
    );
}

#[tokio::test]
async fn a_view_written_otherwise_is_a_note_between_versions_and_a_difference_within_one() {
    let other = "CREATE OR REPLACE VIEW joined AS SELECT a.id, b.owner FROM t a JOIN t b USING (id) ORDER BY 1";
    let mut both = Both::made_by("written", MAKE).await;
    let found = both.after(other).await.structure.unwrap();
    assert!(found.matches, "{found:#?}");
    assert!(found.notes.iter().any(|note| note.contains("view public.joined: ")), "{found:#?}");
    both.source = Database::with_vector(&pair().await.target, "written_source").await.unwrap();
    both.source.batch(MAKE).await.unwrap();
    let verdict = both.verify().await;
    let said = structure(&verdict);
    assert!(said.len() == 1 && said[0].starts_with("View public.joined: "), "{said:?}");
}

#[tokio::test]
async fn what_migrate_restores_is_defined_as_on_the_source() {
    let mut both = Both::new("restored").await;
    both.source.batch(MAKE).await.unwrap();
    both.source
        .batch(
            "CREATE TABLE split (id int, at date) PARTITION BY RANGE (at);
             CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
             CREATE TRIGGER every AFTER INSERT ON split FOR EACH ROW EXECUTE FUNCTION touch('a', E'b\\n');
             CREATE FUNCTION configured(v vector) RETURNS float8 LANGUAGE sql SET search_path = public, pg_temp
               SECURITY DEFINER COST 7 RETURN vector_norm(v);
             ALTER FUNCTION configured(vector) COST 9;
             CREATE MATERIALIZED VIEW far AS
               SELECT id, ARRAY[id, 1]::vector <-> '[1,2]' AS distance, count(*) OVER w, (SELECT max(at) FROM t)
               FROM t WHERE at > now() - interval '1 day' WINDOW w AS (PARTITION BY owner);
             CREATE VIEW writable AS SELECT id, owner FROM t;
             CREATE RULE writes AS ON UPDATE TO writable DO INSTEAD UPDATE t SET owner = NEW.owner WHERE id = OLD.id;
             CREATE TRIGGER instead INSTEAD OF INSERT ON writable FOR EACH ROW EXECUTE FUNCTION touch();
             CREATE POLICY writes ON t AS RESTRICTIVE FOR INSERT WITH CHECK (id IN (SELECT id FROM split));
             ALTER TABLE t ENABLE ALWAYS TRIGGER touched",
        )
        .await
        .unwrap();
    both.target = Database::create(&pair().await.target, "restored").await.unwrap();
    fixture::copy(&both.source, &both.target, &fixture::policy()).await.unwrap();
    let verdict = both.verify().await;
    assert!(verdict.matches, "{verdict:#?}");
    let notes = verdict.structure.unwrap().notes;
    assert!(
        notes
            .iter()
            .all(|note| note.contains("versions 16 and 18") || note.starts_with("extension")),
        "{notes:#?}"
    );
}
