//! `POST /v1/embeddings` as OpenAI documents it (<https://platform.openai.com/docs/api-reference/embeddings/create>):
//! any model name, vectors in reverse order, since only `index` says which is whose.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::words::{tokens, vector};
use super::{Asked, Behaviour, Refusal, Service};

/// Vectors of a call that names no `dimensions`.
const DIMENSIONS: u64 = 1536;

/// Most texts in a call, and most tokens in a text, as documented.
const LIMITS: (usize, u64) = (2048, 8192);

pub(super) async fn embeddings(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = {
        let door = service.lock();
        admitted(&headers, door.behaviour()).and_then(|()| ask(&body, door.behaviour()))
    };
    match service.serve(asked).await {
        Ok(asked) => Json(asked.answer).into_response(),
        Err(verdict) => {
            let (refusal, retry_after) = verdict.refusal();
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                headers.insert("retry-after", HeaderValue::from(seconds));
            }
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            let error =
                json!({ "message": refusal.message, "type": "error", "code": refusal.code });
            (status, headers, Json(json!({ "error": error }))).into_response()
        }
    }
}

fn admitted(headers: &HeaderMap, behaviour: &Behaviour) -> Result<(), Refusal> {
    let Some(key) = &behaviour.key else { return Ok(()) };
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if given == Some(&format!("Bearer {key}")) {
        return Ok(());
    }
    let message = "Incorrect API key provided.".to_owned();
    Err(Refusal { status: 401, code: "invalid_api_key", message })
}

fn ask(body: &[u8], behaviour: &Behaviour) -> Result<Asked, Refusal> {
    let refuse = |message: String| Refusal { status: 400, code: "invalid_request", message };
    let body: Value =
        serde_json::from_slice(body).map_err(|_| refuse("the body is not JSON".to_owned()))?;
    let Some(model) = body["model"].as_str() else {
        return Err(refuse("you must provide a model parameter".to_owned()));
    };
    if behaviour.disabled.iter().any(|disabled| disabled == model) {
        let message =
            format!("The model `{model}` does not exist or you do not have access to it.");
        return Err(Refusal { status: 404, code: "model_not_found", message });
    }
    if !matches!(body["encoding_format"].as_str(), None | Some("float")) {
        return Err(refuse("only the encoding_format float is known here".to_owned()));
    }
    let texts: Option<Vec<String>> = match &body["input"] {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(texts) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let texts = texts.ok_or_else(|| refuse("'$.input' is invalid".to_owned()))?;
    let planted = |text: &str| behaviour.refused.as_ref().is_some_and(|it| text.contains(it));
    let wrong = |text: &String| text.is_empty() || tokens(text) > LIMITS.1 || planted(text);
    if texts.is_empty() || texts.len() > LIMITS.0 || texts.iter().any(wrong) {
        return Err(refuse("'$.input' is invalid".to_owned()));
    }
    let dimensions = body["dimensions"].as_u64().unwrap_or(DIMENSIONS).max(1) as usize;
    let item = |(index, text): (usize, &String)| {
        let vector = vector(model, text, dimensions);
        json!({ "object": "embedding", "index": index, "embedding": vector })
    };
    let data: Vec<Value> = texts.iter().enumerate().rev().map(item).collect();
    let tokens: u64 = texts.iter().map(|text| tokens(text)).sum();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let answer = json!({ "object": "list", "data": data, "model": model, "usage": usage });
    Ok(Asked { texts, tokens, input_type: None, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_out_of_order_and_as_long_as_asked_for() {
        let body = json!({ "model": "m", "input": ["one", "two"], "dimensions": 8 }).to_string();
        let answer = ask(body.as_bytes(), &Behaviour::default()).unwrap().answer;
        assert_eq!(answer["data"][0]["index"], 1);
        assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 8);
        assert_eq!(answer["usage"]["prompt_tokens"], 2);
    }

    #[test]
    fn an_empty_text_is_refused_as_the_real_service_refuses_it() {
        let body = json!({ "model": "m", "input": ["one", ""] }).to_string();
        let refusal = ask(body.as_bytes(), &Behaviour::default()).unwrap_err();
        assert_eq!((refusal.status, refusal.message.as_str()), (400, "'$.input' is invalid"));
    }

    #[test]
    fn a_key_is_asked_for_where_there_is_one() {
        let behaviour = Behaviour { key: Some("k".to_owned()), ..Behaviour::default() };
        let mut headers = HeaderMap::new();
        assert_eq!(admitted(&headers, &behaviour).unwrap_err().status, 401);
        headers.insert("authorization", HeaderValue::from_static("Bearer k"));
        assert_eq!(admitted(&headers, &behaviour), Ok(()));
    }
}
