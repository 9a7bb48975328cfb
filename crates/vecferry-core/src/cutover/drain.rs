//! Waits until the receiver has applied everything that was written before the fence.
//!
//! A slot's `confirmed_flush_lsn` moves when the receiver answers with what its disk has. Left alone that takes a
//! while: apply commits without waiting for its disk and looks at it every `wal_writer_delay`, and on an idle sender
//! nothing comes that would be answered. So before every look a record that no subscription gets is committed on the
//! receiver, which flushes what apply has committed, and then on the sender, whose walsender passes it, says so, and is
//! answered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::decide::{Reason, unhealthy};
use crate::error::{Error, Result};
use crate::follow::health::{Health, LinkState};
use crate::follow::link::Link;
use crate::follow::state::{nudge, read_link};
use crate::pg::{Lsn, Session};

/// The first pause between two looks.
const SHORTEST: Duration = Duration::from_millis(10);

/// The longest.
const LONGEST: Duration = Duration::from_millis(100);

/// Waits until every link has passed `lsn`. `Some` says why it will not, or did not in time.
///
/// # Errors
/// [`Error::Postgres`] when either side cannot be read, [`Error::Interrupted`] when cancelled.
pub(crate) async fn drain(
    (sender, receiver): (&Session, &Session),
    links: &[Link],
    lsn: Lsn,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Option<Reason>> {
    let begun = Instant::now();
    let (mut pause, mut errors) = (SHORTEST, HashMap::new());
    loop {
        nudge(receiver).await?;
        nudge(sender).await?;
        let mut behind = Vec::new();
        for link in links {
            let state = read_link(sender, receiver, link).await?;
            if state.has_passed(lsn) {
                continue;
            }
            if let Some(reason) = unhealthy(&state).filter(|_| is_final(&state)) {
                return Ok(Some(reason));
            }
            let failed = state.subscription.as_ref().and_then(|one| one.apply_errors).unwrap_or(0);
            if failed > *errors.entry(link.name.clone()).or_insert(failed) {
                return Ok(Some(cannot_apply(&link.name)));
            }
            behind.push(state);
        }
        if behind.is_empty() {
            return Ok(None);
        }
        if begun.elapsed() >= timeout {
            return Ok(Some(too_slow(&behind, lsn, timeout)));
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(Error::Interrupted),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST);
    }
}

/// A connection that broke is made again by the servers; nothing else mends itself.
fn is_final(state: &LinkState) -> bool {
    state.health() != Health::Disconnected
}

/// The server tries again in some seconds, and most likely in vain; the application does not wait for that.
fn cannot_apply(name: &str) -> Reason {
    Reason::no(
        format!("a change of {name} could not be applied"),
        "`vecferry status` and `vecferry migrate` say which; mend it and run again",
    )
}

fn too_slow(behind: &[LinkState], lsn: Lsn, timeout: Duration) -> Reason {
    let link = |state: &LinkState| match &state.slot {
        Some(slot) => format!("{} confirmed {}", state.name, slot.confirmed_lsn),
        None => format!("{} has no slot", state.name),
    };
    let links: Vec<String> = behind.iter().map(link).collect();
    Reason::no(
        format!(
            "the receiver did not reach {lsn} within {} s: {}",
            timeout.as_secs(),
            links.join(", ")
        ),
        "look at `vecferry status`; run again when the lag is small, or raise --drain-timeout",
    )
}
