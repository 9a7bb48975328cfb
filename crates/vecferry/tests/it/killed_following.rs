//! SIGKILL at any instant of a follow while an application writes: a rerun catches up, and every write that the source
//! acknowledged is on the target.
//!
//! `VECFERRY_KILLS=100` makes the random part longer, `VECFERRY_KILLS_SEED` makes it another one.

use std::time::Duration;

use vecferry_testkit::{Database, FaultProxy, Ledger, Writer, WriterOptions, pair};

use crate::migrating::{Migrating, is, program, wait_until};
use crate::program::Program;

/// How long the writer may take for a few writes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An application on the source, and a follow to an empty target.
struct Following {
    source: Database,
    target: Database,
    writer: Writer,
    program: Program,
}

impl Following {
    async fn new(seed: u64) -> Following {
        let pair = pair().await;
        let source = Database::with_vector(&pair.source, "written").await.unwrap();
        let target = Database::create(&pair.target, "written").await.unwrap();
        let options = WriterOptions {
            connections: 2,
            rate: Some(150.0),
            seed,
            side_table: Some("side".into()),
            ..WriterOptions::new(source.url())
        };
        source.batch(&options.tables()).await.unwrap();
        source.psql(BALLAST).unwrap();
        let writer = Writer::start(options).unwrap();
        assert!(writer.wait_for_acknowledged(100, PATIENCE));
        let program = program(source.url(), target.url());
        Following { source, target, writer, program }
    }

    fn start(&self, more: &[&str]) -> Migrating {
        let arguments = ["--method", "follow", "--detach"].iter().chain(more).copied();
        Migrating::start(&self.program, &arguments.collect::<Vec<_>>())
    }

    /// The writer goes on for a while, whatever runs or does not.
    fn more_writes(&self, what: &str) {
        assert!(
            self.writer.wait_for_acknowledged(30, PATIENCE),
            "{what}: the source takes no writes"
        );
    }

    /// Runs it until it has caught up with a writer that has stopped, and looks for each of its writes.
    async fn ends_well(self, what: &str) {
        let (code, events, stderr) = self.start(&[]).finish();
        assert_eq!(code, Some(0), "{what}: {stderr}\n{:#?}", events.last());
        self.more_writes(what);
        let ledger: Ledger = self.writer.stop();
        let gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'vecferry-writer' \
                    AND datname = current_database()";
        wait_until(&self.source, gone).await;
        let run = Migrating::start(&self.program, &["--detach"]);
        let (code, _, stderr) = run.finish();
        assert_eq!(code, Some(0), "{what}: {stderr}");
        for side in [&self.source, &self.target] {
            let violations = ledger.check(side.url()).await.unwrap();
            assert!(violations.is_empty(), "{what}, {}: {violations:#?}", side.name());
        }
        let ballast = "SELECT count(*) = 3000 FROM ballast";
        wait_until(&self.target, ballast).await;
    }
}

/// A table that nobody writes to and that is copied first, part by part.
const BALLAST: &str = "CREATE TABLE ballast (id int PRIMARY KEY, t text); \
    INSERT INTO ballast SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 3000) g";

/// The instants at which each phase is killed: an event's name and phase.
const INSTANTS: [(&str, &str); 17] = [
    ("started", ""),
    ("phase_started", "schema"),
    ("phase_finished", "schema"),
    ("phase_started", "rows"),
    ("part_finished", ""),
    ("phase_finished", "rows"),
    ("phase_finished", "sequences"),
    ("phase_started", "keys"),
    ("phase_finished", "keys"),
    ("index_started", ""),
    ("index_finished", ""),
    ("phase_finished", "constraints"),
    ("phase_started", "analyze"),
    ("phase_started", "subscribe"),
    ("phase_finished", "subscribe"),
    ("phase_started", "catch_up"),
    ("phase_started", "following"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_killed_in_any_phase_loses_no_acknowledged_write() {
    for (at, (name, phase)) in INSTANTS.into_iter().enumerate() {
        // Both orders of apply and indexes take turns; keys are built in one of them only.
        let order = if phase == "keys" || at % 2 == 0 { "first" } else { "last" };
        let what = format!("killed at {name} {phase}, apply {order}");
        let following = Following::new(at as u64).await;
        let mut run = following.start(&["--apply-start", order]);
        run.until(|event| is(event, name, phase));
        run.kill();
        following.more_writes(&what);
        following.ends_well(&what).await;
    }
}

/// Numbers that look random and are the same in every run (splitmix64, Steele et al., OOPSLA 2014).
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_killed_at_random_instants_twice_loses_no_acknowledged_write() {
    let kills = variable("VECFERRY_KILLS", 6);
    let seed = variable("VECFERRY_KILLS_SEED", 20_261_121);
    for kill in 0..kills {
        let mut following = Following::new(kill).await;
        let order = if kill % 2 == 0 { "first" } else { "last" };
        let what = format!("seed {seed}, kill {kill}, apply {order}");
        // Only our own connections go through the proxy: the clusters' replication goes its own way.
        let direct = following.source.url().to_owned();
        let proxy = FaultProxy::start(address(&direct)).unwrap();
        let through = program(&proxy.url(&direct), following.target.url());
        following.program = through.set("VECFERRY_SOURCE_FROM_TARGET", &direct);
        for again in 0..2 {
            let mut run = following.start(&["--apply-start", order]);
            let bytes = mixed(seed + kill * 2 + again) % 1_500_000;
            run.until_passed(&proxy, proxy.passed() + bytes);
            run.kill();
            following.more_writes(&what);
        }
        following.ends_well(&what).await;
    }
}

/// `host:port` of a test cluster's URL.
fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}
