//! The ways to move a table. All end with the same rows and the same indexes on the target, and
//! each is set as one who knows it would set it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;
use vecferry_testkit::Session;

use super::memory::peak_of;

/// The index of `--hnsw`.
pub(super) const HNSW: &str =
    "CREATE INDEX idx_items_embedding ON items USING hnsw (embedding vector_l2_ops)";

/// A way to move a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Contestant {
    /// What all this is about, and its verify
    Vecferry,
    /// pg_dump into pg_restore, uncompressed
    DumpRestore,
    /// PostgreSQL's own subscription with its initial copy in binary
    Subscription,
    /// pgcopydb clone
    Pgcopydb,
    /// One psql into another, binary
    Pipe,
    /// Two such pipes, each with half of the pages
    TwoPipes,
}

/// What they all run on.
pub(super) struct Course {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) pg_bin_dir: PathBuf,
    pub(super) vecferry: Option<PathBuf>,
    pub(super) folder: PathBuf,
    pub(super) pages: i64,
    pub(super) hnsw: bool,
}

/// One timed run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    /// Of all its processes together, servers not counted; unknown where the server does the work.
    pub(super) peak_kib: Option<u64>,
}

impl Contestant {
    /// In the order in which a round runs them.
    pub(super) const ALL: [Contestant; 6] = [
        Contestant::Vecferry,
        Contestant::DumpRestore,
        Contestant::Subscription,
        Contestant::Pgcopydb,
        Contestant::Pipe,
        Contestant::TwoPipes,
    ];

    /// As the record calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Contestant::Vecferry => "vecferry migrate",
            Contestant::DumpRestore => "pg_dump to pg_restore",
            Contestant::Subscription => "subscription, binary",
            Contestant::Pgcopydb => "pgcopydb",
            Contestant::Pipe => "one psql binary pipe",
            Contestant::TwoPipes => "two psql binary pipes",
        }
    }

    /// Runs once on an empty target; vecferry gives a second figure, that of its proof.
    pub(super) fn run(self, course: &Course, runtime: &Runtime) -> Vec<(String, Result<Outcome>)> {
        let own = |outcome| vec![(self.name().to_owned(), outcome)];
        match self {
            Contestant::Vecferry => {
                let mut figures = own(course.vecferry(&[
                    "migrate",
                    "--method",
                    "copy",
                    "--yes",
                    "--no-check",
                    "--no-estimate",
                ]));
                if figures[0].1.is_ok() {
                    figures.push(("vecferry, before VACUUM ANALYZE".into(), course.unvacuumed()));
                    figures.push(("vecferry verify".into(), course.vecferry(&["verify"])));
                }
                figures
            }
            Contestant::DumpRestore => own(course.script(
                r#""$B/pg_dump" -Fc -Z0 -d "$S" | "$B/pg_restore" --exit-on-error -d "$T""#,
            )),
            Contestant::Subscription => own(course.subscription(runtime)),
            Contestant::Pgcopydb => own(course.script(
                r#"PATH="$B:$PATH" pgcopydb clone --source "$S" --target "$T" \
                   --dir "$PWD/pgcopydb" --restart --table-jobs 2 --index-jobs 2 >&2"#,
            )),
            Contestant::Pipe => own(course.raw("pipe items")),
            Contestant::TwoPipes => own(course.raw(&format!(
                r#"half=$(({} / 2))
                   pipe "(SELECT * FROM items WHERE ctid < '($half,0)')" & first=$!
                   pipe "(SELECT * FROM items WHERE ctid >= '($half,0)')"
                   wait $first"#,
                course.pages
            ))),
        }
    }
}

impl Course {
    fn vecferry(&self, arguments: &[&str]) -> Result<Outcome> {
        let program = self.vecferry.as_ref().context("vecferry is not built")?;
        let mut command = Command::new(program);
        command
            .args(["--source", &self.source, "--target", &self.target, "--quiet"])
            .args(arguments)
            .env("VECFERRY_PG_BIN_DIR", &self.pg_bin_dir)
            .current_dir(&self.folder)
            .stdout(Stdio::null());
        timed(&mut command)
    }

    /// The migration that has just ended without its last phase, by its own record: the others vacuum and analyse
    /// nothing.
    fn unvacuumed(&self) -> Result<Outcome> {
        let sql = "SELECT sum(value::float8) FROM vecferry.migration, jsonb_each_text(phase_seconds) \
                   WHERE key <> 'analyze'";
        let output = Command::new(self.pg_bin_dir.join("psql"))
            .args(["-X", "-A", "-t", "-d", &self.target, "-c", sql])
            .output()?;
        let seconds = String::from_utf8_lossy(&output.stdout).trim().parse()?;
        Ok(Outcome { seconds, peak_kib: None })
    }

    /// A bash script with `$S`, `$T` (URLs), `$B` (PostgreSQL's programs).
    fn script(&self, script: &str) -> Result<Outcome> {
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("set -euo pipefail\n{script}")])
            .env("S", &self.source)
            .env("T", &self.target)
            .env("B", &self.pg_bin_dir)
            .env("PGOPTIONS", "-c client_min_messages=warning")
            .current_dir(&self.folder);
        timed(&mut command)
    }

    /// The schema around rows that psql pipes through: `pipe WHAT` moves a table or a query.
    fn raw(&self, rows: &str) -> Result<Outcome> {
        self.script(&format!(
            r#"q() {{ "$B/psql" -Xq -v ON_ERROR_STOP=1 "$@"; }}
               pipe() {{ q -d "$S" -c "COPY $1 TO STDOUT (FORMAT binary)" |
                         q -d "$T" -c "COPY items FROM STDIN (FORMAT binary)"; }}
               "$B/pg_dump" -Fc --section=pre-data -d "$S" | "$B/pg_restore" -d "$T"
               {rows}
               "$B/pg_dump" -Fc --section=post-data -d "$S" | "$B/pg_restore" -d "$T""#
        ))
    }

    fn subscription(&self, runtime: &Runtime) -> Result<Outcome> {
        let started = Instant::now();
        let section = |section: &str| {
            self.script(&format!(
                r#""$B/pg_dump" -Fc --section={section} --no-publications -d "$S" |
                   "$B/pg_restore" -d "$T""#
            ))
        };
        let outcome = section("pre-data")
            .and_then(|_| runtime.block_on(self.subscribe()))
            .and_then(|()| section("post-data"));
        let seconds = started.elapsed().as_secs_f64();
        runtime.block_on(self.unsubscribe())?;
        outcome.map(|_| Outcome { seconds, peak_kib: None })
    }

    async fn subscribe(&self) -> Result<()> {
        let source = Session::open(&self.source).await?;
        source.batch_execute("CREATE PUBLICATION bench FOR TABLE items").await?;
        let target = Session::open(&self.target).await?;
        let subscribe = format!(
            "CREATE SUBSCRIPTION bench CONNECTION '{}' PUBLICATION bench WITH (binary = true)",
            self.source
        );
        target.batch_execute(&subscribe).await.context("subscribe")?;
        let ready = "SELECT coalesce(bool_and(srsubstate = 'r'), false) FROM pg_subscription_rel";
        while !target.query_one(ready, &[]).await?.get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Otherwise the next round's database could not be dropped, and the slot would hold WAL.
    async fn unsubscribe(&self) -> Result<()> {
        let target = Session::open(&self.target).await?;
        target.batch_execute("DROP SUBSCRIPTION IF EXISTS bench").await.context("unsubscribe")?;
        let source = Session::open(&self.source).await?;
        Ok(source.batch_execute("DROP PUBLICATION IF EXISTS bench").await?)
    }
}

fn timed(command: &mut Command) -> Result<Outcome> {
    let started = Instant::now();
    let (status, peak_kib) = peak_of(command)?;
    let seconds = started.elapsed().as_secs_f64();
    let name = command.get_program().to_string_lossy().into_owned();
    ensure!(status.success(), "{name} ended with {status}");
    Ok(Outcome { seconds, peak_kib: Some(peak_kib) })
}
