//! How much is written to the source, by looking at its write-ahead log twice. Changes nothing.

use std::time::{Duration, Instant};

use crate::error::{Result, Side};
use crate::pg::{Dsn, Session};
use crate::plan::Wal;

/// Shorter looks tell nothing: a server that rests writes every few seconds, a busy one every millisecond.
const LEAST: Duration = Duration::from_secs(1);

const LOOK: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, \
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint, \
    (SELECT NULLIF(setting::bigint, -1) * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
    (SELECT CASE WHEN now() - stats_reset > interval '1 day' \
       THEN (wal_bytes / extract(epoch FROM now() - stats_reset))::float8 END FROM pg_stat_wal)";

/// A first look, to be followed by a second one.
pub(crate) struct Meter {
    session: Session,
    started: Instant,
    first: Look,
}

struct Look {
    position: i64,
    next_transaction: i64,
    kept: Option<i64>,
    average: Option<f64>,
}

impl Meter {
    /// Takes the first look.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`]; a standby writes no log.
    pub(crate) async fn start(source: &Dsn) -> Result<Meter> {
        let session = Session::open(source, Side::Source, "plan").await?;
        let first = look(&session).await?;
        Ok(Meter { session, started: Instant::now(), first })
    }

    /// Takes the second look, not earlier than [`LEAST`] after the first.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`].
    pub(crate) async fn stop(self) -> Result<Wal> {
        tokio::time::sleep(LEAST.saturating_sub(self.started.elapsed())).await;
        let second = look(&self.session).await?;
        let seconds = self.started.elapsed().as_secs_f64();
        let more = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        Ok(Wal {
            bytes: more(self.first.position, second.position),
            transactions: more(self.first.next_transaction, second.next_transaction),
            seconds,
            average_bytes_per_second: second.average,
            kept_bytes: second.kept.and_then(|kept| u64::try_from(kept).ok()),
        })
    }
}

async fn look(session: &Session) -> Result<Look> {
    let row = session.query_one("see how much is written", LOOK, &[]).await?;
    Ok(Look {
        position: row.get(0),
        next_transaction: row.get(1),
        kept: row.get(2),
        average: row.get(3),
    })
}
