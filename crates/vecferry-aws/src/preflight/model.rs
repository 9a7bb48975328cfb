//! Whether the model may be called, found out by a call that it cannot fulfil: an empty object for a body. Bedrock looks
//! at access before it looks at the body, so a `ValidationException` about the body means that the call was let in, and
//! nothing is embedded that could be billed. Codes and causes:
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html> and
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>. That order is what AWS's
//! answers show; no page promises it, so nothing but a blocker that names what was said follows from it.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{Builder, Region};
use aws_sdk_bedrockruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockruntime::primitives::Blob;

use super::facts::ModelSays;
use crate::account::Account;
use crate::failure::said;

/// What quotas call the models (<https://docs.aws.amazon.com/general/latest/gr/bedrock.html>).
const NAMES: [(&str, &str); 4] = [
    ("cohere.embed-multilingual-v3", "cohere embed multilingual"),
    ("cohere.embed-english-v3", "cohere embed english"),
    ("cohere.embed-v4:0", "cohere embed v4"),
    ("amazon.titan-embed-text-v2:0", "titan text embeddings v2"),
];

/// Asks the model for nothing.
pub(super) async fn ask(account: &Account, model: &str, region: Option<&str>) -> ModelSays {
    let mut config = Builder::from(account.config()).retry_config(RetryConfig::standard());
    if let Some(region) = region {
        config = config.region(Region::new(region.to_owned()));
    }
    let call = Client::from_conf(config.build())
        .invoke_model()
        .model_id(model)
        .content_type("application/json")
        .accept("application/json")
        .body(Blob::new("{}"));
    match call.send().await {
        Ok(_) => ModelSays::Ready,
        Err(error) => {
            let service = error.as_service_error();
            let code = service.and_then(ProvideErrorMetadata::code);
            let message = service.and_then(ProvideErrorMetadata::message).unwrap_or_default();
            understood(code, message, said(&error))
        }
    }
}

fn understood(code: Option<&str>, message: &str, said: String) -> ModelSays {
    let message = message.to_lowercase();
    match code {
        Some("ValidationException") if message.contains("model identifier") => {
            ModelSays::NotOffered(said)
        }
        Some("ValidationException")
            if message.contains("on-demand throughput")
                || message.contains("inference profile") =>
        {
            ModelSays::ProfileOnly(said)
        }
        Some("ValidationException" | "ThrottlingException") => ModelSays::Ready,
        Some("ResourceNotFoundException") => ModelSays::NotOffered(said),
        Some("AccessDeniedException") if message.contains("not authorized to perform") => {
            ModelSays::NotOurs
        }
        Some("AccessDeniedException") => ModelSays::NotEnabled(said),
        _ => ModelSays::Unclear(said),
    }
}

/// Quotas per minute that are the model's, of all of Bedrock's. A model that quotas name otherwise has none.
pub(super) fn quotas_of(model: &str, all: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let base = crate::Bedrock::base(model);
    let name = NAMES.iter().find(|(id, _)| Some(*id) == base).map(|(_, name)| *name);
    let is = |quota: &str| {
        let quota = quota.to_lowercase();
        quota.contains("per minute") && name.is_some_and(|name| quota.contains(name))
    };
    all.into_iter().filter(|(quota, _)| is(quota)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_says_is_told_apart() {
        let of = |code, message: &str| understood(Some(code), message, "said".into());
        let said = || "said".to_owned();
        let invalid = "ValidationException";
        assert_eq!(
            of(invalid, "Malformed input request: #: required key [texts]"),
            ModelSays::Ready
        );
        assert_eq!(of("ThrottlingException", "Too many requests"), ModelSays::Ready);
        let unknown = "The provided model identifier is invalid.";
        assert_eq!(of(invalid, unknown), ModelSays::NotOffered(said()));
        let profile = "Invocation of model ID x with on-demand throughput isn’t supported.";
        assert_eq!(of(invalid, profile), ModelSays::ProfileOnly(said()));
        let denied = "AccessDeniedException";
        let access = "You don't have access to the model with the specified model ID.";
        assert_eq!(of(denied, access), ModelSays::NotEnabled(said()));
        let own = "User: arn is not authorized to perform: bedrock:InvokeModel on resource: arn";
        assert_eq!(of(denied, own), ModelSays::NotOurs);
        assert_eq!(of("ResourceNotFoundException", ""), ModelSays::NotOffered(said()));
        assert_eq!(of("InternalServerException", ""), ModelSays::Unclear(said()));
        assert_eq!(understood(None, "", said()), ModelSays::Unclear(said()));
    }

    #[test]
    fn a_models_quotas_are_found_by_its_name() {
        let all = || {
            [
                "On-demand InvokeModel requests per minute for Cohere Embed Multilingual",
                "On-demand InvokeModel tokens per minute for Cohere Embed Multilingual",
                "On-demand InvokeModel requests per minute for Cohere Embed English",
                "On-demand InvokeModel requests per minute for Amazon Titan Text Embeddings V2",
                "Batch inference job size for Cohere Embed Multilingual",
            ]
            .map(|name| (name.to_owned(), 2000.0))
            .to_vec()
        };
        assert_eq!(quotas_of("cohere.embed-multilingual-v3", all()).len(), 2);
        assert_eq!(quotas_of("eu.amazon.titan-embed-text-v2:0", all()).len(), 1);
        assert_eq!(quotas_of("somebody.elses", all()).len(), 0);
        assert!(NAMES.iter().map(|(id, _)| *id).eq(crate::Bedrock::known()), "every known model");
    }
}
