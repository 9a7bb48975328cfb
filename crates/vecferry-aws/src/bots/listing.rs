//! Every bot of the table: a scan in segments, of the index that holds bots and aliases only where there is one.
//!
//! The table is mostly conversations, by count and far more by size, and a scan pays for what it reads, not for what it
//! returns. The local index `LastBotUsedIndex` is sparse: it holds the items that have `LastBotUsed`, which are the
//! bots and their aliases, with all their attributes. The application moves an item forward in it whenever the bot is
//! used, so one that is used during the scan may be met twice, never missed: what was met is kept by its key.

use std::collections::{BTreeMap, HashSet};

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{KeyType, ProjectionType, TableDescription};
use futures_util::stream::{FuturesUnordered, TryStreamExt};
use vecferry_core::Result;
use vecferry_core::reembed::registry::{Listing, OddItem};

use super::item::{self, Found, Item, understand};
use super::{DynamoBots, Projection, SERVICE};
use crate::failure::failed;

/// The index that the application lists a user's bots by.
const INDEX: &str = "LastBotUsedIndex";

/// Reads the table.
pub(super) async fn list(registry: &DynamoBots) -> Result<Listing> {
    let index = index(registry).await?;
    let segments = i32::from(registry.options.segments.max(1));
    let met: FuturesUnordered<_> =
        (0..segments).map(|segment| scan(registry, index, (segment, segments))).collect();
    let met = met
        .try_fold(Met::default(), |mut all, segment| async move {
            all.add(segment);
            Ok(all)
        })
        .await?;
    Ok(met.listing())
}

/// Which index to read; `None` for the table itself.
async fn index(registry: &DynamoBots) -> Result<Option<&'static str>> {
    let answer = registry.client.describe_table().table_name(&registry.table).send().await;
    let table = match answer {
        Ok(answer) => answer.table,
        Err(error) => match code(&error) {
            Some("ResourceNotFoundException") => {
                return Err(registry.unusable("there is no such table"));
            }
            // Whoever may scan it may not always describe it; then the table alone says what is in it.
            Some("AccessDeniedException") => {
                tracing::warn!(table = registry.table, "describing the table is not allowed");
                return Ok(None);
            }
            _ => {
                let doing = format!("describe the table {}", registry.table);
                return Err(failed(SERVICE, doing, &error));
            }
        },
    };
    let Some(table) = table else { return Ok(None) };
    if !has_key(&table) {
        return Err(registry.unusable("it is not Bedrock Chat's, whose key is PK and SK"));
    }
    Ok((!registry.options.full_scan && has_index(&table)).then_some(INDEX))
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

fn has_key(table: &TableDescription) -> bool {
    let is = |name: &str, kind: KeyType| {
        table.key_schema().iter().any(|key| key.attribute_name() == name && *key.key_type() == kind)
    };
    is("PK", KeyType::Hash) && is("SK", KeyType::Range)
}

/// An index that lacks attributes would have to be completed item by item.
fn has_index(table: &TableDescription) -> bool {
    let complete = |projection: &aws_sdk_dynamodb::types::Projection| {
        projection.projection_type() == Some(&ProjectionType::All)
    };
    table
        .local_secondary_indexes()
        .iter()
        .any(|index| index.index_name() == Some(INDEX) && index.projection().is_some_and(complete))
}

/// Reads one segment of `(which, of how many)`, page after page.
async fn scan(
    registry: &DynamoBots,
    index: Option<&'static str>,
    (segment, segments): (i32, i32),
) -> Result<Met> {
    let mut met = Met::default();
    let mut from: Option<Item> = None;
    loop {
        let projection = Projection::of(&item::READ);
        let page = registry
            .client
            .scan()
            .table_name(&registry.table)
            .set_index_name(index.map(str::to_owned))
            .segment(segment)
            .total_segments(segments)
            .set_limit(registry.options.page_items.map(i32::from))
            .set_exclusive_start_key(from)
            // Of aliases, too: `#BOT_ALIAS#`. So that conversations do not travel.
            .filter_expression("contains(#SK, :bot)")
            .expression_attribute_values(":bot", super::AttributeValue::S("#BOT".to_owned()))
            .projection_expression(projection.expression)
            .set_expression_attribute_names(Some(projection.names))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| {
                failed(SERVICE, format!("read the table {}", registry.table), &error)
            })?;
        page.items().iter().for_each(|item| met.meet(item));
        from = page.last_evaluated_key.filter(|key| !key.is_empty());
        if from.is_none() {
            return Ok(met);
        }
    }
}

/// What was met, by partition and sort key: once each, in that order.
#[derive(Debug, Default)]
struct Met(BTreeMap<(String, String), Found>);

impl Met {
    fn meet(&mut self, item: &Item) {
        let part = |name| match item.get(name) {
            Some(super::AttributeValue::S(text)) => text.clone(),
            _ => String::new(),
        };
        self.0.insert((part("PK"), part("SK")), understand(item));
    }

    fn add(&mut self, mut other: Met) {
        self.0.append(&mut other.0);
    }

    fn listing(self) -> Listing {
        let twins = self.twins();
        let mut listing = Listing::default();
        for ((owner, sort), found) in self.0 {
            match found {
                Found::Bot(bot) if twins.contains(&bot.key.id) => listing.odd.push(OddItem {
                    key: format!("PK={owner} SK={sort}"),
                    why: "another owner has a bot of this id, and rows name a bot by its id alone"
                        .into(),
                }),
                Found::Bot(bot) if bot.documents.is_empty() => {
                    listing.without_documents.push(bot.key);
                }
                Found::Bot(bot) => listing.bots.push(bot),
                Found::KnowledgeBase(key) => listing.knowledge_base.push(key),
                Found::Alias => listing.aliases += 1,
                Found::Ghost(odd) | Found::Odd(odd) => listing.odd.push(odd),
                Found::Other => {}
            }
        }
        listing
    }

    /// Ids that several bots have: the rows of one would take the other's away, and prove it.
    fn twins(&self) -> HashSet<String> {
        let mut seen = HashSet::new();
        let ids = self.0.values().filter_map(|found| match found {
            Found::Bot(bot) => Some(bot.key.id.as_str()),
            _ => None,
        });
        ids.filter(|id| !seen.insert(*id)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::AttributeValue;

    fn item(owner: &str, sort: &str, title: &str) -> Item {
        [("PK", owner), ("SK", sort), ("Title", title)]
            .into_iter()
            .map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned())))
            .collect()
    }

    #[test]
    fn a_bot_that_was_met_twice_is_listed_once_as_it_was_met_last() {
        let mut met = Met::default();
        met.meet(&item("u", "u#BOT#2", "old"));
        met.meet(&item("u", "u#BOT_ALIAS#2", "alias"));
        let mut later = Met::default();
        later.meet(&item("u", "u#BOT#2", "new"));
        later.meet(&item("u", "u#BOT_ALIAS#2", "alias"));
        later.meet(&item("u", "u#BOT#1", "first by key"));
        met.add(later);
        let listing = met.listing();
        let ids: Vec<&str> = listing.without_documents.iter().map(|key| key.id.as_str()).collect();
        assert_eq!((ids, listing.aliases), (vec!["1", "2"], 1));
    }

    #[test]
    fn bots_of_one_id_are_no_bots_to_embed_whoever_owns_them() {
        let mut met = Met::default();
        for (owner, sort) in [("ann", "ann#BOT#1"), ("ben", "ben#BOT#1"), ("ben", "ben#BOT#2")] {
            met.meet(&item(owner, sort, "title"));
        }
        let listing = met.listing();
        let keys: Vec<&str> = listing.odd.iter().map(|odd| odd.key.as_str()).collect();
        assert_eq!(keys, ["PK=ann SK=ann#BOT#1", "PK=ben SK=ben#BOT#1"]);
        assert_eq!(listing.without_documents.len(), 1);
    }
}
