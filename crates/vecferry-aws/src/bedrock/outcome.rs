//! What a refused or failed call means for the next one. Source of the codes: the API reference's page
//! `API_runtime_InvokeModel` and the user guide's `troubleshooting-api-error-codes`.

use std::time::Duration;

use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use vecferry_embed::embedder::Failure;
use vecferry_embed::embedding::without_texts;

use crate::failure;

/// Longest `Retry-After` that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Words of a `ValidationException` that is about the model or the call, not about the texts: an unknown id, a model
/// that is only offered through an inference profile, an account that may not call it.
const NOT_THE_TEXTS: [&str; 5] = [
    "model identifier",
    "on-demand throughput",
    "inference profile",
    "not supported",
    "not allowed",
];

/// Words by which the SDK says that there are no credentials, as against credentials that could not be fetched just now.
const NO_CREDENTIALS: [&str; 3] =
    ["was not enabled", "was not properly configured", "no identity resolver"];

/// What to change when the model refuses the account.
const ACCESS: &str = "allow bedrock:InvokeModel for it and enable the model in this region \
                      (Bedrock console, Model access)";

/// Turns an SDK error into what repeating can achieve.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>, texts: &[String]) -> Failure
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let said = without_texts(&failure::said(error), texts);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let retry_after = service.raw().headers().get("retry-after").and_then(seconds);
            let throttled = failure::is_throttle(error);
            answered(code, status, said, throttled.then_some(retry_after))
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Failure::Transient(said),
        SdkError::DispatchFailure(_) => unsent(said),
        _ => Failure::Permanent(said),
    }
}

/// A call that could not be sent: a connection that failed, or nobody to sign it.
fn unsent(said: String) -> Failure {
    if NO_CREDENTIALS.iter().any(|words| said.contains(words)) {
        Failure::Permanent(said)
    } else {
        Failure::Transient(said)
    }
}

/// The same for an error that the service itself sent; `throttled` holds the wait it asks for when it throttles.
fn answered(
    code: Option<&str>,
    status: u16,
    said: String,
    throttled: Option<Option<Duration>>,
) -> Failure {
    match (code, throttled) {
        // Status 429 as well, but the model is being loaded: slowing down does not help it.
        (Some("ModelNotReadyException"), _) => Failure::Transient(said),
        (_, Some(retry_after)) => Failure::Throttled { retry_after },
        (Some("ServiceQuotaExceededException"), None) => Failure::Throttled { retry_after: None },
        (Some("ModelTimeoutException" | "ModelErrorException"), None) => Failure::Transient(said),
        (_, None) if status >= 500 || matches!(status, 408 | 424) => Failure::Transient(said),
        (Some("ValidationException"), None) => {
            if NOT_THE_TEXTS.iter().any(|words| said.contains(words)) {
                Failure::Permanent(said)
            } else {
                Failure::Texts(said)
            }
        }
        (_, None) if status == 413 => Failure::Texts(said),
        (Some("AccessDeniedException" | "ResourceNotFoundException"), None) => {
            Failure::Permanent(format!("{said}; {ACCESS}"))
        }
        _ => Failure::Permanent(said),
    }
}

fn seconds(value: &str) -> Option<Duration> {
    let seconds: f64 = value.trim().parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).ok()?.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, status: u16, message: &str) -> Failure {
        answered(Some(code), status, format!("{code}: {message}"), None)
    }

    #[test]
    fn a_refused_input_is_about_the_texts_and_a_refused_model_is_not() {
        let long = "Malformed input request: #/texts/3: expected maxLength: 2048, actual: 2300";
        assert!(matches!(of("ValidationException", 400, long), Failure::Texts(_)));
        let tokens = "400 Bad Request: Too many input tokens. Max input tokens: 8192";
        assert!(matches!(of("ValidationException", 400, tokens), Failure::Texts(_)));
        for message in [
            "The provided model identifier is invalid.",
            "Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn't supported.",
            "Operation not allowed",
        ] {
            let failure = of("ValidationException", 400, message);
            let Failure::Permanent(said) = failure else { panic!("{failure:?}") };
            assert!(said.contains(message));
        }
    }

    #[test]
    fn access_is_permanent_and_says_what_to_change() {
        for (code, status) in [("AccessDeniedException", 403), ("ResourceNotFoundException", 404)] {
            let Failure::Permanent(said) = of(code, status, "no") else { panic!("{code}") };
            assert!(said.starts_with(&format!("{code}: no; allow bedrock:InvokeModel")), "{said}");
        }
        assert!(matches!(of("ExpiredTokenException", 403, "old"), Failure::Permanent(_)));
    }

    #[test]
    fn a_throttle_keeps_the_wait_it_asks_for() {
        let wait = seconds("7");
        let throttled = answered(Some("ThrottlingException"), 429, String::new(), Some(wait));
        assert_eq!(throttled, Failure::Throttled { retry_after: Some(Duration::from_secs(7)) });
        let quota = of("ServiceQuotaExceededException", 400, "more than the account may");
        assert_eq!(quota, Failure::Throttled { retry_after: None });
        assert_eq!((seconds("soon"), seconds("1e9")), (None, Some(LONGEST_WAIT)));
    }

    #[test]
    fn missing_credentials_are_permanent_and_a_lost_connection_or_a_slow_provider_is_not() {
        for missing in [
            "the credential provider was not enabled: no providers in chain provided credentials",
            "the access token provider was not properly configured: No profiles were defined",
        ] {
            let said = format!("dispatch failure: other: {missing}");
            assert_eq!(unsent(said.clone()), Failure::Permanent(said));
        }
        for passing in [
            "dispatch failure: other: an error occurred while loading credentials: io error",
            "dispatch failure: other: credentials provider timed out",
            "dispatch failure: io error: tcp connect error",
        ] {
            assert!(matches!(unsent(passing.to_owned()), Failure::Transient(_)), "{passing}");
        }
    }

    #[test]
    fn what_passes_is_transient() {
        for (code, status) in [
            ("InternalServerException", 500),
            ("ServiceUnavailableException", 503),
            ("ModelTimeoutException", 408),
            ("ModelErrorException", 424),
        ] {
            assert!(matches!(of(code, status, "later"), Failure::Transient(_)), "{code}");
        }
        let loading = answered(Some("ModelNotReadyException"), 429, String::new(), Some(None));
        assert!(matches!(loading, Failure::Transient(_)));
    }
}
