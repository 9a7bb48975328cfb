//! Amazon behind the traits of vecferry-core and vecferry-embed. Nothing else in the workspace knows AWS.
//!
//! Endpoints come from the SDK's own settings (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_ECS`, …), so tests and private
//! endpoints need nothing from us.

mod account;
mod bedrock;
mod failure;

pub use account::Account;
pub use bedrock::Bedrock;
