//! Why a task was not started, from the service's words: an error, a `failures` entry of a good answer, or silence.
//! Pure; what follows (slow down, wait, ask again with the same token, leave the bot, stop) is the caller's.

use vecferry_core::reembed::task::LaunchFailure;

/// What came back from a `RunTask` that started nothing we know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// An error of the service.
    Error {
        /// `__type` without its prefix.
        code: &'a str,
        /// HTTP status.
        status: u16,
        /// Its message.
        message: &'a str,
    },
    /// An entry of `failures`.
    Failure {
        /// `reason`.
        reason: &'a str,
        /// `detail`, often empty.
        detail: &'a str,
    },
    /// The request left, and no whole answer came: the task may or may not exist.
    Lost(&'a str),
    /// The request never left this process.
    Unsent(&'a str),
}

/// Error codes that ask for fewer requests
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>).
const THROTTLES: [&str; 6] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
];

/// Parts of messages that ask for fewer requests. ECS passes on what EC2 says of subnets and security groups, so that
/// a throttle of EC2 comes as an `InvalidParameterException`.
const THROTTLE_WORDS: [&str; 3] =
    ["rate exceeded", "requestlimitexceeded", "request limit exceeded"];

/// Parts of messages that mean that there is no room now: Fargate's capacity, the account's vCPUs
/// ("You’ve reached the limit on the number of vCPUs you can run concurrently"), network interfaces.
const CAPACITY_WORDS: [&str; 4] = [
    "capacity is unavailable",
    "limit on the number of",
    "networkinterfacelimitexceeded",
    "insufficientfreeaddresses",
];

/// Reasons of `failures` entries that waiting does not change
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>).
const LASTING: [&str; 5] = ["ATTRIBUTE", "LOCATION", "INACTIVE", "MISSING", "MemberOf placement"];

/// What follows from an answer.
pub(super) fn failure(answer: Answer<'_>) -> LaunchFailure {
    match answer {
        Answer::Lost(said) => LaunchFailure::Unclear(said.to_owned()),
        Answer::Unsent(said) => LaunchFailure::Refused(said.to_owned()),
        Answer::Failure { reason, detail } => placement(reason, detail),
        Answer::Error { code, status, message } => error(code, status, message),
    }
}

/// An entry of `failures`: placing one task did not work. What is not known to last is taken as passing.
fn placement(reason: &str, detail: &str) -> LaunchFailure {
    let said = joined(reason, detail);
    let words = said.to_lowercase();
    if has(&words, &THROTTLE_WORDS) {
        LaunchFailure::Throttled(said)
    } else if LASTING.iter().any(|lasting| reason.starts_with(lasting)) {
        LaunchFailure::Refused(said)
    } else {
        LaunchFailure::NoCapacity(said)
    }
}

fn error(code: &str, status: u16, message: &str) -> LaunchFailure {
    let said = joined(code, message);
    let words = message.to_lowercase();
    if THROTTLES.contains(&code) || status == 429 || has(&words, &THROTTLE_WORDS) {
        LaunchFailure::Throttled(said)
    } else if has(&words, &CAPACITY_WORDS) {
        LaunchFailure::NoCapacity(said)
    } else if status >= 500 || status == 408 || code == "ServerException" {
        LaunchFailure::Unclear(said)
    } else if words.contains("overrides length") || code == "ConflictException" {
        LaunchFailure::Rejected(said)
    } else {
        LaunchFailure::Refused(said)
    }
}

fn joined(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first.to_owned(),
        (true, false) => second.to_owned(),
        (false, false) => format!("{first}: {second}"),
    }
}

fn has(words: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| words.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of failure, for comparisons.
    fn kind(answer: Answer<'_>) -> &'static str {
        match failure(answer) {
            LaunchFailure::Throttled(_) => "throttled",
            LaunchFailure::NoCapacity(_) => "no capacity",
            LaunchFailure::Unclear(_) => "unclear",
            LaunchFailure::Refused(_) => "refused",
            LaunchFailure::Rejected(_) => "rejected",
        }
    }

    fn error(code: &str, status: u16, message: &str) -> &'static str {
        kind(Answer::Error { code, status, message })
    }

    fn placed(reason: &str) -> &'static str {
        kind(Answer::Failure { reason, detail: "" })
    }

    #[test]
    fn throttles_are_told_by_code_status_or_words() {
        assert_eq!(error("ThrottlingException", 400, "Rate exceeded"), "throttled");
        assert_eq!(error("TooManyRequestsException", 429, ""), "throttled");
        assert_eq!(error("", 429, ""), "throttled");
        assert_eq!(error("ClientException", 400, "Rate exceeded"), "throttled");
        assert_eq!(placed("Rate exceeded"), "throttled");
    }

    #[test]
    fn a_throttle_of_ec2_that_ecs_passes_on_is_a_throttle() {
        let message = "Error retrieving security group information for [sg-1]: Request limit exceeded. \
                       (ErrorCode: RequestLimitExceeded)";
        assert_eq!(error("InvalidParameterException", 400, message), "throttled");
    }

    #[test]
    fn lack_of_room_passes() {
        let reasons = [
            "RESOURCE:ENI",
            "RESOURCE:CPU",
            "RESOURCE:MEMORY",
            "AGENT",
            "EMPTY CAPACITY PROVIDER",
            "NO ACTIVE INSTANCES",
            "Capacity is unavailable at this time. Please try again later or in a different availability zone",
            "You've reached the limit on the number of vCPUs you can run concurrently",
            "something that is not documented",
        ];
        for reason in reasons {
            assert_eq!(placed(reason), "no capacity", "{reason}");
        }
        let vcpus = "You’ve reached the limit on the number of vCPUs you can run concurrently";
        assert_eq!(error("ClientException", 400, vcpus), "no capacity");
        let capacity = "Capacity is unavailable at this time. Please try again later";
        assert_eq!(error("ClientException", 400, capacity), "no capacity");
    }

    #[test]
    fn placements_that_can_never_work_are_refused() {
        for reason in
            ["ATTRIBUTE", "LOCATION", "INACTIVE", "MISSING", "MemberOf placement constraint"]
        {
            assert_eq!(placed(reason), "refused", "{reason}");
        }
    }

    #[test]
    fn without_an_answer_it_is_unclear_whether_the_task_exists() {
        assert_eq!(error("ServerException", 500, "Service Unavailable."), "unclear");
        assert_eq!(error("ServerException", 400, ""), "unclear");
        assert_eq!(error("", 503, ""), "unclear");
        assert_eq!(error("RequestTimeout", 408, ""), "unclear");
        assert_eq!(kind(Answer::Lost("connection reset")), "unclear");
    }

    #[test]
    fn what_never_left_this_process_cannot_have_started_anything() {
        assert_eq!(kind(Answer::Unsent("no credentials")), "refused");
    }

    #[test]
    fn mistakes_in_settings_and_permissions_are_refused_for_every_bot() {
        let answers = [
            ("AccessDeniedException", "User is not authorized to perform: ecs:RunTask"),
            ("ClusterNotFoundException", "Cluster not found."),
            ("ClientException", "TaskDefinition is inactive"),
            ("ClientException", "TaskDefinition not found."),
            (
                "InvalidParameterException",
                "Error retrieving subnet information for [subnet-1]: (ErrorCode: InvalidSubnetID.NotFound)",
            ),
            (
                "InvalidParameterException",
                "Override for container named x is not a container in the TaskDefinition.",
            ),
            ("PlatformUnknownException", "The specified platform does not exist."),
            ("BlockedException", "Your account was blocked."),
            (
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            ("ExpiredTokenException", "The security token included in the request is expired"),
        ];
        for (code, message) in answers {
            assert_eq!(error(code, 400, message), "refused", "{code}");
        }
    }

    #[test]
    fn what_is_wrong_with_one_bot_rejects_that_bot() {
        let long = "Container Overrides length must be at most 8192";
        assert_eq!(error("InvalidParameterException", 400, long), "rejected");
        assert_eq!(error("ConflictException", 400, "other parameters"), "rejected");
    }

    #[test]
    fn the_services_words_are_kept() {
        let answer = Answer::Error { code: "ClientException", status: 400, message: "no" };
        assert_eq!(failure(answer), LaunchFailure::Refused("ClientException: no".into()));
        let answer = Answer::Failure { reason: "RESOURCE:ENI", detail: "none free" };
        assert_eq!(failure(answer), LaunchFailure::NoCapacity("RESOURCE:ENI: none free".into()));
    }
}
