//! The record of a cutover and of a rollback: how far each is, so that the next process goes on from there.

use tokio_postgres::types::Json;

use crate::cutover::step::{Direction, Stage, Step};
use crate::error::{Error, Result};
use crate::pg::{Lsn, Session};

/// A crossing as recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CrossingRecord {
    /// How far it is.
    pub step: Step,
    /// Whether it has, or is to have, a way back.
    pub way_back: bool,
    /// Where the sender's WAL was when its fence was up.
    pub fence_lsn: Option<Lsn>,
    /// Seconds of each stage, in order, over all runs.
    pub stages: Vec<(String, f64)>,
    /// Seconds from the fence to the switch.
    pub downtime_seconds: Option<f64>,
    /// When the application was switched, RFC 3339.
    pub switched_at: Option<String>,
    /// Why it was undone, or what stopped it.
    pub last_error: Option<String>,
}

impl CrossingRecord {
    /// The record of this direction, if there is one.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(crate) async fn read(
        session: &Session,
        id: &str,
        direction: Direction,
    ) -> Result<Option<CrossingRecord>> {
        let sql = r#"SELECT step, way_back, fence_lsn, stages, last_error,
            extract(epoch FROM switched_at - fenced_at)::float8, to_char(switched_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            FROM vecferry.crossing WHERE migration = $1 AND direction = $2"#;
        let Some(row) =
            session.query_opt("read the crossing", sql, &[&id, &direction.as_str()]).await?
        else {
            return Ok(None);
        };
        let step: &str = row.get(0);
        let Json(stages) = row.get(3);
        Ok(Some(CrossingRecord {
            step: Step::parse(step).ok_or_else(|| Error::Bug {
                what: format!("the record names a step {step:?} that is unknown"),
            })?,
            way_back: row.get(1),
            fence_lsn: row.get::<_, Option<&str>>(2).and_then(|lsn| lsn.parse().ok()),
            stages,
            last_error: row.get(4),
            downtime_seconds: row.get(5),
            switched_at: row.get(6),
        }))
    }
}

/// Records that a crossing begins, or begins again. One whose fence may be up keeps the time since when.
///
/// # Errors
/// [`Error::Postgres`] when the target fails.
pub(crate) async fn begin_crossing(
    session: &Session,
    id: &str,
    direction: Direction,
    way_back: bool,
) -> Result<()> {
    let sql = "INSERT INTO vecferry.crossing AS c (migration, direction, step, way_back) VALUES ($1, $2, 'preparing', $3) \
               ON CONFLICT (migration, direction) DO UPDATE SET step = 'preparing', way_back = $3, last_error = NULL, \
               fence_lsn = NULL, switched_at = NULL, finished_at = NULL, \
               stages = CASE WHEN c.step = 'undone' THEN '[]' ELSE c.stages END, \
               begun_at = CASE WHEN c.step = 'undone' THEN clock_timestamp() ELSE c.begun_at END, \
               fenced_at = CASE WHEN c.step <> 'undone' THEN c.fenced_at END, updated_at = clock_timestamp()";
    session.execute("record the crossing", sql, &[&id, &direction.as_str(), &way_back]).await?;
    Ok(())
}

/// What is recorded with a step besides it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry<'a> {
    /// Where the sender's WAL was when its fence was up.
    pub fence_lsn: Option<Lsn>,
    /// Seconds since the fence went up, when this run raised it.
    pub fenced_ago: Option<f64>,
    /// Stages done since the last step.
    pub stages: &'a [(Stage, f64)],
    /// What stopped it.
    pub why: Option<&'a str>,
}

/// Records a step.
///
/// # Errors
/// [`Error::Postgres`] when the target fails.
pub(crate) async fn enter_crossing(
    session: &Session,
    id: &str,
    (direction, step): (Direction, Step),
    entry: Entry<'_>,
) -> Result<()> {
    let stages: Vec<(&str, f64)> =
        entry.stages.iter().map(|(stage, seconds)| (stage.as_str(), *seconds)).collect();
    let lsn = entry.fence_lsn.map(|lsn| lsn.to_string());
    let sql = "UPDATE vecferry.crossing SET step = $3, updated_at = clock_timestamp(), last_error = $7, \
               fence_lsn = COALESCE($4, fence_lsn), stages = stages || $6::jsonb, \
               fenced_at = CASE WHEN $5::float8 IS NOT NULL THEN clock_timestamp() - $5::float8 * interval '1 s' \
                 WHEN $3 = 'undone' THEN NULL WHEN $3 = 'fencing' THEN COALESCE(fenced_at, clock_timestamp()) \
                 ELSE fenced_at END, \
               switched_at = CASE WHEN $3 = 'switched' THEN COALESCE(switched_at, clock_timestamp()) ELSE switched_at END, \
               finished_at = CASE WHEN $3 = 'finished' THEN clock_timestamp() END \
               WHERE migration = $1 AND direction = $2";
    session
        .execute(
            "record the crossing's step",
            sql,
            &[
                &id,
                &direction.as_str(),
                &step.as_str(),
                &lsn,
                &entry.fenced_ago,
                &Json(stages),
                &entry.why,
            ],
        )
        .await?;
    Ok(())
}
