//! How tests reach a double as if it were AWS.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::Credentials;
use vecferry_aws::Account;
use vecferry_testkit::MOTO_REGION;

/// An account whose every service is at this address.
pub(crate) async fn account(endpoint: &str) -> Account {
    let credentials = Credentials::new("testing", "testing", None, None, "tests");
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new(MOTO_REGION))
        .credentials_provider(credentials)
        .load()
        .await;
    Account::with(config)
}

/// The same with some services at addresses of their own, by the names that this SDK reads in shared configuration:
/// `ecs`, `iam`, `service-quotas`.
#[allow(deprecated, reason = "the loader takes files of this type only")]
pub(crate) async fn account_apart(endpoint: &str, services: &[(&str, &str)]) -> Account {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    let own: String =
        services.iter().map(|(name, url)| format!("{name} =\n  endpoint_url = {url}\n")).collect();
    let text = format!(
        "[default]\nendpoint_url = {endpoint}\nservices = doubles\n[services doubles]\n{own}"
    );
    let files = ProfileFiles::builder().with_contents(ProfileFileKind::Config, text).build();
    let credentials = Credentials::new("testing", "testing", None, None, "tests");
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .profile_files(files)
        .region(Region::new(MOTO_REGION))
        .credentials_provider(credentials)
        .load()
        .await;
    Account::with(config)
}
