//! One cutover under writes: migrate, cut over with a hook that moves the writer, prove by its
//! ledger that the target has every acknowledged write, perhaps the same back, clean up.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use vecferry_testkit::{Database, Ledger, Writer};

use super::ground::{Course, Ground, PATIENCE};
use super::program::{Switched, Vecferry};

/// What only a migration puts into a database, and cleanup takes away; its record may stay.
const LEFTOVERS: &str = "
SELECT 'replication slot ' || slot_name FROM pg_replication_slots
 WHERE database = current_database()
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'subscription ' || subname FROM pg_subscription s
 JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()
UNION ALL SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger
 WHERE NOT tgisinternal
ORDER BY 1";

/// How a switch went.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) said: Switched,
    /// Seconds without an acknowledged write, as the writer saw it.
    pub(super) seen: f64,
}

/// One cutover.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) migrate: f64,
    pub(super) cutover: Switch,
    pub(super) rollback: Option<Switch>,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    /// All that must not be.
    pub(super) violations: Vec<String>,
}

/// Runs one.
pub(super) fn round(ground: &Ground, number: u32) -> Result<Round> {
    let course = ground.fresh()?;
    let vecferry = ground.vecferry(&course).context("a cutover needs vecferry")?;
    let file = ground.folder.join(format!("url-{number}"));
    let writer = ground.writer(&course, u64::from(number), Some(&file))?;
    let migrate = vecferry.migrate()?;
    ground.a_second_of(&writer, "while following")?;
    let mut violations = Vec::new();

    let said = vecferry.cutover(&file)?;
    let ledger = settled(ground, &writer, 1)?;
    violations.extend(check(ground, &ledger, &course.target, "the target after the cutover")?);
    let cutover = Switch { said, seen: seen(&ledger, 0)? };

    let mut rollback = None;
    if ground.arguments.rollback {
        writer.resume();
        let (switch, found) = back(ground, &course, &vecferry, (&writer, &file))?;
        rollback = Some(switch);
        violations.extend(found);
    }
    let ledger = writer.stop();
    vecferry.cleanup()?;
    for (side, database) in [("source", &course.source), ("target", &course.target)] {
        let left = ground.runtime.block_on(leftovers(database))?;
        violations.extend(left.into_iter().map(|what| format!("left on the {side}: {what}")));
    }
    let (acknowledged, refused, unknown) =
        (ledger.acknowledged(), ledger.refused(), ledger.unknown());
    Ok(Round { migrate, cutover, rollback, acknowledged, refused, unknown, violations })
}

fn back(
    ground: &Ground,
    course: &Course,
    vecferry: &Vecferry<'_>,
    writer: (&Writer, &Path),
) -> Result<(Switch, Vec<String>)> {
    let (writer, file) = writer;
    ground.a_second_of(writer, "on the target")?;
    let said = vecferry.rollback(file)?;
    let ledger = settled(ground, writer, 2)?;
    let violations = check(ground, &ledger, &course.source, "the source after the rollback")?;
    Ok((Switch { said, seen: seen(&ledger, 1)? }, violations))
}

/// Lets the writer write at the place it was sent to, then rest.
fn settled(ground: &Ground, writer: &Writer, redirects: usize) -> Result<Ledger> {
    let went = writer.wait_for_redirect(redirects, PATIENCE);
    let progress = writer.progress();
    ensure!(went, "no write was acknowledged after the switch: {progress:?}");
    ground.a_second_of(writer, "after the switch")?;
    Ok(writer.pause()?)
}

fn seen(ledger: &Ledger, switch: usize) -> Result<f64> {
    let downtimes = ledger.downtimes();
    let downtime = downtimes.get(switch).context("the writer saw no switch")?;
    Ok(downtime.as_secs_f64())
}

pub(super) fn check(
    ground: &Ground,
    ledger: &Ledger,
    database: &Database,
    place: &str,
) -> Result<Vec<String>> {
    let violations = ground.runtime.block_on(ledger.check(database.url()))?;
    Ok(violations.into_iter().map(|violation| format!("{place}: {violation}")).collect())
}

async fn leftovers(database: &Database) -> Result<Vec<String>> {
    let session = database.connect().await?;
    let rows = session.query(LEFTOVERS, &[]).await.context("look for leftovers")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
