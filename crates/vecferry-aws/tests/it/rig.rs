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
