//! SIGKILL at any instant: a rerun ends with the source's content and copies no finished part again.
//!
//! `VECFERRY_KILLS=500` makes the random part longer, `VECFERRY_KILLS_SEED` makes it another one.

use tokio::sync::OnceCell;
use vecferry_testkit::{Cluster, Database, FaultProxy, Options, Version, pair};

use crate::content::{Content, assert_same, content, count, schema};
use crate::migrating::{Migrating, Parts, is, program, wait_until};
use crate::program::Program;

/// What an application's setup makes on an empty target.
const PREPARED: &str = "
CREATE EXTENSION vector;
CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, embedding vector(8));
CREATE INDEX idx_items_embedding ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 100);
CREATE INDEX idx_items_botid ON items (botid);
";

/// Rows of bots that have moved already.
const OTHERS: &str = "INSERT INTO items (id, botid, content) VALUES \
    ('X1', 'bot3', 'kept'), ('X2', 'mine', 'kept'), ('X3', NULL, 'kept')";

/// A source that nobody writes to while tests run: transactions of others would make its rows look younger than
/// they are, and finished tables would rightly be copied again.
async fn whole() -> &'static (Cluster, Database) {
    static SOURCE: OnceCell<(Cluster, Database)> = OnceCell::const_new();
    let fill = || async {
        let cluster = Cluster::start(Version::Pg16, Options::new()).unwrap();
        let database = Database::with_vector(&cluster, "knowledge").await.unwrap();
        database.psql(include_str!("knowledge.sql")).unwrap();
        (cluster, database)
    };
    SOURCE.get_or_init(fill).await
}

async fn source() -> &'static Database {
    &whole().await.1
}

/// The kinds of target a migration may find.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Empty,
    Prepared,
    Kept,
}

impl Kind {
    async fn target(self) -> Database {
        let target = Database::create(&pair().await.target, "killed").await.unwrap();
        if self != Kind::Empty {
            target.batch(PREPARED).await.unwrap();
        }
        if self == Kind::Kept {
            target.batch(OTHERS).await.unwrap();
        }
        target
    }

    fn arguments(self) -> &'static [&'static str] {
        if self == Kind::Kept { &["--existing", "keep"] } else { &[] }
    }

    /// What a database holds that this kind of migration moves.
    async fn moved(self, database: &Database) -> Content {
        let mut content = content(database).await;
        if self == Kind::Kept {
            let ours = "SELECT count(*) || ' rows ' || md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) \
                        FROM items t WHERE botid <> 'bot3' AND content <> 'kept'";
            let ours = database.query_one(ours).await.unwrap().get(0);
            content.insert("public.items".into(), ours);
            content.remove("public.counts");
        }
        content
    }
}

/// One migration, killed as often as its test likes, then finished and looked at.
struct Migration {
    kind: Kind,
    target: Database,
    program: Program,
    parts: Parts,
}

impl Migration {
    async fn new(kind: Kind) -> Migration {
        let target = kind.target().await;
        let program = program(source().await.url(), target.url());
        Migration { kind, target, program, parts: Parts::default() }
    }

    fn start(&self, more: &[&str]) -> Migrating {
        let arguments: Vec<&str> = self.kind.arguments().iter().chain(more).copied().collect();
        Migrating::start(&self.program, &arguments)
    }

    /// The same, its target reached by way of a proxy.
    fn through(mut self, proxy: &FaultProxy) -> Migration {
        self.program = self.program.set("VECFERRY_TARGET", &proxy.url(self.target.url()));
        self
    }

    /// Runs it to its end and looks at everything there.
    async fn ends_well(mut self, what: &str) {
        let (code, events, stderr) = self.start(&[]).finish();
        assert_eq!(code, Some(0), "{what}: {stderr}\n{:#?}", events.last());
        self.parts.add(&events, what);
        let open = "SELECT count(*) FROM vecferry.part WHERE finished_at IS NULL";
        assert_eq!(count(&self.target, open).await, 0, "{what}");
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
        assert_eq!(count(&self.target, invalid).await, 0, "{what}");
        let expected = self.kind.moved(source().await).await;
        assert_same(&expected, &self.kind.moved(&self.target).await, what);
        if self.kind == Kind::Kept {
            let kept = "SELECT count(*) FROM items WHERE content = 'kept'";
            assert_eq!(count(&self.target, kept).await, 3, "{what}");
        } else {
            self.program.run(&["verify", "--recall-bots", "0"]).expect(0);
        }
    }
}

/// The instants at which each phase is killed: an event's name and phase.
const INSTANTS: [(&str, &str); 16] = [
    ("started", ""),
    ("phase_started", "schema"),
    ("phase_finished", "schema"),
    ("phase_started", "rows"),
    ("part_finished", ""),
    ("phase_finished", "rows"),
    ("phase_started", "sequences"),
    ("phase_finished", "sequences"),
    ("index_started", ""),
    ("index_finished", ""),
    ("phase_finished", "indexes"),
    ("phase_started", "constraints"),
    ("phase_finished", "constraints"),
    ("phase_started", "analyze"),
    ("phase_finished", "analyze"),
    ("finished", ""),
];

#[tokio::test]
async fn a_kill_in_any_phase_is_mended_by_a_rerun() {
    for (at, (name, phase)) in INSTANTS.into_iter().enumerate() {
        let kind = [Kind::Empty, Kind::Prepared, Kind::Kept][at % 3];
        let what = format!("killed at {name} {phase}, {kind:?}");
        let mut migration = Migration::new(kind).await;
        let mut run = migration.start(&[]);
        run.until(|event| is(event, name, phase));
        migration.parts.add(&run.kill(), &what);
        migration.ends_well(&what).await;
    }
}

#[tokio::test]
async fn a_run_killed_after_every_part_copies_each_part_once() {
    let mut migration = Migration::new(Kind::Prepared).await;
    let mut kills = 0;
    loop {
        let mut run = migration.start(&["--jobs", "1"]);
        run.until(|event| is(event, "part_finished", "") || is(event, "phase_finished", "rows"));
        let last = run.events.last().is_some_and(|event| is(event, "phase_finished", "rows"));
        migration.parts.add(&run.kill(), &format!("kill {kills}"));
        kills += 1;
        if last {
            break;
        }
    }
    assert!(kills > 5, "{kills}");
    let parts = count(&migration.target, "SELECT count(*) FROM vecferry.part").await;
    let reported = i64::try_from(migration.parts.len()).unwrap();
    // A part committed at the very instant of a kill is reported by nobody.
    assert!(reported <= parts && parts < reported + kills, "{reported} of {parts}");
    migration.ends_well("after every part").await;
}

/// Numbers that look random and are the same in every run (splitmix64, Steele et al., OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// An instant of a run.
#[derive(Debug, Clone, Copy)]
enum Instant {
    /// After so many bytes between program and target, in both directions.
    Bytes(u64),
    /// After so many events.
    Events(u64),
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test]
async fn kills_at_random_instants_are_mended_by_a_rerun() {
    let (kills, seed) = (number("VECFERRY_KILLS", 8), number("VECFERRY_KILLS_SEED", 1));
    let mut random = Random(seed);
    let address = format!("127.0.0.1:{}", pair().await.target.port());
    let proxy = FaultProxy::start(&address).unwrap();
    // How long a run is, told by one that is left alone.
    let whole = Migration::new(Kind::Empty).await.through(&proxy);
    let (code, events, stderr) = whole.start(&[]).finish();
    assert_eq!(code, Some(0), "{stderr}");
    let (bytes, events) = (proxy.passed(), events.len() as u64);
    let mut killed = 0;
    while killed < kills {
        let kind = [Kind::Empty, Kind::Prepared, Kind::Kept][random.below(3) as usize];
        let mut migration = Migration::new(kind).await.through(&proxy);
        let mut what = format!("seed {seed}, {kind:?}, killed at");
        // Every other one is killed again while it goes on.
        for _ in 0..=random.below(2) {
            let instant = match random.below(2) {
                0 => Instant::Bytes(random.below(bytes)),
                _ => Instant::Events(1 + random.below(events)),
            };
            what = format!("{what} {instant:?}");
            let before = proxy.passed();
            let mut run = migration.start(&[]);
            match instant {
                Instant::Bytes(bytes) => drop(run.until_passed(&proxy, before + bytes)),
                Instant::Events(count) => drop((0..count).map_while(|_| run.next()).count()),
            }
            migration.parts.add(&run.kill(), &what);
            killed += 1;
        }
        migration.ends_well(&what).await;
    }
}

#[tokio::test]
async fn status_from_elsewhere_tells_a_run_from_its_remains() {
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", shared().await.port())).unwrap();
    let mut migration = Migration::new(Kind::Empty).await;
    let elsewhere = program(source().await.url(), migration.target.url());
    migration.program = program(&proxy.url(source().await.url()), migration.target.url());
    proxy.slow(200_000);
    let mut run = migration.start(&["--jobs", "1"]);
    run.until(|event| is(event, "part_finished", ""));
    // The source falls silent, so that the run stands still while it is looked at.
    proxy.hold();
    let running = elsewhere.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&running["phase"], &running["running"]), (&"rows".into(), &true.into()));
    let (parts, total) = (running["parts"].as_u64().unwrap(), running["parts_total"].as_u64());
    assert!(parts >= 1 && Some(parts) < total, "{running}");
    let second = elsewhere.run(&["migrate", "--no-estimate"]).expect(4);
    assert!(second.stderr.contains("another migration is running"), "{}", second.stderr);
    assert!(second.stderr.contains("hint: "), "{}", second.stderr);
    assert!(elsewhere.run(&["cleanup", "--yes"]).expect(4).stderr.contains("is running"));
    migration.parts.add(&run.kill(), "status");
    proxy.release();
    wait_until(&migration.target, NOBODY).await;
    let remains = elsewhere.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&remains["phase"], &remains["running"]), (&"rows".into(), &false.into()));
    assert!(remains["parts"].as_u64() >= Some(parts) && remains["parts_total"].as_u64() == total);
    migration.ends_well("after status").await;
}

/// Whether no session of ours is left on the target.
const NOBODY: &str = "SELECT count(*) = 0 FROM pg_stat_activity \
    WHERE application_name LIKE 'vecferry %' AND datname = current_database()";

async fn shared() -> &'static Cluster {
    &whole().await.0
}

#[tokio::test]
async fn ctrl_c_ends_with_130_and_says_how_to_go_on() {
    let mut migration = Migration::new(Kind::Empty).await;
    let mut run = migration.start(&["--jobs", "1"]);
    run.until(|event| is(event, "part_finished", ""));
    let signalled =
        std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(signalled.unwrap().success());
    let (code, events, stderr) = run.finish();
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("hint: run the same command again; "), "{stderr}");
    assert!(stderr.contains(" parts are finished"), "{stderr}");
    let status = migration.program.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["last_error"], &status["running"]), (&"interrupted".into(), &false.into()));
    migration.parts.add(&events, "interrupted");
    migration.ends_well("interrupted").await;
}

#[tokio::test]
async fn cleanup_after_a_kill_puts_the_target_back() {
    for (kind, name, phase) in [
        (Kind::Empty, "part_finished", ""),
        (Kind::Empty, "phase_finished", "constraints"),
        (Kind::Prepared, "part_finished", ""),
        (Kind::Kept, "index_finished", ""),
    ] {
        let what = format!("{kind:?} at {name} {phase}");
        let migration = Migration::new(kind).await;
        let before = (schema(&migration.target), content(&migration.target).await);
        let mut run = migration.start(&[]);
        run.until(|event| is(event, name, phase));
        run.kill();
        migration.program.run(&["cleanup", "--yes"]).expect(0);
        let after = (schema(&migration.target), content(&migration.target).await);
        assert_eq!(before, after, "{what}");
        let clean = migration.program.run(&["cleanup", "--yes"]).expect(0);
        assert!(clean.stderr.contains("nothing to clean up"), "{what}: {}", clean.stderr);
        migration.ends_well(&what).await;
    }
}
