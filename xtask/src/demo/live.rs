//! The second act: an application writes all the time while its database moves, is switched, and moves back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vecferry_testkit::{Pair, Session, Writer, WriterOptions};

use super::Demo;

/// The application's database on both clusters.
const DATABASE: &str = "live";

/// Writes per second.
const RATE: f64 = 200.0;

/// How long the application may take for what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows, cuts over and rolls back under writes. Gives what the application did and what it misses.
pub(super) async fn follow(pair: &Pair, demo: &Demo) -> Result<()> {
    for cluster in [&pair.source, &pair.target] {
        let session = Session::open(&cluster.url("postgres")).await?;
        session.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    }
    let (source, target) = (pair.source.url(DATABASE), pair.target.url(DATABASE));
    let address = demo.folder.join("where-the-application-writes");
    let options = WriterOptions {
        rate: Some(RATE),
        url_file: Some(address.clone()),
        ..WriterOptions::new(&source)
    };
    let session = Session::open(&source).await?;
    session.batch_execute(&format!("CREATE EXTENSION vector; {}", options.tables())).await?;
    let writer = Writer::start(options)?;
    ensure!(writer.wait_for_acknowledged(500, PATIENCE), "the application does not get to write");

    let demo = Demo { source: source.clone(), target, ..demo.clone() };
    demo.vecferry(&["check", "--method", "follow"])?;
    demo.vecferry(&["migrate", "--method", "follow", "--detach", "--no-estimate"])?;
    demo.vecferry(&["status"])?;
    demo.vecferry(&["verify", "--recall-bots", "0"])?;
    let switch = format!("printf %s \"$VECFERRY_SWITCH_URL\" > {}", shell_word(&address)?);
    for (number, command) in ["cutover", "rollback"].into_iter().enumerate() {
        demo.vecferry(&[command, "--yes", "--switch", &switch])?;
        let moved = writer.wait_for_redirect(number + 1, PATIENCE);
        ensure!(moved, "the application was not switched: {:?}", writer.progress());
        ensure!(writer.wait_for_acknowledged(200, PATIENCE), "nothing is written after {command}");
    }
    demo.vecferry(&["cleanup", "--yes"])?;

    let ledger = writer.stop();
    let violations = ledger.check(&source).await?;
    println!(
        "\n{} writes acknowledged on both clusters, {} refused in between; {} missing or wrong in the end",
        ledger.acknowledged(),
        ledger.refused(),
        violations.len()
    );
    ensure!(violations.is_empty(), "{violations:#?}");
    Ok(())
}

/// A path as one word of the shell.
fn shell_word(path: &Path) -> Result<String> {
    let text = path.to_str().context("the clusters' folder has a name that is not text")?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}
