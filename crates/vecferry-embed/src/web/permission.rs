//! The robots.txt of each origin: fetched once, kept while it is worth anything, asked before every request.
//!
//! RFC 9309, 2.3: a file that is not there (4xx) forbids nothing, one that cannot be had (5xx, no connection) forbids
//! everything, for nobody knows what it says. 429 says "later", not "not there", and counts among the latter.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use url::Url;

use super::robots::{READ_BYTES, Rules};
use super::visit::{Gate, Open, Visitor, Want};
use crate::document::{Lost, Reason};
use crate::spool::unstored;

/// How long rules count without being asked for again (RFC 9309, 2.4).
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a robots.txt that could not be had is not asked for again.
const PAUSE: Duration = Duration::from_secs(60);

/// Origins remembered; beyond them everything is forgotten and asked for again.
const ORIGINS: usize = 1024;

type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

/// The rules of all origins met.
#[derive(Debug)]
pub(crate) struct Permission {
    visitor: Arc<Visitor>,
    agent: String,
    folder: PathBuf,
    origins: Mutex<HashMap<String, Slot>>,
}

/// What is known of an origin, and since when.
#[derive(Debug, Clone)]
struct Known {
    since: Instant,
    rules: Result<Arc<Rules>, Lost>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < if self.rules.is_ok() { KEPT } else { PAUSE }
    }
}

impl Permission {
    /// Rules for an agent's product token; files pass through `folder`.
    pub(crate) fn new(visitor: Arc<Visitor>, agent: &str, folder: PathBuf) -> Permission {
        Permission { visitor, agent: agent.to_owned(), folder, origins: Mutex::default() }
    }

    /// The rules of a URL's origin. One request at a time asks for them, the others wait for its answer.
    async fn rules(&self, url: &Url) -> Result<Arc<Rules>, Lost> {
        let slot = self.slot(&url.origin().ascii_serialization());
        let mut known = slot.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.is_fresh()) {
            return known.rules.clone();
        }
        let rules = self.ask(url).await;
        *known = Some(Known { since: Instant::now(), rules: rules.clone() });
        rules
    }

    fn slot(&self, origin: &str) -> Slot {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.len() >= ORIGINS {
            origins.clear();
        }
        Arc::clone(origins.entry(origin.to_owned()).or_default())
    }

    async fn ask(&self, url: &Url) -> Result<Arc<Rules>, Lost> {
        let mut robots = url.clone();
        robots.set_path("/robots.txt");
        robots.set_query(None);
        robots.set_fragment(None);
        let want = Want { cut: true, ..Want::page(robots, READ_BYTES as u64) };
        let miss = match self.visitor.visit(&want, &self.folder, &Open).await {
            Ok(arrival) => {
                let bytes = tokio::fs::read(arrival.document.file.path()).await;
                let bytes = bytes.map_err(|error| unstored(&error))?;
                let text = String::from_utf8_lossy(&bytes);
                return Ok(Arc::new(Rules::read(&text, &self.agent)));
            }
            Err(miss) => miss,
        };
        if miss.status.is_some_and(is_absent) {
            return Ok(Arc::default());
        }
        let detail = format!("its robots.txt cannot be read: {}", miss.lost.detail);
        Err(Lost::new(miss.lost.reason, detail))
    }
}

/// Whether a status says that there is no robots.txt: an empty answer, or any error of ours but being too early.
fn is_absent(status: u16) -> bool {
    matches!(status, 204 | 205 | 400..=428 | 430..=499)
}

#[async_trait]
impl Gate for Permission {
    async fn admit(&self, url: &Url) -> Result<(), Lost> {
        let rules = self.rules(url).await?;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        if rules.allow(&path) {
            return Ok(());
        }
        let agent = &self.agent;
        Err(Lost::new(Reason::Refused, format!("the site's robots.txt forbids it to {agent}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robots_txt_is_absent_by_every_4xx_but_429() {
        assert!([400, 401, 403, 404, 408, 410, 451, 499, 204].into_iter().all(is_absent));
        assert!(![429, 500, 503, 301, 206].into_iter().any(is_absent));
    }
}
