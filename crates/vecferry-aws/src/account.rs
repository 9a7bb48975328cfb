//! Credentials, region and the SDK's common configuration: loaded once, shared by every client.

use aws_config::{BehaviorVersion, Region, SdkConfig};

/// An AWS account and region as this process reaches it.
#[derive(Debug, Clone)]
pub struct Account {
    config: SdkConfig,
}

impl Account {
    /// Reads the environment, the shared configuration files and the task's or instance's role, as every AWS tool
    /// does; `region` and `profile` take precedence where given. Credentials are fetched at the first call.
    pub async fn load(region: Option<String>, profile: Option<String>) -> Account {
        // Pinned: a newer version would change retries and timeouts without anybody having asked.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        Account { config: loader.load().await }
    }

    /// An account with this configuration.
    pub fn with(config: SdkConfig) -> Account {
        Account { config }
    }

    /// What clients are made of.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The region, when one is known.
    pub fn region(&self) -> Option<&str> {
        self.config.region().map(Region::as_ref)
    }
}
