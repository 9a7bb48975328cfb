//! Reads both clusters into [`Facts`]. Looks only: nothing here writes, locks or judges. Every statement whose
//! duration depends on the data has a timeout, so that a check takes seconds whatever the size.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::facts::{Extra, Facts, Known, SideFacts, Unreadable, VectorSample};
use super::versions::OLDEST;
use super::{NotRun, SHOWN, replication};
use crate::error::{Error, Result, Side};
use crate::inspect::inspect;
use crate::inventory::{Column, Inventory, Table};
use crate::pg::programs::Programs;
use crate::pg::{Dsn, QualifiedName, Session, quote_ident};
use crate::policy::{Clusters, Method, Policy};

/// Bytes of one table whose vectors are looked into: about 13 000 chunks of 1024 dimensions, a fraction of a second.
const SAMPLE_BYTES: u64 = 64 << 20;
/// No look at data may take longer on the server, and no lock may be waited for longer.
const LIMITS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '2s'";
/// All looks into vectors together; what is left then is named in the report.
const SAMPLING: Duration = Duration::from_secs(10);

/// Reads whatever can be read.
///
/// # Errors
/// [`Error::Interrupted`] when cancelled.
pub(super) async fn gather(
    clusters: &Clusters,
    policy: &Policy,
    cancel: &CancellationToken,
) -> Result<Facts> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        facts = read_all(clusters, policy) => Ok(facts),
    }
}

async fn read_all(clusters: &Clusters, policy: &Policy) -> Facts {
    let (source, target, programs) = tokio::join!(
        read_side(&clusters.source, Side::Source, policy),
        read_side(&clusters.target, Side::Target, policy),
        Programs::find(policy.pg_bin_dir.as_deref()),
    );
    let (source_session, source) = split(source);
    let (target_session, target) = split(target);
    let mut facts = Facts {
        policy: policy.clone(),
        source: SideFacts::new(Side::Source, &clusters.source, source),
        target: SideFacts::new(Side::Target, &clusters.target, target),
        programs: programs.map_err(|error| unreadable(&error)),
        vectors: vec![],
        filled: vec![],
        source_from_target: None,
        target_from_source: None,
        left_out: vec![],
    };
    let (vectors, filled, ways) = tokio::join!(
        look_into_vectors(source_session.as_ref(), &facts),
        look_for_rows(target_session.as_ref(), &facts),
        replication::gather::ways(clusters, &facts),
    );
    (facts.vectors, facts.filled) = (vectors.0, filled.0);
    (facts.source_from_target, facts.target_from_source) = (ways.forward, ways.back);
    facts.left_out.extend(vectors.1.into_iter().chain(filled.1).chain(ways.left_out));
    facts
}

/// The session to go on with, apart from the facts.
fn split(read: Result<(Session, Known)>) -> (Option<Session>, Result<Known, Unreadable>) {
    match read {
        Ok((session, known)) => (Some(session), Ok(known)),
        Err(error) => (None, Err(unreadable(&error))),
    }
}

pub(super) fn unreadable(error: &Error) -> Unreadable {
    let what = match error {
        Error::Postgres { doing, failure, .. } => format!("cannot {doing}: {failure}"),
        other => other.to_string(),
    };
    let remedy = error.hint().unwrap_or_else(|| "see the server's log for the cause".into());
    Unreadable { what, remedy }
}

async fn read_side(dsn: &Dsn, side: Side, policy: &Policy) -> Result<(Session, Known)> {
    let session = Session::open(dsn, side, "check").await?;
    session.batch("limit the check's own statements", LIMITS).await?;
    refuse_ancient(&session, side).await?;
    let inventory = inspect(&session).await?;
    let extra = read_extra(&session).await?;
    // Made while the first is open: behind a load balancer it ends elsewhere, behind a pooler that hands out
    // transactions it may end in the same process.
    let second = match Session::open(dsn, side, "check").await {
        Ok(second) => Some(read_extra(&second).await?.identity),
        // A lack of connections is found by the numbers.
        Err(_) => None,
    };
    let replication = match policy.method {
        Some(Method::Follow) => Some(replication::gather::read(&session).await?),
        _ => None,
    };
    Ok((session, Known { inventory, extra, second, replication }))
}

/// Older servers lack what the inventory asks for; a clear word is better than its failure.
async fn refuse_ancient(session: &Session, side: Side) -> Result<()> {
    let sql =
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int";
    let row = session.query_one("read the server's version", sql, &[]).await?;
    let major = u32::try_from(row.get::<_, i32>(1)).unwrap_or(0) / 10_000;
    if major >= OLDEST {
        return Ok(());
    }
    let version: String = row.get(0);
    Err(Error::Refused {
        side,
        what: format!("the {side} is PostgreSQL {version}"),
        hint: Some(format!("{OLDEST} is the oldest version that works; upgrade the {side} first")),
    })
}

async fn read_extra(session: &Session) -> Result<Extra> {
    let doing = "read rights and limits";
    let text: String = session.query_one(doing, include_str!("extra.sql"), &[]).await?.get(0);
    serde_json::from_str(&text).map_err(|error| Error::Bug {
        what: format!("{doing}: the answer has another shape: {error}"),
    })
}

type Looked<T> = (Vec<T>, Vec<NotRun>);

/// Counts vectors that are missing, zero or not finite, the largest tables first.
async fn look_into_vectors(session: Option<&Session>, facts: &Facts) -> Looked<VectorSample> {
    let (Some(session), Some(known)) = (session, facts.source.known()) else {
        return Default::default();
    };
    let started = Instant::now();
    let mut columns: Vec<(&Table, &Column)> = facts
        .selected()
        .into_iter()
        .filter(|table| table.holds_rows())
        .flat_map(|table| table.columns.iter().map(move |column| (table, column)))
        .filter(|(_, column)| column.is_vector())
        .collect();
    columns.sort_by_key(|(table, _)| std::cmp::Reverse(table.table_bytes));
    let (mut samples, mut left_out) = (vec![], vec![]);
    for (table, column) in columns {
        if started.elapsed() > SAMPLING {
            left_out.push((table, column, format!("{} s are over", SAMPLING.as_secs())));
            continue;
        }
        match sample(session, &known.inventory, table, column).await {
            Ok(sample) => samples.push(sample),
            Err(error) => left_out.push((table, column, unreadable(&error).what)),
        }
    }
    let more = left_out.len().saturating_sub(SHOWN);
    let mut left_out: Vec<NotRun> = left_out
        .into_iter()
        .take(SHOWN)
        .map(|(table, column, why)| NotRun {
            check: format!("vectors of {}.{}", table.name.plain(), column.name),
            why,
        })
        .collect();
    if more > 0 {
        left_out.push(NotRun {
            check: format!("vectors of {more} more columns"),
            why: "likewise".into(),
        });
    }
    (samples, left_out)
}

async fn sample(
    session: &Session,
    inventory: &Inventory,
    table: &Table,
    column: &Column,
) -> Result<VectorSample> {
    let share = sampled_share(table.table_bytes);
    let schema = inventory.extension("vector").map_or("public", |vector| vector.schema.as_str());
    let sql = sample_sql(table, column, schema, share);
    let doing = format!("look into {}", table.name.plain());
    let row = session.query_one(&doing, &sql, &[]).await?;
    let count = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
    Ok(VectorSample {
        table: table.name.clone(),
        column: column.name.clone(),
        share,
        rows: count(0),
        nulls: count(1),
        zeros: count(2),
        not_finite: count(3),
    })
}

#[allow(clippy::cast_precision_loss, reason = "a share needs no more than a few digits")]
fn sampled_share(bytes: u64) -> f64 {
    (SAMPLE_BYTES as f64 / bytes.max(1) as f64).min(1.0)
}

fn sample_sql(table: &Table, column: &Column, schema: &str, share: f64) -> String {
    // `vector_norm` is there in every version; the younger types came with `l2_norm`.
    let norm = if column.base_type == "vector" { "vector_norm" } else { "l2_norm" };
    let name = quote_ident(&column.name);
    let part = if share < 1.0 {
        format!(" TABLESAMPLE SYSTEM ({:.6}) REPEATABLE (1)", share * 100.0)
    } else {
        String::new()
    };
    format!(
        "SELECT count(*), count(*) FILTER (WHERE v IS NULL), count(*) FILTER (WHERE n = 0), \
         count(*) FILTER (WHERE n IN ('NaN', 'Infinity')) \
         FROM (SELECT v, {}.{norm}(v) AS n FROM (SELECT {name} AS v FROM ONLY {}{part}) r) s",
        quote_ident(schema),
        table.name,
    )
}

/// Which of the tables to be moved hold rows on the target.
async fn look_for_rows(session: Option<&Session>, facts: &Facts) -> Looked<QualifiedName> {
    let (Some(session), Some(known)) = (session, facts.target.known()) else {
        return Default::default();
    };
    let (mut filled, mut left_out) = (vec![], vec![]);
    for table in facts.selected() {
        let Some(there) = known.inventory.table(&table.name).filter(|there| there.holds_rows())
        else {
            continue;
        };
        // A table of no pages holds nothing, and many targets are made of those.
        if there.heap_bytes == 0 {
            continue;
        }
        let sql = format!("SELECT EXISTS (SELECT FROM ONLY {})", there.name);
        match session.query_one("look for rows", &sql, &[]).await {
            Ok(row) if row.get::<_, bool>(0) => filled.push(there.name.clone()),
            Ok(_) => {}
            Err(error) => left_out.push(NotRun {
                check: format!("rows on the target in {}", there.name.plain()),
                why: unreadable(&error).what,
            }),
        }
    }
    (filled, left_out)
}
