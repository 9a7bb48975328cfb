//! A website on the loopback address that answers as it is told: well, wrongly, slowly, never, or until the
//! connection breaks. What it was asked is kept for the test to read.
//!
//! Runs on a thread of its own, so that a test may block its runtime, and stops when dropped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, Stream, StreamExt};

use crate::error::Result;
use crate::loopback::Loopback;

/// Longest body of a request that is kept.
const ASKED_BYTES: usize = 1 << 20;

/// Pause between the bytes of a drip.
const DRIP: Duration = Duration::from_millis(5);

/// A running site.
#[derive(Debug)]
pub struct Site {
    desk: Arc<Mutex<Desk>>,
    served: Loopback,
}

/// What is answered, and what was asked.
#[derive(Debug, Default)]
struct Desk {
    /// Answers by path and query; the last one stays.
    answers: HashMap<String, Vec<Page>>,
    asked: Vec<Asked>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, with names in lower case.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Asked {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Flow,
}

/// How a body flows.
#[derive(Debug, Clone)]
enum Flow {
    Whole(Bytes),
    /// These bytes, though more were announced; then the connection breaks.
    Cut(Bytes),
    /// This byte again and again, slowly, for ever.
    Drip(u8),
    /// These bytes again and again, fast, for ever.
    Endless(Bytes),
    /// Not even a status.
    Silent,
}

impl Page {
    /// A body of a media type (with its parameters).
    pub fn of(content_type: &str, body: impl Into<Bytes>) -> Page {
        Page::bare(200, body).header("content-type", content_type)
    }

    /// HTML in UTF-8.
    pub fn html(body: impl Into<Bytes>) -> Page {
        Page::of("text/html; charset=utf-8", body)
    }

    /// A status, and little else.
    pub fn status(status: u16) -> Page {
        Page::bare(status, format!("status {status}"))
    }

    /// A redirect.
    pub fn redirect(status: u16, to: &str) -> Page {
        Page::bare(status, "").header("location", to)
    }

    /// A part of a body, as a request with a `Range` has it.
    pub fn partial(body: impl Into<Bytes>, range: &str) -> Page {
        Page::bare(206, body).header("content-range", range)
    }

    /// The beginning of a body that was announced as longer; the connection breaks after it.
    pub fn cut(body: impl Into<Bytes>) -> Page {
        Page { body: Flow::Cut(body.into()), ..Page::bare(200, "") }
    }

    /// A body that comes byte by byte and never ends.
    pub fn drip() -> Page {
        Page { body: Flow::Drip(b'.'), ..Page::bare(200, "") }
    }

    /// A body that comes as fast as it is taken and never ends.
    pub fn endless() -> Page {
        Page { body: Flow::Endless(vec![b'x'; 64 * 1024].into()), ..Page::bare(200, "") }
    }

    /// The connection stays open, and nothing ever comes.
    pub fn silent() -> Page {
        Page { body: Flow::Silent, ..Page::bare(200, "") }
    }

    /// `bytes` zeros, a thousandth of that on the wire.
    pub fn bomb(bytes: usize) -> Page {
        Page::html(vec![0; bytes]).gzip()
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Page {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another status.
    pub fn with_status(mut self, status: u16) -> Page {
        self.status = status;
        self
    }

    /// The same body, compressed as HTTP does it.
    pub fn gzip(mut self) -> Page {
        if let Flow::Whole(body) = &self.body {
            self.body = Flow::Whole(gzip(body).into());
        }
        self.header("content-encoding", "gzip")
    }

    fn bare(status: u16, body: impl Into<Bytes>) -> Page {
        Page { status, headers: Vec::new(), body: Flow::Whole(body.into()) }
    }

    async fn answer(self) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let body = match self.body {
            Flow::Whole(bytes) => Body::from(bytes),
            Flow::Cut(bytes) => {
                response = response.header("content-length", bytes.len() + 1000);
                let broken = stream::once(async {
                    // What came before is sent out when nothing more is at hand.
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("cut here"))
                });
                Body::from_stream(stream::once(std::future::ready(Ok(bytes))).chain(broken))
            }
            Flow::Drip(byte) => Body::from_stream(drip(byte)),
            Flow::Endless(bytes) => {
                Body::from_stream(stream::repeat(bytes).map(Ok::<_, Infallible>))
            }
            Flow::Silent => std::future::pending().await,
        };
        response.body(body).unwrap_or_else(|error| {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// Bytes as a `.gz` file has them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // A vector takes everything.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

impl Site {
    /// Starts a site that knows no page yet.
    pub fn start() -> Result<Site> {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&desk));
        let served = Loopback::serve(router)?;
        Ok(Site { desk, served })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// From now on, this path (with its query, if it has one) is answered so.
    pub fn put(&self, path: &str, page: Page) {
        self.script(path, vec![page]);
    }

    /// From now on, this path is answered so, one after the other; the last answer stays.
    pub fn script(&self, path: &str, mut pages: Vec<Page>) {
        pages.reverse();
        lock(&self.desk).answers.insert(path.to_owned(), pages);
    }

    /// Everything asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.desk).asked.clone()
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        lock(&self.desk).asked.iter().filter(|asked| asked.path == path).count()
    }

    /// A video with captions: its page, the player's answer and, for each language, a transcript in the form that
    /// YouTube sends (`<transcript><text>…`). Languages in `generated` are machine-made.
    pub fn video(&self, id: &str, manual: &[(&str, &str)], generated: &[(&str, &str)]) {
        let track = |kind: Option<&str>, language: &str, text: &str| {
            let path = format!("/api/timedtext?v={id}&lang={language}&kind={}", kind.unwrap_or(""));
            let xml = format!("<transcript><text start=\"0\" dur=\"1\">{text}</text></transcript>");
            self.put(&path, Page::of("text/xml; charset=UTF-8", xml));
            let url = self.url(&path);
            serde_json::json!({ "baseUrl": url, "languageCode": language, "kind": kind })
        };
        let manual = manual.iter().map(|(language, text)| track(None, language, text));
        let generated = generated.iter().map(|(language, text)| track(Some("asr"), language, text));
        let tracks: Vec<_> = manual.chain(generated).collect();
        let player = serde_json::json!({
            "playabilityStatus": { "status": "OK" },
            "captions": { "playerCaptionsTracklistRenderer": { "captionTracks": tracks } },
        });
        self.put("/youtubei/v1/player?key=K-1", Page::of("application/json", player.to_string()));
        let watch = "<html><script>ytcfg.set({\"INNERTUBE_API_KEY\":\"K-1\"});</script></html>";
        self.put(&format!("/watch?v={id}"), Page::html(watch));
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(desk): State<Arc<Mutex<Desk>>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = to_bytes(body, ASKED_BYTES).await.unwrap_or_default();
    let page = {
        let mut desk = lock(&desk);
        let page = match desk.answers.get_mut(&path) {
            Some(pages) if pages.len() > 1 => pages.pop(),
            Some(pages) => pages.last().cloned(),
            None => None,
        };
        let (method, headers) = (head.method.to_string(), head.headers);
        desk.asked.push(Asked { method, path, headers, body });
        page
    };
    page.unwrap_or_else(|| Page::status(404)).answer().await
}

fn drip(byte: u8) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
    stream::repeat(byte).then(|byte| async move {
        tokio::time::sleep(DRIP).await;
        Ok(Bytes::from(vec![byte]))
    })
}
