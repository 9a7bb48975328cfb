//! Bedrock Chat's things in AWS, as its versions leave them: its table of bots and conversations, its bucket of
//! documents, the secret of its database. Made in moto, the table also in [`Dynamo`], for tests of any crate.

mod bot;
mod stack;

pub use bot::{ChatBot, Release, alias, conversation, ghost};
pub use stack::ChatStack;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::dynamo::Dynamo;
use crate::error::{Error, Result};
use crate::moto::Moto;
use crate::moto::wire::Wire;

/// Most items that DynamoDB takes in one `BatchWriteItem`.
const BATCH: usize = 25;

/// Batches under way at once: moto answers one request after the other anyway.
const BATCHES_AT_ONCE: usize = 4;

/// The sort key of a bot: `<owner>#BOT#<id>`.
pub fn bot_key(owner: &str, id: &str) -> Value {
    json!({"PK": {"S": owner}, "SK": {"S": format!("{owner}#BOT#{id}")}})
}

/// A table like Bedrock Chat's `ConversationTable`.
#[derive(Debug)]
pub struct ChatTable {
    name: String,
    wire: Wire,
}

impl ChatTable {
    /// Makes a table as Bedrock Chat deploys it, under a name of its own.
    pub async fn create(moto: &Moto) -> Result<ChatTable> {
        ChatTable::make(Wire::to(moto), true).await
    }

    /// The same in our own double, which stays fast with thousands of items.
    pub async fn create_in(dynamo: &Dynamo) -> Result<ChatTable> {
        ChatTable::make(Wire::at(&dynamo.endpoint()), true).await
    }

    /// Makes a table without the local index that Bedrock Chat lists bots by.
    pub async fn create_without_index(moto: &Moto) -> Result<ChatTable> {
        ChatTable::make(Wire::to(moto), false).await
    }

    async fn make(wire: Wire, indexed: bool) -> Result<ChatTable> {
        let table = ChatTable { name: Moto::unique("ConversationTable"), wire };
        let attribute = |name: &str, kind| json!({"AttributeName": name, "AttributeType": kind});
        let key = |name: &str, kind| json!({"AttributeName": name, "KeyType": kind});
        let all = json!({"ProjectionType": "ALL"});
        let global = |index: &str, name: &str| json!({"IndexName": index, "KeySchema": [key(name, "HASH")], "Projection": all});
        let mut body = json!({
            "TableName": table.name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [key("PK", "HASH"), key("SK", "RANGE")],
            "AttributeDefinitions": [
                attribute("PK", "S"), attribute("SK", "S"), attribute("PublicBotId", "S"),
            ],
            "GlobalSecondaryIndexes": [
                global("SKIndex", "SK"), global("PublicBotIdIndex", "PublicBotId"),
            ],
        });
        if indexed {
            let index = json!({
                "IndexName": "LastBotUsedIndex",
                "KeySchema": [key("PK", "HASH"), key("LastBotUsed", "RANGE")],
                "Projection": all,
            });
            body["LocalSecondaryIndexes"] = json!([index]);
            if let Some(attributes) = body["AttributeDefinitions"].as_array_mut() {
                attributes.push(attribute("LastBotUsed", "N"));
            }
        }
        table.wire.dynamo("CreateTable", &body).await?;
        Ok(table)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts an item (a [`ChatBot::item`], an [`alias`], a [`conversation`], anything in DynamoDB's JSON).
    pub async fn put(&self, item: &Value) -> Result<()> {
        let body = json!({"TableName": self.name, "Item": item});
        self.wire.dynamo("PutItem", &body).await.map(drop)
    }

    /// Puts many items.
    pub async fn put_all(&self, items: &[Value]) -> Result<()> {
        let batches = items.chunks(BATCH).map(|batch| async move {
            let puts: Vec<Value> =
                batch.iter().map(|item| json!({"PutRequest": {"Item": item}})).collect();
            let body = json!({"RequestItems": {&self.name: puts}});
            self.wire.dynamo("BatchWriteItem", &body).await.map(drop)
        });
        stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE).try_collect().await
    }

    /// The bot's item as it is now, in DynamoDB's JSON; `None` when there is none.
    pub async fn item(&self, owner: &str, id: &str) -> Result<Option<Value>> {
        let body = json!({
            "TableName": self.name, "Key": bot_key(owner, id), "ConsistentRead": true,
        });
        let answer = self.wire.dynamo("GetItem", &body).await?;
        Ok(answer.get("Item").cloned())
    }

    /// A text attribute of the bot's item: `SyncStatus`, `LastExecId`.
    pub async fn text(&self, owner: &str, id: &str, attribute: &str) -> Result<Option<String>> {
        let item = self.item(owner, id).await?;
        let text = item.as_ref().and_then(|item| item[attribute]["S"].as_str());
        Ok(text.map(str::to_owned))
    }

    /// Writes text attributes of the bot's item, as the application's own tasks do: without any condition.
    pub async fn set(&self, owner: &str, id: &str, attributes: &[(&str, &str)]) -> Result<()> {
        let updates: serde_json::Map<String, Value> = attributes
            .iter()
            .map(|(name, text)| {
                ((*name).to_owned(), json!({"Action": "PUT", "Value": {"S": text}}))
            })
            .collect();
        let body = json!({
            "TableName": self.name, "Key": bot_key(owner, id), "AttributeUpdates": updates,
        });
        self.wire.dynamo("UpdateItem", &body).await.map(drop)
    }

    /// Deletes the bot.
    pub async fn delete(&self, owner: &str, id: &str) -> Result<()> {
        let body = json!({"TableName": self.name, "Key": bot_key(owner, id)});
        self.wire.dynamo("DeleteItem", &body).await.map(drop)
    }
}

/// A bucket like Bedrock Chat's `DocumentBucket`.
#[derive(Debug)]
pub struct ChatBucket {
    name: String,
    wire: Wire,
}

impl ChatBucket {
    /// Makes a bucket, under a name of its own.
    pub async fn create(moto: &Moto) -> Result<ChatBucket> {
        let bucket = ChatBucket { name: Moto::unique("documents"), wire: Wire::to(moto) };
        bucket.wire.s3(Method::PUT, &bucket.name, Vec::new()).await?;
        Ok(bucket)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts an object.
    pub async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.wire.s3(Method::PUT, &self.path(key), bytes.into()).await.map(drop)
    }

    /// Puts a file that was uploaded to a bot, where Bedrock Chat keeps it: `<owner>/<bot>/documents/<name>`.
    pub async fn upload(
        &self,
        owner: &str,
        bot: &str,
        name: &str,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<()> {
        self.put(&format!("{owner}/{bot}/documents/{name}"), bytes).await
    }

    /// The object's bytes; `None` when there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.wire.s3(Method::GET, &self.path(key), Vec::new()).await {
            Ok(response) => {
                let bytes = response.bytes().await;
                let failed = |source| Error::Http { action: format!("read {key}"), source };
                bytes.map(|bytes| Some(bytes.to_vec())).map_err(failed)
            }
            Err(Error::Answer { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the object.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.wire.s3(Method::DELETE, &self.path(key), Vec::new()).await.map(drop)
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }
}

/// Puts a secret and gives its ARN.
pub async fn put_secret(moto: &Moto, text: &str) -> Result<String> {
    let name = Moto::unique("secret");
    let body = json!({"Name": name, "SecretString": text});
    let answer = Wire::to(moto).secrets("CreateSecret", &body).await?;
    answer["ARN"].as_str().map(str::to_owned).ok_or_else(|| Error::Answer {
        action: "CreateSecret".to_owned(),
        status: 200,
        body: answer.to_string(),
    })
}

/// Gives the secret another text, as a rotation ends: the text of AWSCURRENT before becomes AWSPREVIOUS.
pub async fn change_secret(moto: &Moto, secret: &str, text: &str) -> Result<()> {
    let body = json!({"SecretId": secret, "SecretString": text});
    Wire::to(moto).secrets("PutSecretValue", &body).await.map(drop)
}

/// The text that carries a label, `AWSCURRENT` say; `None` when none does.
pub async fn secret_text(moto: &Moto, secret: &str, label: &str) -> Result<Option<String>> {
    let body = json!({"SecretId": secret, "VersionStage": label});
    match Wire::to(moto).secrets("GetSecretValue", &body).await {
        Ok(answer) => Ok(answer["SecretString"].as_str().map(str::to_owned)),
        Err(Error::Answer { body, .. }) if body.contains("ResourceNotFound") => Ok(None),
        Err(error) => Err(error),
    }
}
