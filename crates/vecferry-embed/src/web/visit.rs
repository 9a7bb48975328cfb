//! One document over HTTP: tried again while that can help, redirects followed by ourselves because every hop must
//! pass the guard, robots.txt and the queue of its origin, the body streamed into a file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION,
    RETRY_AFTER,
};
use reqwest::{Client, Response};
use serde_json::Value;
use url::Url;

use super::WebSettings;
use super::guard::{Forbidden, Guard, Resolver};
use super::places::Places;
use super::reply::{Miss, Verdict, content_type, file_name, judge, retry_after, shown};
use crate::document::{Fetched, Lost, Reason};
use crate::spool::{Spool, too_large};

/// Most redirects of one document.
const REDIRECTS: usize = 10;

/// Decides about each URL before it is asked.
#[async_trait]
pub(crate) trait Gate: Send + Sync {
    /// # Errors
    /// Why it must not be asked.
    async fn admit(&self, url: &Url) -> Result<(), Lost>;
}

/// Lets everything pass.
pub(crate) struct Open;

#[async_trait]
impl Gate for Open {
    async fn admit(&self, _: &Url) -> Result<(), Lost> {
        Ok(())
    }
}

/// What to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) url: Url,
    /// Sent by POST.
    pub(crate) json: Option<Value>,
    /// Headers to send besides our own.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Longest body, in bytes, after decompression.
    pub(crate) limit: u64,
    /// Whether a longer body counts up to the limit instead of being lost.
    pub(crate) cut: bool,
}

impl Want {
    pub(crate) fn page(url: Url, limit: u64) -> Want {
        Want { url, json: None, headers: Vec::new(), limit, cut: false }
    }
}

/// What came, and from where at last.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) document: Fetched,
    pub(crate) url: Url,
}

/// Where one exchange led.
enum Hop {
    Arrived(Box<Arrival>),
    Elsewhere(Url),
}

/// Fetches what is wanted.
#[derive(Debug)]
pub(crate) struct Visitor {
    client: Client,
    guard: Arc<Guard>,
    places: Places,
    tries: u32,
    first_wait: Duration,
    longest_wait: Duration,
    document_time: Duration,
    idle_time: Duration,
}

impl Visitor {
    pub(crate) fn new(settings: &WebSettings) -> Result<Visitor, reqwest::Error> {
        let guard = Arc::new(settings.guard.clone());
        let mut client = Client::builder()
            .user_agent(&settings.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(settings.connect_time)
            .read_timeout(settings.idle_time)
            // Idle connections of many sites are of no use to one another.
            .pool_max_idle_per_host(settings.per_origin);
        if !settings.proxy_from_environment {
            // Behind a proxy it is the proxy that resolves and connects, out of the guard's sight.
            client = client.no_proxy().dns_resolver(Resolver::new(Arc::clone(&guard)));
        }
        Ok(Visitor {
            client: client.build()?,
            guard,
            places: Places::new(settings.per_origin, settings.at_once),
            tries: settings.tries.max(1),
            first_wait: settings.first_wait,
            longest_wait: settings.longest_wait,
            document_time: settings.document_time,
            idle_time: settings.idle_time,
        })
    }

    /// Fetches into a file in `folder`.
    ///
    /// # Errors
    /// [`Lost`] with the last try's reason and how many there were.
    pub(crate) async fn get(
        &self,
        want: &Want,
        folder: &Path,
        gate: &dyn Gate,
    ) -> Result<Arrival, Lost> {
        self.visit(want, folder, gate).await.map_err(|miss| miss.lost)
    }

    /// The same; the miss also says which status there was.
    pub(crate) async fn visit(
        &self,
        want: &Want,
        folder: &Path,
        gate: &dyn Gate,
    ) -> Result<Arrival, Miss> {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(self.first_wait)
            .with_max_delay(self.longest_wait)
            .with_max_times(self.tries as usize - 1)
            .with_jitter()
            .build();
        let mut left = self.document_time;
        let mut tries = 0;
        loop {
            tries += 1;
            let miss = match self.attempt(want, folder, gate, &mut left).await {
                Ok(arrival) => return Ok(arrival),
                Err(miss) => miss,
            };
            // Jitter adds to a delay that is at its longest already.
            let planned = waits.next().map(|wait| wait.min(self.longest_wait));
            match miss.next_try(planned, self.longest_wait) {
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(miss) => return Err(miss.after_tries(tries)),
            }
        }
    }

    /// One try, through all redirects.
    async fn attempt(
        &self,
        want: &Want,
        folder: &Path,
        gate: &dyn Gate,
        left: &mut Duration,
    ) -> Result<Arrival, Miss> {
        let mut url = want.url.clone();
        let mut passed = Vec::new();
        loop {
            self.guard.admit(&url).map_err(forbidden)?;
            gate.admit(&url).await.map_err(Miss::last)?;
            let next = match self.hop(&url, want, folder, left).await? {
                Hop::Arrived(arrival) => return Ok(*arrival),
                Hop::Elsewhere(next) => next,
            };
            passed.push(url);
            if passed.contains(&next) {
                return Err(redirected(format!("redirects lead back to {}", shown(&next))));
            }
            if passed.len() > REDIRECTS {
                return Err(redirected(format!("more than {REDIRECTS} redirects")));
            }
            url = next;
        }
    }

    /// One exchange, within what is left of the document's time. Waiting for a place does not count: that is our
    /// own doing.
    async fn hop(
        &self,
        url: &Url,
        want: &Want,
        folder: &Path,
        left: &mut Duration,
    ) -> Result<Hop, Miss> {
        let _place = self.places.enter(url).await.map_err(Miss::last)?;
        let started = Instant::now();
        let outcome = tokio::time::timeout(*left, self.exchange(url, want, folder)).await;
        *left = left.saturating_sub(started.elapsed());
        outcome.unwrap_or_else(|_| {
            let limit = self.document_time;
            let detail = format!("not done within the {limit:?} that a document may take");
            Err(Miss::last(Lost::new(Reason::TooSlow, detail)))
        })
    }

    async fn exchange(&self, url: &Url, want: &Want, folder: &Path) -> Result<Hop, Miss> {
        let mut request = match &want.json {
            Some(json) => self.client.post(url.clone()).json(json),
            None => self.client.get(url.clone()),
        };
        for (name, value) in &want.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| self.failed(error, None))?;
        let headers = response.headers();
        let after =
            text(headers, RETRY_AFTER).and_then(|value| retry_after(value, jiff::Timestamp::now()));
        match judge(response.status().as_u16(), after) {
            Verdict::Take => {
                let document = self.take(response, url, want, folder).await?;
                Ok(Hop::Arrived(Box::new(Arrival { document, url: url.clone() })))
            }
            Verdict::Elsewhere if want.json.is_some() => {
                Err(redirected(format!("status {} to a POST", response.status().as_u16())))
            }
            Verdict::Elsewhere => {
                let target = text(headers, LOCATION).and_then(|target| url.join(target).ok());
                let status = response.status().as_u16();
                let nowhere = || redirected(format!("status {status} that leads nowhere"));
                target.map(Hop::Elsewhere).ok_or_else(nowhere)
            }
            Verdict::Miss(miss) => Err(miss),
        }
    }

    /// Streams the body of a good reply into a file.
    async fn take(
        &self,
        mut response: Response,
        url: &Url,
        want: &Want,
        folder: &Path,
    ) -> Result<Fetched, Miss> {
        let headers = response.headers();
        // What we asked for has been undone, and its header with it.
        if let Some(encoding) =
            text(headers, CONTENT_ENCODING).filter(|value| !value.eq_ignore_ascii_case("identity"))
        {
            let detail = format!("sent in the encoding {encoding:?}, which was not asked for");
            return Err(Miss::last(Lost::new(Reason::Unsupported, detail)));
        }
        let (media_type, charset) =
            text(headers, CONTENT_TYPE).map(content_type).unwrap_or_default();
        let name = file_name(text(headers, CONTENT_DISPOSITION), url);
        let announced = response.content_length().filter(|bytes| *bytes > want.limit && !want.cut);
        if announced.is_some() {
            return Err(Miss::last(too_large(announced, want.limit)));
        }
        let mut spool = Spool::create(folder, want.limit).map_err(Miss::last)?;
        loop {
            let bytes = spool.bytes();
            let piece = response.chunk().await.map_err(|error| self.failed(error, Some(bytes)))?;
            let Some(piece) = piece else { break };
            if want.cut && piece.len() as u64 >= spool.room() {
                let room = usize::try_from(spool.room()).unwrap_or(usize::MAX);
                spool.write(&piece[..room.min(piece.len())]).await.map_err(Miss::last)?;
                break;
            }
            spool.write(&piece).await.map_err(Miss::last)?;
        }
        let (file, bytes) = spool.finish().await.map_err(Miss::last)?;
        Ok(Fetched { file, bytes, name, media_type, charset })
    }

    /// What a failed exchange means; `received` when it failed within the body.
    fn failed(&self, error: reqwest::Error, received: Option<u64>) -> Miss {
        if let Some(refusal) = cause::<Forbidden>(&error) {
            return forbidden(refusal.clone());
        }
        if error.is_builder() {
            return Miss::last(Lost::new(Reason::Unreachable, root(&error)));
        }
        if error.is_timeout() && error.is_connect() {
            return Miss::passing(Reason::Unreachable, "no connection in time");
        }
        if error.is_timeout() {
            let idle = self.idle_time;
            return Miss::passing(Reason::TooSlow, format!("nothing came for {idle:?}"));
        }
        let said = root(&error);
        Miss::passing(
            Reason::Unreachable,
            match received {
                Some(bytes) => format!("the connection broke after {bytes} bytes: {said}"),
                None if error.is_connect() => format!("no connection: {said}"),
                None => format!("no answer: {said}"),
            },
        )
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn forbidden(refusal: Forbidden) -> Miss {
    Miss::last(Lost::new(Reason::Refused, refusal.to_string()))
}

fn redirected(detail: String) -> Miss {
    Miss::last(Lost::new(Reason::Unreachable, detail))
}

/// The error of this type among the causes.
fn cause<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::successors(first, |error| error.source()).find_map(|error| error.downcast_ref())
}

/// What it came down to. The errors above only say that a request failed, and name the URL with all its secrets.
fn root(error: &reqwest::Error) -> String {
    let first = std::error::Error::source(error);
    let last = std::iter::successors(first, |error| error.source()).last();
    last.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}
