//! Bedrock Chat's table in DynamoDB as a [`BotRegistry`]: which bots there are, what they are made of, and the state of
//! their embedding, which the application shows to their owners.
//!
//! Reading is consistent everywhere: a bot that was saved a moment ago is migrated, and a worker sees the claim that it
//! was started for. Writing is one conditional update per record ([`mod@write`]), so nothing here makes an item, and of two
//! writers who expect the same record one wins. A record is durable when [`BotRegistry::write_sync`] returns.

mod item;
mod listing;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use vecferry_core::bot::{Bot, BotKey, SyncRecord};
use vecferry_core::reembed::registry::{BotRegistry, Expected, Listing, Written};
use vecferry_core::{Error, Result};

use crate::account::Account;
use crate::failure::failed;
use item::{Found, Item};

/// The service's name in errors.
const SERVICE: &str = "DynamoDB";

/// Attempts of one request. An on-demand table throttles for seconds while it grows to a new peak; with the SDK's
/// backoff (at most 20 s each) this waits a minute or two, and the adaptive mode slows the requests that follow.
const ATTEMPTS: u32 = 10;

/// A request that has no answer by then has lost its way: a page of 1 MB takes a fraction of a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// How the table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamoOptions {
    /// Reads the whole table, conversations and all, instead of the index of bots.
    ///
    /// Every version of the application has written `LastBotUsed` with every bot since there are bots, and none
    /// removes it, so the index holds them all. This is for a table that something else wrote to.
    pub full_scan: bool,
    /// Segments that are read at once.
    pub segments: u16,
    /// Most items that a page is made from; as many as fit into 1 MB when `None`.
    pub page_items: Option<u16>,
}

impl Default for DynamoOptions {
    fn default() -> Self {
        // Four pages of 1 MB under way are little memory, and hide most of the way to the service and back.
        DynamoOptions { full_scan: false, segments: 4, page_items: None }
    }
}

/// Bedrock Chat's table.
#[derive(Debug, Clone)]
pub struct DynamoBots {
    client: Client,
    table: String,
    region: String,
    options: DynamoOptions,
}

impl DynamoBots {
    /// The table of this name. Nothing is asked of it yet.
    pub fn new(account: &Account, table: impl Into<String>, options: DynamoOptions) -> DynamoBots {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let config = aws_sdk_dynamodb::config::Builder::from(account.config())
            .retry_config(RetryConfig::adaptive().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            .build();
        DynamoBots {
            client: Client::from_conf(config),
            table: table.into(),
            region: account.region().unwrap_or("an unknown region").to_owned(),
            options,
        }
    }

    /// What is said of a table that is not there, or not Bedrock Chat's.
    fn unusable(&self, why: &str) -> Error {
        Error::Configuration {
            what: format!("{}: {why}", self.describe()),
            hint: Some(
                "the name is the output `ConversationTableName` of the stack `BedrockChatStack`"
                    .to_owned(),
            ),
        }
    }

    async fn read(&self, key: &BotKey) -> Result<Option<Item>> {
        let projection = Projection::of(&item::READ);
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key_of(key)))
            .projection_expression(projection.expression)
            .set_expression_attribute_names(Some(projection.names))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed(SERVICE, format!("read the bot {key}"), &error))?;
        Ok(answer.item)
    }
}

#[async_trait]
impl BotRegistry for DynamoBots {
    fn describe(&self) -> String {
        format!("DynamoDB table {} in {}", self.table, self.region)
    }

    fn keeps_sync(&self) -> bool {
        true
    }

    async fn list(&self) -> Result<Listing> {
        listing::list(self).await
    }

    async fn get(&self, key: &BotKey) -> Result<Option<Bot>> {
        let Some(item) = self.read(key).await? else { return Ok(None) };
        let unusable = |why: &str| {
            let what = format!("the bot {key} cannot be embedded: {why}");
            Err(Error::Configuration { what, hint: None })
        };
        match item::understand(&item) {
            Found::Bot(bot) => Ok(Some(bot)),
            Found::Ghost(_) => Ok(None),
            Found::KnowledgeBase(_) => unusable("a Bedrock Knowledge Base serves it"),
            Found::Alias => unusable("it is an alias of another user's bot"),
            Found::Other => unusable("it is not a bot"),
            Found::Odd(odd) => unusable(&odd.why),
        }
    }

    async fn write_sync(
        &self,
        key: &BotKey,
        expected: Expected<'_>,
        record: &SyncRecord,
    ) -> Result<Written> {
        write::write_sync(self, key, expected, record).await
    }
}

fn key_of(key: &BotKey) -> Item {
    Item::from([
        ("PK".to_owned(), AttributeValue::S(key.owner.clone())),
        ("SK".to_owned(), AttributeValue::S(item::sort_key(key))),
    ])
}

/// A projection expression with its names: an attribute's own name may be one of DynamoDB's 573 reserved words.
struct Projection {
    expression: String,
    names: std::collections::HashMap<String, String>,
}

impl Projection {
    fn of(attributes: &[&str]) -> Projection {
        let names: Vec<String> = attributes.iter().map(|name| format!("#{name}")).collect();
        let expression = names.join(", ");
        let own = attributes.iter().map(|name| (*name).to_owned());
        Projection { expression, names: names.into_iter().zip(own).collect() }
    }
}
