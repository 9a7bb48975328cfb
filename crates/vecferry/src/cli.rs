//! The command line: types for clap, whose doc comments are the help. Nothing is resolved here: an absent flag stays
//! absent, because the file may still set it (see [`crate::settings`]); the defaults the help states are therefore
//! words, and a test holds them against core's.

mod crossing;
mod delta;
mod moving;
mod policy;
mod price;
mod reembed;
mod restore;

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::error::Exit;
use crate::units::parse_share;
pub(crate) use crossing::{Crossing, Cutover, Proof, Rollback};
pub(crate) use delta::{Delta, parse_time};
pub(crate) use moving::{Follow, Selection, Work};
pub(crate) use policy::PolicyFor;
pub(crate) use price::{PlanEmbedding, PriceFile};
pub(crate) use reembed::{
    Aws, BotSelection, Bots, Documents, Embedding, LostDocuments, Provider, Reembed, Registry,
    Runner, Store, Tasks, Worker,
};
pub(crate) use restore::{Restore, TargetAt, TemporaryCluster};

/// Move pgvector knowledge bases between PostgreSQL clusters and prove the result
///
/// A first migration is four commands: `vecferry check`, `vecferry plan`, `vecferry migrate` and `vecferry verify`.
/// Settings come from flags, then from VECFERRY_* variables, then from vecferry.toml, then from the defaults.
#[derive(Debug, Parser)]
#[command(name = "vecferry", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where settings and clusters are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clusters and settings")]
pub(crate) struct Place {
    /// Settings file [default: vecferry.toml here, if there is one]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "VECFERRY_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Cluster the data comes from, postgresql://user@host:port/database [default: `source` of the file]
    ///
    /// `snapshot`, or `snapshot:ID`, is the cluster that `vecferry restore` made for this target.
    /// A password may stand in the URL, or in VECFERRY_SOURCE_PASSWORD, or in PGPASSWORD.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "VECFERRY_SOURCE",
        hide_env_values = true
    )]
    pub(crate) source: Option<String>,
    /// Secret of Secrets Manager with the source's login, ARN or name [default: `source_secret` of the file]
    ///
    /// Gives user and password, and what --source leaves out of host, port and database. It is read again when the
    /// password was rotated.
    #[arg(
        long,
        global = true,
        value_name = "SECRET",
        env = "VECFERRY_SOURCE_SECRET",
        hide_env_values = true
    )]
    pub(crate) source_secret: Option<String>,
    /// Cluster the data goes to [default: `target` of the file]
    ///
    /// A password may stand in the URL, or in VECFERRY_TARGET_PASSWORD, or in PGPASSWORD.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "VECFERRY_TARGET",
        hide_env_values = true
    )]
    pub(crate) target: Option<String>,
    /// Secret of Secrets Manager with the target's login [default: `target_secret` of the file]
    #[arg(
        long,
        global = true,
        value_name = "SECRET",
        env = "VECFERRY_TARGET_SECRET",
        hide_env_values = true
    )]
    pub(crate) target_secret: Option<String>,
    #[command(flatten)]
    pub(crate) aws: Aws,
}

/// What is printed and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Print JSON on stdout instead of text
    #[arg(long, global = true, env = "VECFERRY_JSON", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// Print no progress, only results and errors
    #[arg(short, long, global = true, env = "VECFERRY_QUIET", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) quiet: bool,
    /// Say more: -v every finished part, -vv what the program does, -vvv what it asks the servers
    #[arg(short, long, global = true, env = "VECFERRY_VERBOSE", hide_env_values = true,
          action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented settings file
    Init(Init),
    /// Find everything that would stop or surprise a migration
    Check(Box<Check>),
    /// Show what there is, which methods could move it, and what each takes
    Plan(Box<Plan>),
    /// List bots: documents, rows on source and target, sync status, state in this migration
    Bots(Bots),
    /// Run the migration, or continue it where it stopped
    Migrate(Box<Migrate>),
    /// Show how far the migration on the target is
    Status(Status),
    /// Prove that the target holds what the source holds
    Verify(Verify),
    /// Move the application to the target: refuse writes, drain, verify, switch
    Cutover(Cutover),
    /// Move the application back to the source, with what was written on the target
    Rollback(Rollback),
    /// Remove what a migration left on the clusters
    Cleanup(Cleanup),
    /// Restore a snapshot as a temporary cluster, to migrate from
    Restore(Restore),
    /// Embed one bot (what a task of `migrate --method reembed` runs)
    Worker(Worker),
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Overwrite a settings file that is there already
    #[arg(long, env = "VECFERRY_FORCE", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) force: bool,
    /// CloudFormation stack of a deployed Bedrock Chat to fill the file from [default: none]
    #[arg(long, value_name = "NAME", env = "VECFERRY_STACK", hide_env_values = true)]
    pub(crate) stack: Option<String>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Check what this method needs [default: copy]
    #[arg(long, value_name = "METHOD", env = "VECFERRY_METHOD", hide_env_values = true)]
    pub(crate) method: Option<Method>,
    /// Print the IAM policy with the permissions for this and check nothing [default: none]
    ///
    /// Nothing is asked of AWS: words in capitals stand for what the settings do not name, and stderr lists them.
    #[arg(long, value_name = "FOR", env = "VECFERRY_PRINT_POLICY", hide_env_values = true)]
    pub(crate) print_policy: Option<PolicyFor>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) work: Work,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) reembed: Reembed,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Show the steps of this method alone [default: all methods and the recommended one's steps]
    #[arg(long, value_name = "METHOD", env = "VECFERRY_METHOD", hide_env_values = true)]
    pub(crate) method: Option<Method>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) work: Work,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) embedding: PlanEmbedding,
}

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// How to move the data [default: that of the migration on the target, else copy]
    ///
    /// A delta also needs --source-time, and the bots' registry.
    #[arg(long, value_name = "METHOD", env = "VECFERRY_METHOD", hide_env_values = true)]
    pub(crate) method: Option<Method>,
    /// Return when a follow has caught up; the clusters go on by themselves
    ///
    /// Without it the follow is watched until its cutover. Ctrl-C then ends the watching only.
    #[arg(long, env = "VECFERRY_DETACH", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) detach: bool,
    /// Undo what an interrupted run has done, on both clusters, and begin again
    #[arg(long, env = "VECFERRY_RESTART", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) restart: bool,
    /// Do not run the checks of `vecferry check` before the first rows
    #[arg(long, env = "VECFERRY_NO_CHECK", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) no_check: bool,
    /// Do not measure both clusters for a few seconds before the first rows; the summary then has no estimates
    #[arg(long, env = "VECFERRY_NO_ESTIMATE", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) no_estimate: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) work: Work,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) delta: Delta,
    #[command(flatten)]
    pub(crate) reembed: Reembed,
    #[command(flatten)]
    pub(crate) temporary: TemporaryCluster,
    #[command(flatten)]
    pub(crate) at: TargetAt,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Show it anew every 2 seconds until the migration is done
    #[arg(long, env = "VECFERRY_WATCH", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) store: Store,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Compare with what `migrate` recorded on the target, without contacting the source
    ///
    /// For a source that is gone or has moved on, and for a re-embedding, which needs none. Tells which tables and bots
    /// differ, not which rows; structure and sequences are not compared.
    #[arg(long, env = "VECFERRY_RECORDED", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) recorded: bool,
    /// Compare structure, row counts and vectors only: no digests, no recall
    #[arg(long, env = "VECFERRY_QUICK", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) quick: bool,
    /// Keys to show of the rows that differ, per table [default: 10]
    #[arg(long, value_name = "N", env = "VECFERRY_DIFFERENCES", hide_env_values = true)]
    pub(crate) differences: Option<usize>,
    /// While a source in use is followed: seconds to wait for apply before each reading of what differs [default: 120]
    #[arg(long, value_name = "SECONDS", env = "VECFERRY_APPLY_WAIT", hide_env_values = true)]
    pub(crate) apply_wait: Option<u32>,
    /// Bots to measure recall for, large ones and small ones; 0 for none [default: 20]
    #[arg(long, value_name = "N", env = "VECFERRY_RECALL_BOTS", hide_env_values = true)]
    pub(crate) recall_bots: Option<usize>,
    /// Seconds after which recall is measured for no further bot [default: 30]
    #[arg(long, value_name = "SECONDS", env = "VECFERRY_RECALL_SECONDS", hide_env_values = true)]
    pub(crate) recall_seconds: Option<u32>,
    /// Searches per bot to measure recall with [default: 5]
    #[arg(long, value_name = "N", env = "VECFERRY_RECALL_QUERIES", hide_env_values = true)]
    pub(crate) recall_queries: Option<usize>,
    /// How much lower than the source's the target's recall may be, 0 to 1 [default: 0.05]
    #[arg(long, value_name = "SHARE", env = "VECFERRY_RECALL_TOLERANCE", hide_env_values = true,
          value_parser = parse_share)]
    pub(crate) recall_tolerance: Option<f64>,
    /// Connections that read at the same time, on each side [default: 4]
    #[arg(long, value_name = "N", env = "VECFERRY_JOBS", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) jobs: Option<u32>,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// List what would be removed and change nothing
    #[arg(long, env = "VECFERRY_DRY_RUN", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) dry_run: bool,
    /// Leave the source alone and list what must still be on it
    ///
    /// For a source that is gone or out of reach. A slot that stays on a source keeps its WAL for ever.
    #[arg(long, env = "VECFERRY_WITHOUT_SOURCE", hide_env_values = true,
          value_parser = FalseyValueParser::new(), conflicts_with = "orphans")]
    pub(crate) without_source: bool,
    /// Also remove what migrations left that the target has no record of, such as those of a target that was dropped
    ///
    /// Other migrations of the same source may still need their slots: look at the list first, with --dry-run.
    #[arg(long, env = "VECFERRY_ORPHANS", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) orphans: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) at: TargetAt,
}

/// Consent given in advance.
#[derive(Debug, Args)]
pub(crate) struct Yes {
    /// Destroy without asking for the typed name of the target database
    #[arg(short = 'y', long, env = "VECFERRY_YES", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
}

/// The ways to move data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// Parallel binary COPY, indexes after the rows
    Copy,
    /// Copy, then logical replication until cutover
    Follow,
    /// Embed every document anew, one task per bot
    Reembed,
    /// Copy, then embed anew what changed since
    Delta,
}

impl From<Method> for vecferry_core::plan::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Copy => Self::Copy,
            Method::Follow => Self::Follow,
            Method::Reembed => Self::Reembed,
            Method::Delta => Self::Delta,
        }
    }
}

/// Parses the command line. Help and version go to stdout; usage errors go to stderr without any URL in them.
pub(crate) fn parse() -> Result<Cli, Exit> {
    let parsed = Cli::command()
        .try_get_matches()
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        if !error.use_stderr() {
            // A closed stdout is no reason to fail at showing help.
            let _ = error.print();
            return Exit::Done;
        }
        let words: Vec<String> = std::env::args().skip(1).collect();
        eprint!("{}", without_urls(&error.render().to_string(), &words));
        Exit::Usage
    })
}

/// A URL may hold a password, and clap repeats the words it does not understand.
fn without_urls(text: &str, words: &[String]) -> String {
    let secret = |word: &&str| word.contains("://") || word.contains("password=");
    words
        .iter()
        .flat_map(|word| [Some(word.as_str()), word.split_once('=').map(|(_, value)| value)])
        .flatten()
        .filter(secret)
        .fold(text.to_owned(), |text, word| text.replace(word, "<connection string not shown>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_a_variable_and_every_value_a_stated_default() {
        Cli::command().debug_assert();
        let mut root = Cli::command();
        root.build();
        for command in root.get_subcommands() {
            for flag in command
                .get_arguments()
                .filter(|flag| flag.get_id() != "help" && !flag.is_positional())
            {
                let name = format!("{} --{}", command.get_name(), flag.get_id());
                let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
                assert!(
                    variable.is_some_and(|v| v.starts_with("VECFERRY_")),
                    "{name}: no variable"
                );
                assert!(
                    flag.is_hide_env_values_set(),
                    "{name}: help would show the variable's value"
                );
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                if flag.get_action().takes_values()
                    && !matches!(flag.get_action(), ArgAction::SetTrue)
                {
                    assert!(help.contains("[default: "), "{name}: no default in {help:?}");
                }
            }
        }
    }

    #[test]
    fn a_usage_error_never_repeats_a_url() {
        let words =
            ["--sorce=postgres://u:hunter2@h/d".to_owned(), "postgres://u:hunter3@h".into()];
        let shown =
            without_urls("unexpected 'postgres://u:hunter2@h/d' 'postgres://u:hunter3@h'", &words);
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
