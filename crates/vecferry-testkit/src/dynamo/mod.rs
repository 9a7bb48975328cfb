//! Amazon DynamoDB, as far as vecferry uses it, on a loopback port and in memory: the wire (AWS JSON 1.0), so that the
//! real SDK is what is tested, with tables and local indexes that stay as fast with ten thousand items as with ten.
//!
//! It serves what `vecferry-aws` and [`crate::chat::ChatTable`] send. What it does not know (an operation, a member of a
//! request, a word of an expression) it refuses with a `ValidationException`, and never guesses. Where both can serve
//! a test, moto has the wider view of the service; a test of `vecferry-aws` reads the same items from both.

mod expression;
mod operation;
mod refusal;
mod request;
mod table;
mod value;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;

use crate::error::Result;
use crate::loopback::Loopback;
use crate::moto::MOTO_REGION;
use refusal::Refusal;
use table::Table;

/// What an operation's name begins with in `X-Amz-Target`.
const SERVICE: &str = "DynamoDB_20120810";

/// A running double; dropping it ends it.
#[derive(Debug)]
pub struct Dynamo {
    desk: Arc<Desk>,
    served: Loopback,
}

/// What the handlers share; the lock is never held across an await.
#[derive(Debug, Default)]
struct Desk(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    tables: BTreeMap<String, Table>,
    calls: BTreeMap<String, usize>,
}

impl Desk {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dynamo {
    /// Starts it without tables.
    ///
    /// # Errors
    /// No port, or no runtime.
    pub fn start() -> Result<Dynamo> {
        let desk = Arc::new(Desk::default());
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&desk));
        Ok(Dynamo { desk, served: Loopback::serve(router)? })
    }

    /// Its address, `http://127.0.0.1:5000`: what `AWS_ENDPOINT_URL_DYNAMODB` should say.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.served.address())
    }

    /// What sends any AWS SDK, or a program of ours, to this double: endpoint, region, and credentials, which it does
    /// not look at.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", self.endpoint()),
            ("AWS_REGION", MOTO_REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
        ]
    }

    /// How often each operation was asked for, refused or not.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.desk.books().calls.clone()
    }
}

async fn answer(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let (service, operation) = target.and_then(|name| name.split_once('.')).unwrap_or_default();
    let outcome = match serde_json::from_slice::<Value>(&body) {
        Ok(body) if service == SERVICE => {
            let mut books = desk.books();
            *books.calls.entry(operation.to_owned()).or_default() += 1;
            operation::perform(&mut books.tables, operation, &body)
        }
        Ok(_) => Err(Refusal::unknown_operation(operation)),
        Err(error) => Err(Refusal::serialization(&error)),
    };
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (StatusCode::BAD_REQUEST, refusal.into_body()),
    };
    let kind = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];
    (status, kind, Body::from(body.to_string())).into_response()
}
