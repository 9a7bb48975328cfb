//! Embedding models on the loopback address: Bedrock's `InvokeModel` for the text models that vecferry knows, and the
//! `/v1/embeddings` of every OpenAI-compatible server. Vectors come from hashed words, so that texts with words in
//! common lie near one another and the same text always has the same vector; everything that costs money or patience
//! in the real service (limits, throttling, failures, latency) is set in [`Behaviour`] and seeded.
//!
//! An AWS client reaches it by `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` or an endpoint in its configuration; it checks no
//! signature. It runs on a thread of its own and ends when it is dropped.

mod admission;
mod models;
mod openai;
mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::error::Error;
use crate::loopback::Loopback;

use admission::{Door, Verdict};
pub use words::{text_hash, tokens, vector};

/// How the service behaves. The default answers at once, always, without limits.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Time that every call takes.
    pub latency: Duration,
    /// What the shares below are drawn from.
    pub seed: u64,
    /// Share of calls answered with a throttle, 0 to 1.
    pub throttles: f64,
    /// Share of calls answered with status 500 or 503, 0 to 1.
    pub failures: f64,
    /// Calls accepted in any stretch of [`Behaviour::window`].
    pub requests: Option<u64>,
    /// Tokens accepted in any stretch of [`Behaviour::window`].
    pub tokens: Option<u64>,
    /// Stretch that the two limits are of; a minute, as the real quotas.
    pub window: Duration,
    /// What throttles say in `Retry-After`, in whole seconds.
    pub retry_after: Option<u64>,
    /// Models that the account has not enabled.
    pub disabled: Vec<String>,
    /// Texts that hold this are refused, whatever the model.
    pub refused: Option<String>,
    /// Bearer token that the OpenAI-compatible route asks for.
    pub key: Option<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            latency: Duration::ZERO,
            seed: 0,
            throttles: 0.0,
            failures: 0.0,
            requests: None,
            tokens: None,
            window: Duration::from_secs(60),
            retry_after: None,
            disabled: Vec::new(),
            refused: None,
            key: None,
        }
    }
}

/// What the service has seen since it started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Calls, whatever their answer.
    pub calls: u64,
    /// Calls answered with vectors.
    pub answered: u64,
    /// Calls throttled by [`Behaviour::throttles`].
    pub throttled: u64,
    /// Calls throttled because a limit was exceeded.
    pub over_limit: u64,
    /// Calls failed by [`Behaviour::failures`].
    pub failed: u64,
    /// Calls refused for what they asked: validation, access, the key.
    pub refused: u64,
    /// Texts in answered calls.
    pub texts: u64,
    /// Tokens in answered calls.
    pub tokens: u64,
    /// Most texts in one answered call.
    pub largest_batch: usize,
    /// Most calls at work at the same time.
    pub most_at_once: usize,
    /// Answered calls by their `input_type`.
    pub input_types: BTreeMap<String, u64>,
    /// How often each text was answered, by its [`text_hash`].
    pub hashes: BTreeMap<u64, u64>,
}

/// A running service.
#[derive(Debug)]
pub struct StandIn {
    service: Arc<Service>,
    served: Loopback,
}

/// What the handlers share.
#[derive(Debug)]
struct Service {
    door: Mutex<Door>,
    called: Condvar,
}

/// A call that the model understood.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    texts: Vec<String>,
    tokens: u64,
    input_type: Option<String>,
    /// What the answer says, without the vectors' own numbers being of interest.
    answer: Value,
}

/// A call that it refused.
#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Refusal {
        Refusal { status: 400, code: "ValidationException", message: message.into() }
    }
}

impl StandIn {
    /// Starts the service on a free port.
    pub fn start(behaviour: Behaviour) -> Result<StandIn, Error> {
        let service =
            Arc::new(Service { door: Mutex::new(Door::new(behaviour)), called: Condvar::new() });
        let served = Loopback::serve(router(Arc::clone(&service)))?;
        Ok(StandIn { service, served })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.served.address()
    }

    /// Endpoint for an AWS client: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Base URL for an OpenAI-compatible client: `http://127.0.0.1:PORT/v1`.
    pub fn openai_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// Behaves differently from the next call on; what was seen stays, limits count anew.
    pub fn behave(&self, behaviour: Behaviour) {
        self.service.lock().behave(behaviour);
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.service.lock().seen().clone()
    }

    /// Waits until so many calls have come; false when that took longer than `within`.
    pub fn wait_for_calls(&self, calls: u64, within: Duration) -> bool {
        let door = self.service.lock();
        let few = |door: &mut Door| door.seen().calls < calls;
        match self.service.called.wait_timeout_while(door, within, few) {
            Ok((_, outcome)) => !outcome.timed_out(),
            Err(_) => false,
        }
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call in or not, takes its time, and counts it.
    async fn serve(&self, asked: Result<Asked, Refusal>) -> Result<Asked, Verdict> {
        let (verdict, latency) = {
            let mut door = self.lock();
            let verdict = door.admit(&asked, Instant::now());
            self.called.notify_all();
            (verdict, door.behaviour().latency)
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.lock().leave();
        match (verdict, asked) {
            (Verdict::Answer, Ok(asked)) => Ok(asked),
            (Verdict::Answer, Err(refusal)) => Err(Verdict::Refuse(refusal)),
            (verdict, _) => Err(verdict),
        }
    }
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/model/{id}/invoke", post(invoke))
        .route("/v1/embeddings", post(openai::embeddings))
        .with_state(service)
}

/// `InvokeModel` (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>).
async fn invoke(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let asked = {
        let door = service.lock();
        models::ask(&id, &body, door.behaviour())
    };
    match service.serve(asked).await {
        Ok(asked) => {
            let headers = [
                ("content-type", "application/json".to_owned()),
                ("x-amzn-bedrock-input-token-count", asked.tokens.to_string()),
            ];
            (headers, asked.answer.to_string()).into_response()
        }
        Err(verdict) => {
            let (refusal, retry_after) = verdict.refusal();
            let mut headers = HeaderMap::new();
            headers.insert("x-amzn-errortype", axum::http::HeaderValue::from_static(refusal.code));
            if let Some(seconds) = retry_after {
                headers.insert("retry-after", seconds.into());
            }
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, headers, axum::Json(json!({ "message": refusal.message }))).into_response()
        }
    }
}
