//! What verify says about searches: before and after, with and without an index that can serve.

use super::{Both, Options};
use vecferry_core::verify::Verdict;
use vecferry_core::verify::recall::Recall;
use vecferry_testkit::Database;
use vecferry_testkit::vectors::{Vectors, literal};

/// Rows of two bots; enough that an IVFFlat index is worth using.
const ROWS: u64 = 3000;

/// The application's table on both sides, filled after `before_rows` and followed by `after_rows`.
async fn fill(database: &Database, before_rows: &str, after_rows: &str) {
    // Long and little clustered: the random centres of an index on an empty table then cut neighbours apart, instead
    // of putting nearly all rows into the list of the centre next to zero.
    let vectors = Vectors::new(7, 24, 1000);
    let long = |i| vectors.get(i).into_iter().map(|value| value * 50.0).collect::<Vec<f32>>();
    let rows: Vec<String> = (0..ROWS)
        .map(|i| format!("('{i:026}', 'bot{}', 't', 's', '{}')", i % 2, literal(&long(i))))
        .collect();
    let sql = format!(
        "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, embedding vector(24));
         {before_rows};
         INSERT INTO items VALUES {};
         {after_rows}; ANALYZE items",
        rows.join(",")
    );
    database.batch(&sql).await.unwrap();
}

async fn both(hint: &str) -> Both {
    let mut both = Both::new(hint).await;
    both.options = Options { recall_bots: 4, recall_queries: 4, ..Options::default() };
    both
}

fn recall(verdict: &Verdict) -> &Recall {
    verdict.recall.as_ref().unwrap()
}

const IVFFLAT: &str =
    "CREATE INDEX by_embedding ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 300)";

#[tokio::test]
async fn an_index_built_on_the_empty_table_finds_less_than_one_built_after_the_rows() {
    let both = both("ivfflat").await;
    fill(&both.source, "", &format!("SET ivfflat.probes = 300; {IVFFLAT}")).await;
    fill(&both.target, IVFFLAT, "").await;
    // Wide probes make the source exact; the target's planner is left no other plan than its poor index.
    let configure = |database: &Database, settings: &[&str]| {
        let name = database.name().to_owned();
        settings.iter().map(|s| format!("ALTER DATABASE {name} SET {s};")).collect::<String>()
    };
    both.source.batch(&configure(&both.source, &["ivfflat.probes = 300"])).await.unwrap();
    both.target
        .batch(&configure(&both.target, &["enable_seqscan = off", "enable_sort = off"]))
        .await
        .unwrap();
    let verdict = both.verify().await;
    assert!(verdict.structure.as_ref().unwrap().matches && verdict.content.matches, "{verdict:#?}");
    let (source, target) = (recall(&verdict).source.unwrap(), recall(&verdict).target.unwrap());
    assert_eq!((source.queries, target.queries), (8, 8));
    assert_eq!((source.application, source.index), (1.0, Some(1.0)));
    assert_eq!(target.planned_with_index, 1.0);
    assert!(target.application < 0.8 && target.index.unwrap() < 0.8, "{target:?}");
    assert!(!recall(&verdict).matches && !verdict.matches);
    assert!(
        verdict.notes.iter().any(|note| note.contains("ivfflat.probes")),
        "{:?}",
        verdict.notes
    );

    let rebuilt = both
        .after(&format!(
            "{} REINDEX INDEX by_embedding",
            configure(&both.target, &["ivfflat.probes = 300"])
        ))
        .await;
    assert!(rebuilt.matches, "{rebuilt:#?}");
    assert_eq!(recall(&rebuilt).target.unwrap().application, 1.0);
}

#[tokio::test]
async fn a_planner_that_prefers_the_bots_btree_is_reported_and_the_vector_index_is_measured_anyway()
{
    let both = both("btree").await;
    let indexes = "CREATE INDEX by_bot ON items (botid);
                   CREATE INDEX by_embedding ON items USING hnsw (embedding vector_l2_ops)";
    let few = "INSERT INTO items SELECT 'few' || i, 'few', 't', 's', embedding
               FROM (SELECT row_number() OVER (ORDER BY id) i, embedding FROM items LIMIT 5) r";
    for database in [&both.source, &both.target] {
        fill(database, "", &format!("{indexes}; {few}")).await;
    }
    let verdict = both.verify().await;
    let bots = &recall(&verdict).bots;
    let few = bots.iter().find(|bot| bot.bot == "few").unwrap();
    let target = few.target.unwrap();
    assert_eq!((few.rows, target.planned_with_index, target.application), (5, 0.0, 1.0));
    assert!(target.index.is_some());
}

#[tokio::test]
async fn without_a_vector_index_every_search_is_exact() {
    let both = both("exact").await;
    for database in [&both.source, &both.target] {
        fill(database, "", "").await;
    }
    let verdict = both.verify().await;
    assert!(verdict.matches && verdict.recall.is_none(), "{verdict:#?}");
    let said = |note: &String| note.contains("public.items has no vector index");
    assert!(verdict.notes.iter().any(said), "{:?}", verdict.notes);
}

#[tokio::test]
async fn one_table_without_bots_is_searched_as_a_whole() {
    let mut both = both("whole").await;
    both.policy.knowledge.bot = None;
    for database in [&both.source, &both.target] {
        fill(database, "", "CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)").await;
    }
    let verdict = both.verify().await;
    let bots = &recall(&verdict).bots;
    assert_eq!((bots.len(), bots[0].bot.as_str(), bots[0].rows), (1, "all rows", ROWS));
    assert_eq!(bots[0].target.unwrap().planned_with_index, 1.0);
}

#[tokio::test]
async fn a_target_without_the_knowledge_table_is_a_note() {
    let both = both("none").await;
    let verdict = both.verify().await;
    assert!(verdict.recall.is_none() && verdict.matches);
    assert!(verdict.notes[0].starts_with("recall was not measured"), "{:?}", verdict.notes);
}
