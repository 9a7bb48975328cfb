//! An item of Bedrock Chat's table, understood: pure, over what DynamoDB sent.
//!
//! Every version of the application writes items of its own, and later ones read all of them, so what is absent has a
//! meaning: bots before 0.4 have no `Knowledge` and no `SyncStatus`, bots before 0.4.6 no `EmbeddingParams`, bots
//! before 1.2.5 no `s3_urls` (`repositories/custom_bot.py` of <https://github.com/aws-samples/bedrock-chat>). What is
//! present and not understood is never guessed at: a bot is odd rather than embedded without half of its documents.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress, Splitting, SyncRecord, SyncStatus};
use vecferry_core::reembed::registry::OddItem;
use vecferry_embed::web::video_id;

/// Attributes by name.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Attributes that are read, and no others: `Instruction` and a conversation's messages are large and nobody's
/// business. `Description` is not needed.
pub(super) const READ: [&str; 10] = [
    "PK",
    "SK",
    "Title",
    "OriginalBotId",
    "Knowledge",
    "EmbeddingParams",
    "BedrockKnowledgeBase",
    "SyncStatus",
    "SyncStatusReason",
    "LastExecId",
];

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A bot whose knowledge, if it has any, is in PostgreSQL.
    Bot(Bot),
    /// A bot that Bedrock serves. The application asks Bedrock as soon as the item has `BedrockKnowledgeBase`, whether
    /// the knowledge base is made already (`knowledge_base_id`) or not, and never PostgreSQL again.
    KnowledgeBase(BotKey),
    /// Another user's use of a public bot.
    Alias,
    /// Left by a task that wrote its state after the bot was deleted; the bot is gone.
    Ghost(OddItem),
    /// Neither bot nor alias.
    Other,
    /// It should be a bot and is not understood.
    Odd(OddItem),
}

/// The sort key of a bot.
pub(super) fn sort_key(key: &BotKey) -> String {
    format!("{}#BOT#{}", key.owner, key.id)
}

/// Says what an item is.
pub(super) fn understand(item: &Item) -> Found {
    let (Some(owner), Some(sort)) = (text(item, "PK"), text(item, "SK")) else {
        return Found::Odd(OddItem { key: printed(item), why: "PK or SK is not a text".into() });
    };
    let Some(rest) = sort.strip_prefix(owner).and_then(|rest| rest.strip_prefix('#')) else {
        return odd(item, "SK does not begin with PK and #");
    };
    if rest.starts_with("BOT_ALIAS#") {
        return Found::Alias;
    }
    let Some(id) = rest.strip_prefix("BOT#") else { return Found::Other };
    if id.is_empty() || id.contains('#') {
        return odd(item, "SK is not <PK>#BOT#<id>");
    }
    // The application takes such an item for an alias whatever its key says.
    if text(item, "OriginalBotId").is_some_and(|original| !original.is_empty()) {
        return Found::Alias;
    }
    let key = BotKey { owner: owner.to_owned(), id: id.to_owned() };
    if is_ghost(item) {
        let why = "there is no Title: a task wrote its state after the bot was deleted".to_owned();
        return Found::Ghost(OddItem { key: printed(item), why });
    }
    if present(item, "BedrockKnowledgeBase").is_some() {
        return Found::KnowledgeBase(key);
    }
    match bot(key, item) {
        Ok(bot) => Found::Bot(bot),
        Err(why) => odd(item, &why),
    }
}

/// Whether nothing but a task's state is in a bot's item.
pub(super) fn is_ghost(item: &Item) -> bool {
    present(item, "Title").is_none() && present(item, "Knowledge").is_none()
}

/// The application's record of the last embedding; `None` when there is none, an error names the attribute.
pub(super) fn sync(item: &Item) -> Result<Option<SyncRecord>, String> {
    let Some(status) = present(item, "SyncStatus") else { return Ok(None) };
    let status = status.as_s().ok().and_then(|word| SyncStatus::parse(word));
    let status = status.ok_or("SyncStatus is none of QUEUED, RUNNING, SUCCEEDED, FAILED")?;
    let optional = |name: &str| match present(item, name) {
        None => Ok(String::new()),
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} is not a text")),
    };
    let (reason, exec_id) = (optional("SyncStatusReason")?, optional("LastExecId")?);
    Ok(Some(SyncRecord { status, reason, exec_id }))
}

fn bot(key: BotKey, item: &Item) -> Result<Bot, String> {
    Ok(Bot {
        key,
        title: text(item, "Title").ok_or("Title is missing or not a text")?.to_owned(),
        documents: documents(item)?,
        splitting: splitting(item)?,
        sync: sync(item)?,
    })
}

/// What an entry of a list is.
type Address = fn(&str) -> DocumentAddress;

/// Lists of `Knowledge`, in the order in which the application works through them.
const LISTS: [(&str, Address); 4] = [
    ("source_urls", source),
    ("sitemap_urls", |url| DocumentAddress::Sitemap(url.to_owned())),
    ("filenames", |name| DocumentAddress::File(name.to_owned())),
    ("s3_urls", |url| DocumentAddress::S3(url.to_owned())),
];

/// A video is known by its address, and called by its id, as in the application's rows.
fn source(url: &str) -> DocumentAddress {
    match video_id(url) {
        Some(id) => DocumentAddress::Video(id),
        None => DocumentAddress::Page(url.to_owned()),
    }
}

fn documents(item: &Item) -> Result<Vec<DocumentAddress>, String> {
    let Some(knowledge) = present(item, "Knowledge") else { return Ok(Vec::new()) };
    let knowledge = knowledge.as_m().map_err(|_| "Knowledge is not a map")?;
    // A list that a later version knows may hold documents that we would leave out without a word.
    let mut unknown: Vec<&str> = knowledge
        .iter()
        .filter(|(name, value)| !LISTS.iter().any(|(known, _)| known == name) && !is_empty(value))
        .map(|(name, _)| name.as_str())
        .collect();
    unknown.sort_unstable();
    if let Some(name) = unknown.first() {
        return Err(format!("Knowledge.{name} is not known to this version of vecferry"));
    }
    let mut documents = Vec::new();
    for (name, address) in LISTS {
        let Some(list) = present(knowledge, name) else { continue };
        let list = list.as_l().map_err(|_| format!("Knowledge.{name} is not a list"))?;
        for entry in list {
            match entry {
                AttributeValue::S(text) if !text.is_empty() => documents.push(address(text)),
                _ => return Err(format!("Knowledge.{name} holds something that is not a text")),
            }
        }
    }
    let mut seen = HashSet::new();
    documents.retain(|document| seen.insert(document.clone()));
    Ok(documents)
}

fn is_empty(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::L(list) => list.is_empty(),
        AttributeValue::M(map) => map.is_empty(),
        AttributeValue::Null(_) => true,
        _ => false,
    }
}

/// The map, or one of its numbers, may be absent: then the application's default holds.
fn splitting(item: &Item) -> Result<Splitting, String> {
    let default = Splitting::default();
    let Some(parameters) = present(item, "EmbeddingParams") else { return Ok(default) };
    let parameters = parameters.as_m().map_err(|_| "EmbeddingParams is not a map")?;
    let number = |name: &str, default: usize| match present(parameters, name) {
        None => Ok(default),
        Some(value) => value
            .as_n()
            .ok()
            .and_then(|number| whole(number))
            .ok_or_else(|| format!("EmbeddingParams.{name} is not a whole number")),
    };
    let chunk_chars = number("chunk_size", default.chunk_chars)?;
    if chunk_chars == 0 {
        return Err("EmbeddingParams.chunk_size is 0".to_owned());
    }
    Ok(Splitting { chunk_chars, overlap_chars: number("chunk_overlap", default.overlap_chars)? })
}

/// DynamoDB's numbers are decimals: the same thousand may come as `1000`, `1000.0` or `1E+3`.
fn whole(number: &str) -> Option<usize> {
    if let Ok(number) = number.parse() {
        return Some(number);
    }
    let number: f64 = number.parse().ok()?;
    let fits = (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0;
    // In range and without a fraction, so nothing is cut off.
    fits.then_some(number as usize)
}

/// The attribute, unless it is absent or NULL, which the application writes for Python's `None`.
fn present<'a>(map: &'a Item, name: &str) -> Option<&'a AttributeValue> {
    map.get(name).filter(|value| !value.is_null())
}

fn text<'a>(map: &'a Item, name: &str) -> Option<&'a str> {
    map.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

fn odd(item: &Item, why: &str) -> Found {
    Found::Odd(OddItem { key: printed(item), why: why.to_owned() })
}

fn printed(item: &Item) -> String {
    let part = |name| text(item, name).unwrap_or("?");
    format!("PK={} SK={}", part("PK"), part("SK"))
}

#[cfg(test)]
mod tests;
