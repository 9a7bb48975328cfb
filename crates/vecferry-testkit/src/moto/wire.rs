//! Calls to moto, or to a double of ours, by hand: AWS's JSON protocols and S3's REST are a header and a body. So the kit needs no SDK, and
//! what it puts is not put by the code under test.

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::cluster::percent;
use crate::error::{Error, Result};
use crate::moto::{MOTO_REGION, Moto};

/// A service that speaks AWS's JSON protocol.
struct Service {
    /// Its name in a signature.
    name: &'static str,
    /// What comes before an operation's name.
    target: &'static str,
    /// The protocol's version.
    version: &'static str,
}

const DYNAMODB: Service = Service { name: "dynamodb", target: "DynamoDB_20120810", version: "1.0" };

const SECRETS_MANAGER: Service =
    Service { name: "secretsmanager", target: "secretsmanager", version: "1.1" };

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    endpoint: String,
    http: Client,
}

impl Wire {
    pub(crate) fn to(moto: &Moto) -> Wire {
        Wire::at(moto.endpoint())
    }

    pub(crate) fn at(endpoint: &str) -> Wire {
        Wire { endpoint: endpoint.to_owned(), http: Client::new() }
    }

    /// One operation of DynamoDB.
    pub(crate) async fn dynamo(&self, operation: &str, body: &Value) -> Result<Value> {
        self.json(&DYNAMODB, operation, body).await
    }

    /// One operation of Secrets Manager.
    pub(crate) async fn secrets(&self, operation: &str, body: &Value) -> Result<Value> {
        self.json(&SECRETS_MANAGER, operation, body).await
    }

    /// One operation of CloudFormation, which speaks forms and XML; the answer is dropped.
    pub(crate) async fn cloudformation(
        &self,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<()> {
        let all = [("Action", operation), ("Version", "2010-05-15")];
        let pairs: Vec<String> = all
            .iter()
            .chain(parameters)
            .map(|(name, value)| format!("{name}={}", percent(value)))
            .collect();
        let request = self
            .signed(Method::POST, "/", "cloudformation")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(pairs.join("&"));
        answer(operation, request).await.map(drop)
    }

    async fn json(&self, service: &Service, operation: &str, body: &Value) -> Result<Value> {
        let request = self
            .signed(Method::POST, "/", service.name)
            .header("X-Amz-Target", format!("{}.{operation}", service.target))
            .header("Content-Type", format!("application/x-amz-json-{}", service.version))
            .body(body.to_string());
        let text = answer(operation, request).await?.text().await;
        let text = text.map_err(|source| Error::Http { action: operation.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|_| Error::Answer {
            action: operation.to_owned(),
            status: StatusCode::OK.as_u16(),
            body: text,
        })
    }

    /// A request to S3 for a bucket, or an object in it.
    pub(crate) async fn s3(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response> {
        let action = format!("{method} {path}");
        let segments: Vec<String> = path.split('/').map(percent).collect();
        let path = format!("/{}", segments.join("/"));
        answer(&action, self.signed(method, &path, "s3").body(body)).await
    }

    /// moto reads the service and the region from the signature, and does not check it.
    fn signed(&self, method: Method, path: &str, service: &str) -> RequestBuilder {
        let scope = format!("testing/20260101/{MOTO_REGION}/{service}/aws4_request");
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let url = format!("{}{path}", self.endpoint);
        self.http.request(method, url).header("Authorization", signature)
    }
}

async fn answer(action: &str, request: RequestBuilder) -> Result<Response> {
    let failed = |source| Error::Http { action: action.to_owned(), source };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.map_err(failed)?;
    Err(Error::Answer { action: action.to_owned(), status: status.as_u16(), body })
}
