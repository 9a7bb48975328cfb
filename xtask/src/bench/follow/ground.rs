//! What all figures stand on: two servers, a filled source to make copies of, a writer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;
use vecferry_testkit::{Database, Mix, Options, Pair, Version, Writer, WriterOptions};

use super::FollowArguments;
use super::program::Vecferry;
use crate::bench::{dataset, options};

/// A writer that gets nothing acknowledged for so long has nobody to write to any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Servers and settings of a run.
pub(super) struct Ground {
    pub(super) arguments: FollowArguments,
    pub(super) runtime: Runtime,
    /// Copied for every round, never written to.
    filled: Database,
    pub(super) pair: Pair,
    pub(super) pg_bin_dir: PathBuf,
    pub(super) folder: PathBuf,
    program: Option<PathBuf>,
}

/// The two databases of a round.
pub(super) struct Course {
    pub(super) source: Database,
    pub(super) target: Database,
}

impl Ground {
    /// Starts the servers and fills the source.
    pub(super) fn prepare(arguments: &FollowArguments) -> Result<Ground> {
        let program = match arguments.no_vecferry {
            true => None,
            false => Some(crate::program::vecferry(arguments.vecferry.as_deref(), true)?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options: Options = options(arguments.no_fsync);
        let pair = Pair::start(&options).context("start the clusters")?;
        eprintln!("filling the source with {} rows of {}", arguments.rows, arguments.dims);
        let filled = runtime.block_on(async {
            let filled = Database::create(&pair.source, "filled").await?;
            dataset::fill(filled.url(), arguments.rows, arguments.dims).await?;
            anyhow::Ok(filled)
        })?;
        let folder = pair.target.folder().join("scratch");
        std::fs::create_dir_all(&folder)?;
        let pg_bin_dir = Version::Pg18.bin_dir()?;
        let arguments = arguments.clone();
        Ok(Ground { arguments, runtime, filled, pair, pg_bin_dir, folder, program })
    }

    /// A source with the same rows every time, and an empty target.
    pub(super) fn fresh(&self) -> Result<Course> {
        let source = self.runtime.block_on(self.filled.copy_of(&self.pair.source, "source"));
        let source = source.context("copy the filled database")?;
        Ok(Course { source, target: self.empty_target()? })
    }

    /// One more database on the target's server, all pages of others written before.
    pub(super) fn empty_target(&self) -> Result<Database> {
        self.runtime.block_on(async {
            let target = Database::create(&self.pair.target, "target").await?;
            target.batch("CHECKPOINT").await?;
            Ok(target)
        })
    }

    /// The database all sources are copies of.
    pub(super) fn filled_url(&self) -> &str {
        self.filled.url()
    }

    /// The program on these databases, or nothing when the run is without it.
    pub(super) fn vecferry(&self, course: &Course) -> Option<Vecferry<'_>> {
        self.program.as_ref().map(|program| Vecferry {
            runtime: &self.runtime,
            program: program.clone(),
            pg_bin_dir: self.pg_bin_dir.clone(),
            folder: self.folder.clone(),
            source: course.source.url().to_owned(),
            target: course.target.url().to_owned(),
        })
    }

    /// An application that writes to the source, and goes where the file says.
    pub(super) fn writer(&self, course: &Course, seed: u64, file: Option<&Path>) -> Result<Writer> {
        let arguments = &self.arguments;
        let options = WriterOptions {
            url_file: file.map(Path::to_owned),
            connections: arguments.connections,
            rate: Some(f64::from(arguments.writes)),
            seed,
            dimensions: arguments.dims,
            text_length: 1000,
            mix: application(),
            ..WriterOptions::new(course.source.url())
        };
        let writer = Writer::start(options)?;
        self.a_second_of(&writer, "before vecferry began")?;
        Ok(writer)
    }

    /// Waits for as many acknowledged writes as a second should have.
    pub(super) fn a_second_of(&self, writer: &Writer, when: &str) -> Result<()> {
        let writes = u64::from(self.arguments.writes.max(1));
        let went_on = writer.wait_for_acknowledged(writes, PATIENCE);
        ensure!(went_on, "no {writes} writes were acknowledged in {PATIENCE:?} {when}");
        Ok(())
    }
}

/// Mostly single rows, about as many deleted as inserted, and now and then a bot synchronised anew.
fn application() -> Mix {
    Mix {
        insert: 25,
        insert_many: 2,
        content: 35,
        vector: 15,
        delete: 21,
        replace_bot: 1,
        roll_back: 1,
        ..Mix::none()
    }
}
