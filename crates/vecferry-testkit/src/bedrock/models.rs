//! What Bedrock's text embedding models take, refuse and answer. Sources: the user guide's pages
//! `model-parameters-embed-v3`, `model-parameters-embed-v4`, `model-parameters-titan-embed-text` and
//! `titan-embedding-models`; the wording of refusals as users report it (`Malformed input request: #/texts/0: expected
//! maxLength: 2048, actual: …`).

use serde_json::{Value, json};

use super::words::{tokens, vector};
use super::{Asked, Behaviour, Refusal};

const INPUT_TYPES: [&str; 4] = ["search_document", "search_query", "classification", "clustering"];

/// Texts in one call of a Cohere model.
const TEXTS: usize = 96;

/// Characters of one text, Cohere Embed v3.
const V3_CHARACTERS: usize = 2048;

/// Tokens of one call, Cohere Embed v4.
const V4_TOKENS: u64 = 128_000;

/// Characters and tokens of Titan's one text.
const TITAN_LIMITS: (usize, u64) = (50_000, 8192);

/// Reads a call as the model of this id would.
pub(super) fn ask(id: &str, body: &[u8], behaviour: &Behaviour) -> Result<Asked, Refusal> {
    // An inference profile is the model behind a place's prefix: `us.cohere.embed-v4:0`.
    let is = |model: &str| {
        id.strip_suffix(model).is_some_and(|place| place.is_empty() || place.ends_with(['.', '/']))
    };
    if behaviour.disabled.iter().any(|model| is(model)) {
        let message = "You don't have access to the model with the specified model ID.".to_owned();
        return Err(Refusal { status: 403, code: "AccessDeniedException", message });
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|_| malformed("#: the body is not JSON"))?;
    let asked = if is("cohere.embed-multilingual-v3") || is("cohere.embed-english-v3") {
        cohere_v3(id, &body)?
    } else if is("cohere.embed-v4:0") {
        cohere_v4(&body)?
    } else if is("amazon.titan-embed-text-v2:0") {
        titan(&body)?
    } else {
        return Err(Refusal::invalid("The provided model identifier is invalid."));
    };
    let planted = |text: &String| behaviour.refused.as_ref().is_some_and(|it| text.contains(it));
    match asked.texts.iter().position(planted) {
        Some(at) => Err(malformed(&format!("#/texts/{at}: the text is not permitted"))),
        None => Ok(asked),
    }
}

fn malformed(what: &str) -> Refusal {
    let text =
        format!("Malformed input request: {what}, please reformat your input and try again.");
    Refusal::invalid(text)
}

fn cohere_v3(id: &str, body: &Value) -> Result<Asked, Refusal> {
    only_keys(body, &["input_type", "texts", "truncate", "embedding_types"])?;
    let (texts, kind) = (texts(body)?, input_type(body)?);
    let truncate = one_of(body, "truncate", &["NONE", "START", "END"])?;
    if truncate == "NONE" {
        for (at, text) in texts.iter().enumerate() {
            let actual = text.chars().count();
            if actual > V3_CHARACTERS {
                let what =
                    format!("#/texts/{at}: expected maxLength: {V3_CHARACTERS}, actual: {actual}");
                return Err(malformed(&what));
            }
        }
    }
    Ok(cohere(id.rsplit(['.', '/']).next().unwrap_or(id), body, (texts, kind), 1024))
}

fn cohere_v4(body: &Value) -> Result<Asked, Refusal> {
    let keys =
        ["input_type", "texts", "truncate", "embedding_types", "output_dimension", "max_tokens"];
    only_keys(body, &keys)?;
    let (texts, kind) = (texts(body)?, input_type(body)?);
    let truncate = one_of(body, "truncate", &["NONE", "LEFT", "RIGHT"])?;
    let total: u64 = texts.iter().map(|text| tokens(text)).sum();
    if truncate == "NONE" && total > V4_TOKENS {
        return Err(malformed(&format!("#: too many tokens: {total}, the most is {V4_TOKENS}")));
    }
    let dimensions = size(body, "output_dimension", &[1536, 1024, 512, 256])?;
    Ok(cohere("embed-v4", body, (texts, kind), dimensions))
}

/// The answer of both: plain, or by type when the call named types.
fn cohere(model: &str, body: &Value, asked: (Vec<String>, String), dimensions: usize) -> Asked {
    let (texts, kind) = asked;
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vector(model, text, dimensions)).collect();
    let typed = body.get("embedding_types").is_some();
    let answer = json!({
        "id": "7d4c9ad2-5b0f-4b3a-9f0f-1c8a4d1e2b11",
        "response_type": if typed { "embeddings_by_type" } else { "embeddings_floats" },
        "embeddings": if typed { json!({ "float": vectors }) } else { json!(vectors) },
        "texts": texts,
    });
    let tokens = texts.iter().map(|text| tokens(text)).sum();
    Asked { texts, tokens, input_type: Some(kind), answer }
}

fn titan(body: &Value) -> Result<Asked, Refusal> {
    only_keys(body, &["inputText", "dimensions", "normalize", "embeddingTypes"])?;
    let Some(text) = body.get("inputText").and_then(Value::as_str) else {
        return Err(malformed("#: required key [inputText] not found"));
    };
    let (length, count) = (text.chars().count(), tokens(text));
    if length == 0 {
        return Err(malformed("#/inputText: expected minLength: 1, actual: 0"));
    }
    if length > TITAN_LIMITS.0 {
        let what = format!("#/inputText: expected maxLength: {}, actual: {length}", TITAN_LIMITS.0);
        return Err(malformed(&what));
    }
    if count > TITAN_LIMITS.1 {
        let what = format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {}, request input token count: {count}",
            TITAN_LIMITS.1
        );
        return Err(Refusal::invalid(what));
    }
    let dimensions = size(body, "dimensions", &[1024, 512, 256])?;
    let vector = vector("titan-v2", text, dimensions);
    let answer = json!({
        "embedding": vector,
        "embeddingsByType": { "float": vector },
        "inputTextTokenCount": count,
    });
    Ok(Asked { texts: vec![text.to_owned()], tokens: count, input_type: None, answer })
}

fn only_keys(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let keys = body.as_object().ok_or_else(|| malformed("#: expected type: JSONObject"))?.keys();
    match keys.into_iter().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(malformed(&format!("#: extraneous key [{key}] is not permitted"))),
        None => Ok(()),
    }
}

fn texts(body: &Value) -> Result<Vec<String>, Refusal> {
    let texts = body.get("texts").and_then(Value::as_array);
    let texts = texts.ok_or_else(|| malformed("#: required key [texts] not found"))?;
    if texts.len() > TEXTS {
        let what = format!("#/texts: expected maximum item count: {TEXTS}, found: {}", texts.len());
        return Err(malformed(&what));
    }
    let read = |text: &Value| text.as_str().map(str::to_owned);
    let read = texts.iter().map(read).collect::<Option<Vec<String>>>();
    read.ok_or_else(|| malformed("#/texts: expected type: String"))
}

fn input_type(body: &Value) -> Result<String, Refusal> {
    if body.get("input_type").is_none() {
        return Err(malformed("#: required key [input_type] not found"));
    }
    one_of(body, "input_type", &INPUT_TYPES)
}

/// The word under this key; the first known one where there is none.
fn one_of(body: &Value, key: &str, known: &[&str]) -> Result<String, Refusal> {
    let Some(value) = body.get(key) else { return Ok(known[0].to_owned()) };
    match value.as_str() {
        Some(word) if known.contains(&word) => Ok(word.to_owned()),
        _ => Err(malformed(&format!("#/{key}: not a valid enum value"))),
    }
}

/// The number under this key; the first known one where there is none.
fn size(body: &Value, key: &str, known: &[u64]) -> Result<usize, Refusal> {
    let asked = body.get(key).map_or(Some(known[0]), Value::as_u64);
    match asked {
        Some(number) if known.contains(&number) => Ok(number as usize),
        _ => Err(malformed(&format!("#/{key}: not a valid enum value"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: &str = "cohere.embed-multilingual-v3";

    fn said(id: &str, body: &Value) -> String {
        let outcome = ask(id, body.to_string().as_bytes(), &Behaviour::default());
        outcome.map_or_else(|refusal| refusal.message, |asked| asked.answer.to_string())
    }

    fn documents(texts: &[String]) -> Value {
        json!({ "input_type": "search_document", "texts": texts })
    }

    #[test]
    fn cohere_v3_takes_96_texts_of_2048_characters_and_no_more() {
        let longest = "語".repeat(2048);
        let fits = documents(&vec![longest.clone(); 96]);
        assert!(said(V3, &fits).contains("embeddings_floats"));
        assert!(said(V3, &documents(&vec!["a".into(); 97])).contains("maximum item count: 96"));
        let mut long = documents(&[longest + "x"]);
        assert!(said(V3, &long).contains("#/texts/0: expected maxLength: 2048, actual: 2049"));
        long["truncate"] = json!("END");
        assert!(said(V3, &long).contains("embeddings_floats"));
        long["truncate"] = json!("RIGHT");
        assert!(said(V3, &long).contains("#/truncate"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert!(said(V3, &json!({ "texts": [] })).contains("required key [input_type] not found"));
        let titan = json!({ "inputText": "a" });
        assert!(said(V3, &titan).contains("extraneous key [inputText] is not permitted"));
        assert!(said("some.model", &titan).contains("model identifier is invalid"));
    }

    #[test]
    fn cohere_v4_makes_the_dimensions_asked_for_under_any_profile() {
        let mut body = documents(&["a b".to_owned()]);
        let count = |answer: &str| {
            let answer: Value = serde_json::from_str(answer).unwrap();
            let plain = answer["embeddings"][0].as_array();
            plain.or(answer["embeddings"]["float"][0].as_array()).unwrap().len()
        };
        assert_eq!(count(&said("us.cohere.embed-v4:0", &body)), 1536);
        body["output_dimension"] = json!(512);
        body["embedding_types"] = json!(["float"]);
        let answer = said("cohere.embed-v4:0", &body);
        assert!(answer.contains("embeddings_by_type"));
        assert_eq!(count(&answer), 512);
        body["output_dimension"] = json!(384);
        assert!(said("global.cohere.embed-v4:0", &body).contains("#/output_dimension"));
    }

    #[test]
    fn titan_takes_one_text_of_8192_tokens() {
        let model = "amazon.titan-embed-text-v2:0";
        let body = |text: &str| json!({ "inputText": text, "dimensions": 256 });
        let answer: Value = serde_json::from_str(&said(model, &body("two words"))).unwrap();
        assert_eq!(answer["embedding"].as_array().unwrap().len(), 256);
        assert_eq!(answer["inputTextTokenCount"], 3);
        assert!(said(model, &body("")).contains("minLength: 1"));
        assert!(said(model, &body(&"語".repeat(8193))).contains("Too many input tokens"));
        assert!(said(model, &body(&"a".repeat(50_001))).contains("maxLength: 50000"));
    }

    #[test]
    fn a_disabled_model_and_a_planted_text_are_refused() {
        let behaviour = Behaviour {
            disabled: vec!["cohere.embed-v4:0".to_owned()],
            refused: Some("poison".to_owned()),
            ..Behaviour::default()
        };
        let body = documents(&["fine".to_owned(), "a poison".to_owned()]).to_string();
        let denied = ask("eu.cohere.embed-v4:0", body.as_bytes(), &behaviour).unwrap_err();
        assert_eq!((denied.status, denied.code), (403, "AccessDeniedException"));
        let refused = ask(V3, body.as_bytes(), &behaviour).unwrap_err();
        assert!(refused.message.contains("#/texts/1"), "{refused:?}");
    }
}
