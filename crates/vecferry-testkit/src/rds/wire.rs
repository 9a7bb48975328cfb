//! The wire: the AWS Query protocol, form in and XML out; and AWS JSON for Secrets Manager, which is passed on.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::faults::{Fault, Stall};
use super::form::Form;
use super::operations::{self, After};
use super::state::{Call, Shared};
use super::xml;

/// The namespace of every answer.
const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";

/// An error of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal { status, code: code.to_owned(), message: message.into() }
    }
}

/// What answers calls.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/", post(answer)).with_state(shared)
}

async fn answer(
    Extract(shared): Extract<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    if let Some(target) = target {
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        return secret(&shared, &operation, &headers, body).await;
    }
    let form = Form::parse(&body);
    let operation = form.text("Action").to_owned();
    let call = Call { operation: operation.clone(), parameters: form.0.clone() };
    let (held, fault) = shared.state().note(call);
    if held == Some(Stall::Before) {
        shared.hold().await;
    }
    let outcome = match refused(&fault) {
        Some(refusal) => Err(refusal),
        None => perform(&shared, &operation, &form, &fault).await,
    };
    if held == Some(Stall::After) {
        shared.hold().await;
    }
    let (status, body) = match outcome {
        Ok(content) => (200, result(&operation, &content)),
        Err(refusal) => (refusal.status, error(&refusal)),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "text/xml")], Body::from(body)).into_response()
}

async fn perform(
    shared: &Shared,
    operation: &str,
    form: &Form,
    fault: &Fault,
) -> Result<String, Refusal> {
    let (content, after) = operations::perform(&mut shared.state(), operation, form, fault)?;
    if let Some(After { server, user, password }) = after {
        let set = server.set_password(&user, &password).await;
        set.map_err(|why| Refusal::new(500, "InternalFailure", why.to_string()))?;
    }
    match fault {
        Fault::Unanswered => Err(Refusal::new(500, "InternalFailure", "the answer was lost")),
        _ => Ok(content),
    }
}

/// What is refused before anything is done.
fn refused(fault: &Fault) -> Option<Refusal> {
    match fault {
        Fault::Throttle => Some(Refusal::new(400, "Throttling", "Rate exceeded")),
        Fault::Refuse(code, message) => Some(Refusal::new(400, code, message.as_str())),
        Fault::ServerError => Some(Refusal::new(500, "InternalFailure", "An internal error")),
        Fault::Unanswered | Fault::EndsIn(_) | Fault::Late(_) | Fault::None => None,
    }
}

fn result(operation: &str, content: &str) -> String {
    let result = xml::element(&format!("{operation}Result"), content);
    let request = xml::element("RequestId", "0f1e2d3c");
    let metadata = xml::element("ResponseMetadata", &request);
    format!("<{operation}Response xmlns=\"{NAMESPACE}\">{result}{metadata}</{operation}Response>")
}

fn error(refusal: &Refusal) -> String {
    let parts = [
        xml::text("Type", "Sender"),
        xml::text("Code", &refusal.code),
        xml::text("Message", &refusal.message),
    ];
    let error = xml::element("Error", &parts.concat());
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\">{error}<RequestId>0f1e2d3c</RequestId></ErrorResponse>"
    )
}

/// Passes a call of Secrets Manager on, to be held like any other.
async fn secret(shared: &Shared, operation: &str, headers: &HeaderMap, body: Bytes) -> Response {
    let call = Call { operation: operation.to_owned(), parameters: Default::default() };
    let (held, fault) = shared.state().note(call);
    if held == Some(Stall::Before) {
        shared.hold().await;
    }
    if let Some(Refusal { status, code, message }) = refused(&fault) {
        let body = serde_json::json!({ "__type": code, "message": message }).to_string();
        return json(status, body.into());
    }
    let passed = [header::AUTHORIZATION.as_str(), header::CONTENT_TYPE.as_str(), "x-amz-target"];
    let mut request = shared.http.post(&shared.secrets).body(body);
    for name in passed {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value.as_bytes());
        }
    }
    let answer = match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            answer.bytes().await.map(|bytes| (status, bytes))
        }
        Err(error) => Err(error),
    };
    if held == Some(Stall::After) {
        shared.hold().await;
    }
    match answer {
        Ok((status, bytes)) => json(status, bytes),
        Err(error) => json(502, error.to_string().into()),
    }
}

fn json(status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], Body::from(body))
        .into_response()
}
