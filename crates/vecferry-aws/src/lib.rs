//! Amazon behind the traits of vecferry-core and vecferry-embed. Nothing else in the workspace knows AWS.
//!
//! Endpoints come from the SDK's own settings (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_ECS`, …), so tests and private
//! endpoints need nothing from us.

mod account;
mod bedrock;
mod bots;
pub mod cluster;
mod documents;
mod endpoint;
mod failure;
pub mod permission;
pub mod preflight;
mod secret;
pub mod stack;
mod table_role;
mod tasks;

pub use account::Account;
pub use bedrock::Bedrock;
pub use bots::{DynamoBots, DynamoOptions};
pub use documents::{Access, ObjectLimits, S3Documents};
pub use endpoint::cluster_at;
pub use secret::{SecretSwitch, database_from, database_from_environment, database_from_secret};
pub use table_role::TableRole;
pub use tasks::{Capacity, EcsReady, EcsSettings, EcsTasks};
