//! Going on after what passes: a server that restarts, a network that is gone for a moment.

use std::time::Duration;

use crate::error::{Class, Error, Result};
use crate::report::{Event, Reporter};

/// How often something is tried again: with the pauses below about five minutes, more than a failover takes.
const ATTEMPTS: u32 = 16;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Why a bot is not taken any further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The run is over or interrupted; what there is to say is said elsewhere.
    Over,
    /// Nothing can go on.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

/// Does something again for as long as it fails for a reason that passes.
///
/// # Errors
/// The last failure.
pub(super) async fn patiently<T, F>(
    reporter: &dyn Reporter,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut number = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        number += 1;
        if error.class() != Class::Transient || number > ATTEMPTS {
            return Err(error);
        }
        let text = crate::error::on_one_line(&error);
        reporter.event(&Event::Retrying { error: text, attempt: number, attempts: ATTEMPTS });
        tokio::time::sleep(Duration::from_millis(250 << number.min(7)).min(LONGEST)).await;
    }
}
