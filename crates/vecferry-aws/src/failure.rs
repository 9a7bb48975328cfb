//! What an AWS service said, as an error of the core: which service, at what, and whether repeating helps.

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use vecferry_core::error::on_one_line;
use vecferry_core::{Class, Error};

/// Codes by which AWS services ask for fewer requests
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>).
const THROTTLES: [&str; 9] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
];

/// What the service, or the way to it, said; one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// Turns an SDK error into a core error.
pub(crate) fn failed<E>(
    service: &'static str,
    doing: impl Into<String>,
    error: &SdkError<E, HttpResponse>,
) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let class = class_of(error);
    let hint = (class == Class::Operator).then(|| {
        "credentials, region and permissions are those of the AWS CLI: try `aws sts get-caller-identity`".to_owned()
    });
    Error::Service {
        service,
        doing: doing.into(),
        class,
        source: Box::new(Said(said(error))),
        hint,
    }
}

/// Whether the service asked for fewer requests.
pub(crate) fn is_throttle<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let status = error.raw_response().map(|response| response.status().as_u16());
    code.is_some_and(|code| THROTTLES.contains(&code)) || status == Some(429)
}

/// What repeating the call can achieve.
pub(crate) fn class_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Class {
    match error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Class::Transient,
        // An answer that broke off has a kind; what has none never left this machine: no credentials, no region.
        SdkError::DispatchFailure(failure)
            if failure.is_io() || failure.is_timeout() || failure.as_other().is_some() =>
        {
            Class::Transient
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            if is_throttle(error) || status >= 500 { Class::Transient } else { Class::Operator }
        }
        _ => Class::Operator,
    }
}

/// Code and message of the service, or what went wrong on the way; one line, whatever the service wrote.
pub(crate) fn said<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    one_line(&words(error))
}

/// Line feeds and other control characters become spaces: a message may repeat what somebody else wrote.
fn one_line(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn words<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let Some(service) = error.as_service_error() {
        return match (service.code(), service.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                format!("status {}", status.unwrap_or_default())
            }
        };
    }
    on_one_line(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_is_one_line() {
        assert_eq!(one_line("a: b\n\tc  \u{1b}[0md"), "a: b c [0md");
    }
}
