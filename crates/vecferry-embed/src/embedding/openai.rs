//! Any server that speaks OpenAI's embeddings: OpenAI itself, vLLM, text-embeddings-inference, Ollama, LiteLLM.
//! Source of the wire: <https://platform.openai.com/docs/api-reference/embeddings/create>; of the errors:
//! <https://platform.openai.com/docs/guides/error-codes>.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use vecferry_core::Error;
use vecferry_core::error::on_one_line;

use super::said::without_texts;
use crate::embedder::{Embedder, Embeddings, Failure, Model};

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest time for a call, its answer included: a server on a CPU is slow, not dead.
const CALL: Duration = Duration::from_secs(120);

/// Texts of a call unless set: OpenAI takes 2048, most servers of one's own 32 to 256.
const TEXTS_PER_CALL: usize = 64;

/// Tokens of a text unless set: `text-embedding-3-*` take 8192.
const TOKENS_PER_TEXT: usize = 8192;

/// Where a model is served.
#[derive(Clone)]
pub struct Endpoint {
    /// Everything before `/embeddings`: `https://api.openai.com/v1`.
    pub base: Url,
    /// The model's name there.
    pub model: String,
    /// Bearer token, where one is needed.
    pub key: Option<String>,
    /// Length of the vectors that the model makes.
    pub dimensions: usize,
    /// Whether to send `dimensions`: for models that make several lengths; others refuse the parameter.
    pub send_dimensions: bool,
    /// Most texts in a call; 64 unless given.
    pub texts_per_call: Option<usize>,
    /// Longest text in tokens; 8192 unless given.
    pub tokens_per_text: Option<usize>,
}

impl fmt::Debug for Endpoint {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("base", &self.base.as_str())
            .field("model", &self.model)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

/// A model behind an OpenAI-compatible endpoint.
#[derive(Debug, Clone)]
pub struct OpenAi {
    model: Model,
    endpoint: Endpoint,
    address: Url,
    client: Client,
}

impl OpenAi {
    /// A client; nothing is called yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the base is no address to call, or TLS cannot be set up.
    pub fn new(endpoint: Endpoint) -> Result<OpenAi, Error> {
        let wrong = |what: String| Error::Configuration { what, hint: None };
        if !matches!(endpoint.base.scheme(), "http" | "https") {
            let scheme = endpoint.base.scheme();
            return Err(wrong(format!("an embedding endpoint is http or https, not {scheme}")));
        }
        let mut address = endpoint.base.clone();
        if let Ok(mut path) = address.path_segments_mut() {
            path.pop_if_empty().push("embeddings");
        }
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(CALL)
            // A redirect would carry the texts to a place that nobody named.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| wrong(format!("cannot set up HTTPS: {error}")))?;
        let model = Model {
            id: endpoint.model.clone(),
            dimensions: endpoint.dimensions,
            texts_per_call: endpoint.texts_per_call.unwrap_or(TEXTS_PER_CALL),
            chars_per_text: None,
            tokens_per_text: endpoint.tokens_per_text.unwrap_or(TOKENS_PER_TEXT),
        };
        Ok(OpenAi { model, endpoint, address, client })
    }
}

#[async_trait]
impl Embedder for OpenAi {
    fn model(&self) -> &Model {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Embeddings, Failure> {
        let mut call = self.client.post(self.address.clone()).json(&body(&self.endpoint, texts));
        if let Some(key) = &self.endpoint.key {
            call = call.bearer_auth(key);
        }
        // The error's own address may hold credentials of a proxy.
        let lost = |error: reqwest::Error| Failure::Transient(on_one_line(&error.without_url()));
        let answer = call.send().await.map_err(lost)?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let answer = answer.bytes().await.map_err(lost)?;
        if status.is_success() {
            return read(&answer, texts.len()).map_err(Failure::Permanent);
        }
        // Some servers quote the key that they refuse.
        let withheld: Vec<String> =
            texts.iter().cloned().chain(self.endpoint.key.clone()).collect();
        Err(failure(status, retry_after, &answer, &withheld))
    }
}

/// The request's body.
fn body(endpoint: &Endpoint, texts: &[String]) -> Value {
    let mut body = json!({ "model": endpoint.model, "input": texts, "encoding_format": "float" });
    if endpoint.send_dimensions {
        body["dimensions"] = json!(endpoint.dimensions);
    }
    body
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Used {
    prompt_tokens: Option<u64>,
}

/// Vectors in the order of the texts, whatever the order of the answer.
fn read(answer: &[u8], texts: usize) -> Result<Embeddings, String> {
    // The error would quote numbers, never a text: the answer holds none.
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| format!("the answer is not a list of embeddings: {error}"))?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts];
    let count = answer.data.len();
    for item in answer.data {
        match vectors.get_mut(item.index) {
            Some(place @ None) => *place = Some(item.embedding),
            _ => return Err(format!("embedding {} came twice or was not asked for", item.index)),
        }
    }
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    let vectors = vectors.ok_or_else(|| format!("{count} embeddings came for {texts} texts"))?;
    Ok(Embeddings { vectors, tokens: answer.usage.and_then(|used| used.prompt_tokens) })
}

/// What a status other than success means. `texts` are what its message must not show.
fn failure(
    status: StatusCode,
    retry_after: Option<Duration>,
    answer: &[u8],
    texts: &[String],
) -> Failure {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let error = &answer["error"];
    // OpenAI nests, vLLM and others put the message (or the error itself) on top.
    let message =
        [&error["message"], &answer["message"], error].into_iter().find_map(Value::as_str);
    let said = match message {
        Some(message) => format!("status {}: {}", status.as_u16(), without_texts(message, texts)),
        None => format!("status {}", status.as_u16()),
    };
    match status.as_u16() {
        // Paid credit is used up: waiting does not help, although the status is that of a throttle.
        429 if error["code"] == "insufficient_quota" => Failure::Permanent(said),
        429 => Failure::Throttled { retry_after },
        // A server at its limit that says when to come back.
        503 if retry_after.is_some() => Failure::Throttled { retry_after },
        408 | 409 | 425 | 500.. => Failure::Transient(said),
        400 | 413 | 422 => Failure::Texts(said),
        _ => Failure::Permanent(said),
    }
}

/// `Retry-After` in seconds; dates are not used by these servers. Bounded: a wrong header must not stop us for a day.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    let longest = Duration::from_secs(300);
    Some(Duration::try_from_secs_f64(seconds).ok()?.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            base: Url::parse("http://localhost:8080/v1/").unwrap(),
            model: "some-model".to_owned(),
            key: Some("secret".to_owned()),
            dimensions: 2,
            send_dimensions: false,
            texts_per_call: None,
            tokens_per_text: None,
        }
    }

    #[test]
    fn the_address_is_below_the_base_and_the_key_is_not_shown() {
        let model = OpenAi::new(endpoint()).unwrap();
        assert_eq!(model.address.as_str(), "http://localhost:8080/v1/embeddings");
        assert!(!format!("{model:?}").contains("secret"));
        let file = Endpoint { base: Url::parse("file:///v1").unwrap(), ..endpoint() };
        assert!(OpenAi::new(file).unwrap_err().to_string().contains("not file"));
    }

    #[test]
    fn dimensions_are_sent_only_where_they_are_wanted() {
        let texts = ["a".to_owned()];
        let plain = json!({ "model": "some-model", "input": ["a"], "encoding_format": "float" });
        assert_eq!(body(&endpoint(), &texts), plain);
        let wanting = Endpoint { send_dimensions: true, ..endpoint() };
        assert_eq!(body(&wanting, &texts)["dimensions"], 2);
    }

    #[test]
    fn vectors_stand_where_their_index_says() {
        let answer = r#"{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":7}}"#;
        let read_back = read(answer.as_bytes(), 2).unwrap();
        assert_eq!(read_back.vectors, [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(read_back.tokens, Some(7));
        assert!(read(answer.as_bytes(), 3).unwrap_err().contains("2 embeddings came for 3"));
        assert!(read(answer.as_bytes(), 1).unwrap_err().contains("embedding 1 came twice or"));
        assert!(read(b"<html>", 1).is_err());
        let twice = r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#;
        assert!(read(twice.as_bytes(), 2).unwrap_err().contains("embedding 0 came twice"));
    }

    #[test]
    fn a_status_says_what_repeating_can_achieve() {
        let said = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            failure(status, None, body.as_bytes(), &["a text of somebody".to_owned()])
        };
        let nested = r#"{"error":{"message":"too long","code":null}}"#;
        assert_eq!(said(400, nested), Failure::Texts("status 400: too long".to_owned()));
        let top = r#"{"object":"error","message":"not for: a text of somebody"}"#;
        let Failure::Texts(reason) = said(422, top) else { panic!("not about the texts") };
        assert!(reason.ends_with("is withheld"), "{reason}");
        assert_eq!(said(429, nested), Failure::Throttled { retry_after: None });
        let spent = r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#;
        assert_eq!(said(429, spent), Failure::Permanent("status 429: pay".to_owned()));
        assert_eq!(said(502, "bad gateway"), Failure::Transient("status 502".to_owned()));
        for status in [301, 401, 403, 404] {
            assert!(matches!(said(status, ""), Failure::Permanent(_)), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_bounded() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("2"), Some(Duration::from_secs(2)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("86400"), Some(Duration::from_secs(300)));
        assert_eq!(read("-1"), None);
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }
}
