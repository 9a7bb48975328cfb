//! The plan on real clusters: its times come from a probe, and the probe leaves nothing behind.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use vecferry_core::index::memory::{hnsw_bytes, value_bytes};
use vecferry_core::pg::Session;
use vecferry_core::phase::Phase;
use vecferry_core::plan::{Facts, Method, Plan, Situation, gather};
use vecferry_core::policy::{Clusters, Policy};
use vecferry_core::price::Prices;
use vecferry_core::{Error, Side};
use vecferry_testkit::{Database, pair};

/// Everything that could be left on a cluster's database.
const CONTENTS: &str = "SELECT count(*) || ' relations, ' || (SELECT count(*) FROM pg_namespace) || ' schemas, ' \
                        || (SELECT count(*) FROM pg_extension) || ' extensions' FROM pg_class";

fn plan(facts: &Facts) -> Plan {
    let situation = Situation::of_clusters(facts.clone(), Prices::published().unwrap());
    vecferry_core::plan::plan(&situation)
}

struct Case {
    source: Database,
    target: Database,
}

impl Case {
    async fn new(hint: &str) -> Case {
        let pair = pair().await;
        let source = Database::with_vector(&pair.source, hint).await.unwrap();
        let target = Database::create(&pair.target, hint).await.unwrap();
        Case { source, target }
    }

    /// Chunks with random vectors, and both kinds of index over them.
    async fn fill(&self, rows: usize, dimensions: usize) {
        self.source
            .batch(&format!(
                "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26) NOT NULL, content text, source text, \
                 embedding vector({dimensions})); \
                 INSERT INTO items SELECT i, 'bot' || i % 7, repeat(md5(i::text), 30), 's3://b/' || i, \
                 (SELECT array_agg(random() + 0 * (i + d))::vector FROM generate_series(1, {dimensions}) d) \
                 FROM generate_series(1, {rows}) i; \
                 CREATE INDEX nearest ON items USING hnsw (embedding vector_l2_ops); \
                 CREATE INDEX listed ON items USING ivfflat (embedding vector_cosine_ops) WITH (lists = 20); \
                 CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE log (line text, mood mood); ANALYZE"
            ))
            .await
            .unwrap();
    }

    fn clusters(&self) -> Clusters {
        Clusters {
            source: self.source.url().parse().unwrap(),
            target: self.target.url().parse().unwrap(),
        }
    }

    async fn gather(&self) -> Facts {
        gather(&self.clusters(), &Policy::default(), &CancellationToken::new()).await.unwrap()
    }

    fn contents(&self) -> (String, String) {
        (self.source.psql(CONTENTS).unwrap(), self.target.psql(CONTENTS).unwrap())
    }
}

fn estimate(plan: &Plan, wanted: Phase) -> f64 {
    plan.estimates.iter().find(|(phase, _)| *phase == wanted).unwrap().1
}

#[tokio::test]
async fn times_come_from_this_source_and_this_target_and_nothing_is_left_behind() {
    let case = Case::new("planned").await;
    case.fill(3000, 256).await;
    let before = case.contents();
    let started = Instant::now();
    let facts = case.gather().await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(case.contents(), before);
    assert_eq!(facts.probe.left_out, Vec::<String>::new());
    let mut methods: Vec<&str> =
        facts.probe.builds.iter().map(|build| build.method.as_str()).collect();
    methods.sort_unstable();
    assert_eq!(methods, ["btree", "hnsw", "ivfflat"]);
    let ratio = facts.probe.bytes_ratio.unwrap();
    assert!((0.2..3.0).contains(&ratio), "{ratio}");
    let plan = plan(&facts);
    assert_eq!(plan.recommended, Some(Method::Copy));
    assert_eq!(plan.estimates.len(), 6, "{plan:#?}");
    assert!(estimate(&plan, Phase::Indexes) > estimate(&plan, Phase::Sequences));
    assert!((0.1..60.0).contains(&plan.methods[0].seconds.unwrap()), "{plan:#?}");
    assert_eq!(plan.source.as_ref().unwrap().vector_indexes.len(), 2);
    assert_eq!(plan.target.unwrap().tables, 0);
}

#[tokio::test]
async fn what_is_written_to_the_source_is_measured_and_decides_when_apply_starts() {
    let case = Case::new("written").await;
    case.fill(300, 8).await;
    let policy = Policy { method: Some(Method::Follow), ..Policy::default() };
    let writer = case.source.connect().await.unwrap();
    let writing = async {
        // As long as the plan lasts: dropped with it.
        loop {
            let sql = "UPDATE items SET content = repeat(md5(random()::text), 30)";
            writer.batch_execute(sql).await.unwrap();
        }
    };
    let clusters = case.clusters();
    let cancel = CancellationToken::new();
    let facts = tokio::select! {
        facts = gather(&clusters, &policy, &cancel) => facts.unwrap(),
        () = writing => unreachable!(),
    };
    let wal = facts.probe.wal.unwrap();
    assert!(wal.bytes > 100_000 && wal.transactions > 1 && wal.seconds >= 1.0, "{wal:?}");
    assert_eq!(wal.kept_bytes, None);
    let lacking = plan(&facts);
    let follow = &lacking.methods[1];
    // The table without a key is what it lacks.
    assert!(follow.why_not.as_ref().unwrap().contains("on 1 tables"), "{follow:?}");
    case.source.batch("ALTER TABLE log REPLICA IDENTITY FULL").await.unwrap();
    let facts = gather(&clusters, &policy, &cancel).await.unwrap();
    let plan = plan(&facts);
    assert!(plan.methods[1].possible && plan.methods[1].seconds.is_some(), "{plan:#?}");
    let choice = plan.apply_start.unwrap();
    assert!(choice.kept_bytes.is_some() && choice.why.contains("write-ahead log"), "{choice:?}");
    assert_eq!(plan.steps.last().map(|step| step.phase), Some(Phase::Following));
    let copy = Policy { method: Some(Method::Copy), ..Policy::default() };
    assert_eq!(gather(&clusters, &copy, &cancel).await.unwrap().probe.wal, None);
}

#[tokio::test]
async fn an_empty_source_and_a_missing_target_still_give_a_plan() {
    let mut case = Case::new("empty").await;
    let nothing = plan(&case.gather().await);
    assert_eq!(nothing.source.as_ref().unwrap().tables, 0);
    assert_eq!(nothing.estimates.len(), 6, "{nothing:#?}");
    let clusters = Clusters {
        target: "postgresql://postgres@127.0.0.1:1/x".parse().unwrap(),
        ..case.clusters()
    };
    let facts = gather(&clusters, &Policy::default(), &CancellationToken::new()).await.unwrap();
    let blind = plan(&facts);
    assert_eq!((blind.target.is_none(), blind.recommended), (true, None));
    assert!(blind.warnings[0].contains("127.0.0.1:1"), "{:?}", blind.warnings);
    std::mem::swap(&mut case.source, &mut case.target);
    let reversed = Clusters { source: clusters.target, target: clusters.source };
    let error = gather(&reversed, &Policy::default(), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Postgres { .. }), "{error:?}");
}

#[tokio::test]
async fn a_target_on_which_nothing_may_be_created_is_planned_without_times() {
    let case = Case::new("weak").await;
    case.fill(200, 8).await;
    let role = format!("weak_{}", case.target.name());
    case.target.batch(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let mut clusters = case.clusters();
    clusters.target =
        case.target.url().replacen("postgres@", &format!("{role}@"), 1).parse().unwrap();
    let facts = gather(&clusters, &Policy::default(), &CancellationToken::new()).await.unwrap();
    case.target.batch(&format!("DROP ROLE {role}")).await.unwrap();
    assert!(facts.probe.write.is_none() && facts.probe.read.is_some());
    let plan = plan(&facts);
    assert!(plan.estimates.is_empty() && plan.methods[0].seconds.is_none());
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("permission denied")),
        "{:?}",
        plan.warnings
    );
}

#[tokio::test]
async fn a_plan_cut_off_in_the_middle_leaves_nothing_either() {
    let case = Case::new("cut").await;
    case.fill(3000, 256).await;
    let before = case.contents();
    for after in [5, 40, 80, 160, 320, 640] {
        let cancel = CancellationToken::new();
        let clusters = case.clusters();
        let policy = Policy::default();
        let gathering = gather(&clusters, &policy, &cancel);
        // Dropped, as when the process dies.
        let _ = tokio::time::timeout(Duration::from_millis(after), gathering).await;
    }
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'vecferry%'";
    for _ in 0..100 {
        if case.target.psql(gone).unwrap() == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(case.contents(), before);
}

/// Whether an HNSW build said that its graph outgrew `memory`.
async fn overflows(database: &Database, memory: u64, workers: u32) -> bool {
    let dsn = database.url().parse().unwrap();
    let mut session = Session::open(&dsn, Side::Target, "test").await.unwrap();
    let sql = format!(
        "SET maintenance_work_mem = '{}kB'; SET max_parallel_maintenance_workers = {workers}; \
         BEGIN; CREATE INDEX ON public.items USING hnsw (embedding public.vector_l2_ops) \
         WITH (m = 8, ef_construction = 16); ROLLBACK",
        memory / 1024
    );
    session.batch("build", &sql).await.unwrap();
    session.take_notices().iter().any(|notice| notice.contains("no longer fits"))
}

#[tokio::test]
async fn an_hnsw_graph_fits_into_what_the_model_says_and_not_into_much_less() {
    let case = Case::new("memory").await;
    case.target.batch("CREATE EXTENSION vector").await.unwrap();
    for database in [&case.source, &case.target] {
        database
            .batch(
                "CREATE TABLE items (embedding vector(256)) WITH (parallel_workers = 1); \
                 INSERT INTO items SELECT (SELECT array_agg(random() + 0 * (i + d))::vector \
                 FROM generate_series(1, 256) d) FROM generate_series(1, 8000) i",
            )
            .await
            .unwrap();
        let wanted = hnsw_bytes(8000, value_bytes("vector", 256), 8);
        for workers in [0, 1] {
            assert!(!overflows(database, wanted * 105 / 100, workers).await, "{workers} workers");
        }
        assert!(overflows(database, wanted * 60 / 100, 1).await);
    }
}
