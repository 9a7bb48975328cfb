//! Where bots are listed and where the application keeps the state of their embedding.

use async_trait::async_trait;
use serde::Serialize;

use crate::bot::{Bot, BotKey, SyncRecord};
use crate::error::Result;

/// A list of bots: DynamoDB (`vecferry-aws`), or a file (this crate).
#[async_trait]
pub trait BotRegistry: Send + Sync {
    /// The registry in words, for messages: `DynamoDB table ConversationTable in us-east-1`.
    fn describe(&self) -> String;

    /// Whether it keeps a [`SyncRecord`] per bot.
    fn keeps_sync(&self) -> bool;

    /// Reads every bot.
    ///
    /// # Errors
    /// [`crate::Error::Service`] when the registry cannot be read, [`crate::Error::Configuration`] when it is not one.
    async fn list(&self) -> Result<Listing>;

    /// Reads one bot; `None` when it is gone.
    ///
    /// # Errors
    /// As [`BotRegistry::list`]; [`crate::Error::Configuration`] when the item's shape is unknown.
    async fn get(&self, key: &BotKey) -> Result<Option<Bot>>;

    /// Writes a bot's record if the registry's one is as expected. Never makes a bot that is gone. A registry that
    /// keeps no records answers [`Written::Done`].
    ///
    /// # Errors
    /// [`crate::Error::Service`] when the registry cannot be written.
    async fn write_sync(
        &self,
        key: &BotKey,
        expected: Expected<'_>,
        record: &SyncRecord,
    ) -> Result<Written>;
}

/// What a registry holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Bots to embed, by owner and id.
    pub bots: Vec<Bot>,
    /// Bots that a Bedrock Knowledge Base serves: their knowledge is not in PostgreSQL.
    pub knowledge_base: Vec<BotKey>,
    /// Bots without any document.
    pub without_documents: Vec<BotKey>,
    /// Aliases of other users' bots.
    pub aliases: u64,
    /// Items whose shape is unknown; nothing is done for them.
    pub odd: Vec<OddItem>,
}

/// An item that looks like a bot and is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OddItem {
    /// Its key, as the registry prints it.
    pub key: String,
    /// What is wrong, naming the attribute, never its value.
    pub why: String,
}

/// What the registry's record must be for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Anything, as long as the bot exists.
    Exists,
    /// Neither QUEUED nor RUNNING, or absent: nobody works on the bot.
    Idle,
    /// Last written by this task or claim.
    Exec(&'a str),
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Done,
    /// The record was another one, this.
    Changed(Option<SyncRecord>),
    /// The bot no longer exists.
    Gone,
}
