//! Who stands in the way when a lock is not to be had in time.

use super::{Dsn, Session};
use crate::error::{Error, Result};

/// As many as an operator can look into.
const SHOWN: usize = 3;

/// Says in the hint of a lock timeout which sessions hold locks on tables there. The wait is over when this looks, so
/// it cannot tell which of them it was; the strongest locks come first. Any other error passes as it is.
pub(crate) async fn with_holders(dsn: &Dsn, error: Error) -> Error {
    let (Some("55P03"), Some(side)) = (error.sqlstate(), error.side()) else { return error };
    let found = async {
        let session = Session::open(dsn, side, "locks").await?;
        holders(&session).await
    };
    match found.await {
        Ok(held) if !held.is_empty() => {
            let shown = held[..held.len().min(SHOWN)].join(", ");
            error.with_hint(format!(
                "{shown}; end it with pg_terminate_backend on the {side}, or raise --lock-timeout, and run again"
            ))
        }
        // Gone in the meantime, or not ours to see: the general hint stands.
        _ => error,
    }
}

/// Sessions that hold locks on tables of the database, in words, the strongest locks first.
///
/// # Errors
/// [`Error::Postgres`] when the catalog cannot be read.
pub(crate) async fn holders(session: &Session) -> Result<Vec<String>> {
    let sql = include_str!("holders.sql");
    let rows = session.query("look for who holds locks", sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
