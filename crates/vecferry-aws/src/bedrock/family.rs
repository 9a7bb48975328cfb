//! What each family of models is asked and answers. Pure. Sources: the Bedrock user guide's pages
//! `model-parameters-embed-v3`, `model-parameters-embed-v4`, `model-parameters-titan-embed-text`,
//! `titan-embedding-models` and `inference-profiles-support`.

use serde::Deserialize;
use serde_json::{Value, json};
use vecferry_embed::embedder::Model;

/// Models that make the same calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    CohereV3,
    CohereV4,
    TitanV2,
}

/// Models by their makers' ids.
pub(super) const KNOWN: [(&str, Family); 4] = [
    ("cohere.embed-multilingual-v3", Family::CohereV3),
    ("cohere.embed-english-v3", Family::CohereV3),
    ("cohere.embed-v4:0", Family::CohereV4),
    ("amazon.titan-embed-text-v2:0", Family::TitanV2),
];

impl Family {
    /// The family of a model id or inference profile, with the model's own id.
    pub(super) fn of(id: &str) -> Option<(Family, &'static str)> {
        // A profile of the system's own is the model's id behind a place, in an ARN behind a slash.
        let profile = id.rsplit('/').next().unwrap_or(id);
        KNOWN.iter().find_map(|(model, family)| {
            let place = profile.strip_suffix(model)?;
            let known = match place.strip_suffix('.') {
                None => place.is_empty(),
                Some(place) => {
                    let letter = |letter: u8| letter.is_ascii_lowercase() || letter == b'-';
                    !place.is_empty() && place.bytes().all(letter)
                }
            };
            known.then_some((*family, *model))
        })
    }

    /// Lengths of vectors, the usual one first.
    pub(super) fn dimensions(self) -> &'static [usize] {
        match self {
            Family::CohereV3 => &[1024],
            Family::CohereV4 => &[1536, 1024, 512, 256],
            Family::TitanV2 => &[1024, 512, 256],
        }
    }

    /// The model's limits. Cohere Embed v4 counts its 128 000 tokens over the whole call.
    pub(super) fn model(self, id: &str, dimensions: usize) -> Model {
        let (texts_per_call, chars_per_text, tokens_per_text) = match self {
            Family::CohereV3 => (96, Some(2048), 512),
            Family::CohereV4 => (96, None, 128_000),
            Family::TitanV2 => (1, Some(50_000), 8192),
        };
        let id = id.to_owned();
        Model { id, dimensions, texts_per_call, chars_per_text, tokens_per_text }
    }

    /// The body of a call. Nothing is ever cut by the service (`truncate` NONE): a vector of half a text would be
    /// stored as if it were of the whole.
    pub(super) fn request(self, texts: &[String], dimensions: usize) -> Result<Value, String> {
        match self {
            Family::CohereV3 => Ok(json!({
                "input_type": "search_document",
                "texts": texts,
                "truncate": "NONE",
            })),
            Family::CohereV4 => Ok(json!({
                "input_type": "search_document",
                "texts": texts,
                "truncate": "NONE",
                "embedding_types": ["float"],
                "output_dimension": dimensions,
            })),
            Family::TitanV2 => match texts {
                // Normalized, as its default is: distances and inner products then rank alike.
                [text] => Ok(json!({
                    "inputText": text,
                    "dimensions": dimensions,
                    "normalize": true,
                })),
                _ => Err(format!("{} texts for a model that takes one", texts.len())),
            },
        }
    }

    /// Vectors of an answer in the order of the texts, and the tokens where the body counts them.
    pub(super) fn read(self, body: &[u8]) -> Result<(Vec<Vec<f32>>, Option<u64>), String> {
        // Named by position only: a Cohere answer repeats the texts.
        let unknown = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            format!("the model's answer is not one of embeddings (line {line}, column {column})")
        };
        match self {
            Family::CohereV3 | Family::CohereV4 => {
                let answer: Cohere = serde_json::from_slice(body).map_err(unknown)?;
                let vectors = match answer.embeddings {
                    Typed::Plain(vectors) => vectors,
                    Typed::ByType { float } => float,
                };
                Ok((vectors, None))
            }
            Family::TitanV2 => {
                let answer: Titan = serde_json::from_slice(body).map_err(unknown)?;
                Ok((vec![answer.embedding], Some(answer.input_text_token_count)))
            }
        }
    }
}

#[derive(Deserialize)]
struct Cohere {
    embeddings: Typed,
}

/// Plain in version 3, by type when types were asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Typed {
    Plain(Vec<Vec<f32>>),
    ByType { float: Vec<Vec<f32>> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Titan {
    embedding: Vec<f32>,
    input_text_token_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_id_and_behind_any_places_profile() {
        let v4 = Some((Family::CohereV4, "cohere.embed-v4:0"));
        for place in ["", "us.", "eu.", "apac.", "global.", "us-gov."] {
            assert_eq!(Family::of(&format!("{place}cohere.embed-v4:0")), v4, "{place}");
        }
        let profile =
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0";
        assert_eq!(Family::of(profile), v4);
        let titan = Family::of("amazon.titan-embed-text-v2:0").unwrap();
        assert_eq!(titan.0, Family::TitanV2);
        for other in ["cohere.embed-v5:0", "xcohere.embed-v4:0", ".cohere.embed-v4:0", "", "us."] {
            assert_eq!(Family::of(other), None, "{other}");
        }
    }

    #[test]
    fn cohere_is_asked_for_documents_and_told_to_cut_nothing() {
        let texts = ["one".to_owned(), "two".to_owned()];
        let v3 = json!({ "input_type": "search_document", "texts": texts, "truncate": "NONE" });
        assert_eq!(Family::CohereV3.request(&texts, 1024), Ok(v3.clone()));
        let v4 = Family::CohereV4.request(&texts, 512).unwrap();
        assert_eq!(v4["output_dimension"], 512);
        assert_eq!(v4["embedding_types"], json!(["float"]));
        assert_eq!((&v4["truncate"], &v4["input_type"]), (&v3["truncate"], &v3["input_type"]));
    }

    #[test]
    fn titan_is_asked_for_one_text_at_a_time() {
        let texts = ["one".to_owned(), "two".to_owned()];
        let one = json!({ "inputText": "one", "dimensions": 256, "normalize": true });
        assert_eq!(Family::TitanV2.request(&texts[..1], 256), Ok(one));
        assert!(Family::TitanV2.request(&texts, 256).unwrap_err().contains("takes one"));
    }

    #[test]
    fn both_forms_of_a_cohere_answer_are_read() {
        let vectors = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
        let plain = r#"{"id":"x","embeddings":[[1,2],[3,4]],"response_type":"embeddings_floats","texts":["a","b"]}"#;
        let typed = r#"{"id":"x","embeddings":{"float":[[1,2],[3,4]]},"response_type":"embeddings_by_type"}"#;
        for answer in [plain, typed] {
            assert_eq!(Family::CohereV4.read(answer.as_bytes()), Ok((vectors.clone(), None)));
        }
    }

    #[test]
    fn titan_counts_its_tokens_in_the_body() {
        let answer =
            r#"{"embedding":[1,2],"embeddingsByType":{"float":[1,2]},"inputTextTokenCount":5}"#;
        let read = Family::TitanV2.read(answer.as_bytes());
        assert_eq!(read, Ok((vec![vec![1.0, 2.0]], Some(5))));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_that_quotes_nothing() {
        let answer = r#"{"embeddings":"secret","texts":["secret"]}"#;
        let error = Family::CohereV3.read(answer.as_bytes()).unwrap_err();
        assert!(error.contains("not one of embeddings") && !error.contains("secret"), "{error}");
        assert!(Family::TitanV2.read(b"{}").is_err());
    }
}
