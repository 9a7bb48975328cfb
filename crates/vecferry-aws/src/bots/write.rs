//! The state of a bot's embedding, written under a condition: one update, which DynamoDB checks and does in one step.
//!
//! The application's own writes have no condition and make an item of a bot that was deleted meanwhile. Ours require
//! a `Title`, which every bot has and such a ghost has not. QUEUED is never to be written: it is what starts the
//! application's own tasks.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure as OnConditionCheckFailure,
};
use vecferry_core::Result;
use vecferry_core::bot::{BotKey, SyncRecord, SyncStatus};
use vecferry_core::reembed::registry::{Expected, Written};

use super::item::{self, Item};
use super::{DynamoBots, SERVICE, key_of};
use crate::failure::failed;

/// Longest reason, in characters: the application shows it in one piece, in a tooltip.
const LONGEST_REASON: usize = 1000;

/// Writes the record if the one that is there is as expected.
pub(super) async fn write_sync(
    registry: &DynamoBots,
    key: &BotKey,
    expected: Expected<'_>,
    record: &SyncRecord,
) -> Result<Written> {
    let record = SyncRecord { reason: shortened(&record.reason), ..record.clone() };
    let update = Update::new(expected, &record);
    let answer = registry
        .client
        .update_item()
        .table_name(&registry.table)
        .set_key(Some(key_of(key)))
        .update_expression("SET #status = :status, #reason = :reason, #exec = :exec")
        .condition_expression(update.condition)
        .set_expression_attribute_names(Some(update.names))
        .set_expression_attribute_values(Some(update.values))
        .return_values_on_condition_check_failure(OnConditionCheckFailure::AllOld)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(Written::Done),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                Ok(refused(refusal.item(), &record))
            }
            _ => {
                let doing = format!("write the state of the bot {key}");
                Err(failed(SERVICE, doing, &error))
            }
        },
    }
}

/// What a refusal means, by the item that was there.
fn refused(item: Option<&Item>, record: &SyncRecord) -> Written {
    let Some(item) = item.filter(|item| !item.is_empty() && !item::is_ghost(item)) else {
        return Written::Gone;
    };
    match item::sync(item) {
        // Our own first attempt, whose answer was lost, was the change that its repetition met.
        Ok(Some(there)) if there == *record => Written::Done,
        Ok(there) => Written::Changed(there),
        // A word that is not known is not what was expected, and cannot be handed on.
        Err(_) => Written::Changed(None),
    }
}

/// The expressions of an update, whose attributes go by names of their own.
struct Update {
    condition: String,
    names: HashMap<String, String>,
    values: Item,
}

impl Update {
    fn new(expected: Expected<'_>, record: &SyncRecord) -> Update {
        let mut values = vec![
            (":status", record.status.as_str()),
            (":reason", &record.reason),
            (":exec", &record.exec_id),
        ];
        let more = match expected {
            Expected::Exists => "",
            Expected::Idle => {
                values.push((":queued", SyncStatus::Queued.as_str()));
                values.push((":running", SyncStatus::Running.as_str()));
                " AND (attribute_not_exists(#status) OR NOT #status IN (:queued, :running))"
            }
            Expected::Exec(exec_id) => {
                values.push((":expected", exec_id));
                // A bot that never had a task has no such attribute, or an empty one.
                match exec_id.is_empty() {
                    true => " AND (attribute_not_exists(#exec) OR #exec = :expected)",
                    false => " AND #exec = :expected",
                }
            }
        };
        let names = [
            ("#title", "Title"),
            ("#status", "SyncStatus"),
            ("#reason", "SyncStatusReason"),
            ("#exec", "LastExecId"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let value =
            |(name, text): (&str, &str)| (name.to_owned(), AttributeValue::S(text.to_owned()));
        Update {
            condition: format!("attribute_exists(#title){more}"),
            names: names.into_iter().map(owned).collect(),
            values: values.into_iter().map(value).collect(),
        }
    }
}

/// The reason, cut between characters where it is too long.
fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        None => reason.to_owned(),
        Some(_) => reason.chars().take(LONGEST_REASON - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: SyncStatus, exec_id: &str) -> SyncRecord {
        SyncRecord { status, reason: String::new(), exec_id: exec_id.to_owned() }
    }

    fn item(attributes: &[(&str, &str)]) -> Item {
        let value = |text: &str| AttributeValue::S(text.to_owned());
        attributes.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
    }

    #[test]
    fn a_refusal_says_what_was_there() {
        let ours = record(SyncStatus::Running, "me");
        assert_eq!(refused(None, &ours), Written::Gone);
        assert_eq!(refused(Some(&Item::new()), &ours), Written::Gone);
        let ghost = item(&[("SyncStatus", "FAILED"), ("LastExecId", "late")]);
        assert_eq!(refused(Some(&ghost), &ours), Written::Gone);

        let bot =
            |status, exec| item(&[("Title", "t"), ("SyncStatus", status), ("LastExecId", exec)]);
        let other = record(SyncStatus::Queued, "me");
        assert_eq!(refused(Some(&bot("QUEUED", "me")), &ours), Written::Changed(Some(other)));
        let other = record(SyncStatus::Running, "other");
        assert_eq!(refused(Some(&bot("RUNNING", "other")), &ours), Written::Changed(Some(other)));
        assert_eq!(refused(Some(&item(&[("Title", "t")])), &ours), Written::Changed(None));
        assert_eq!(refused(Some(&bot("STRANGE", "me")), &ours), Written::Changed(None));
    }

    #[test]
    fn a_write_that_finds_itself_was_done_before() {
        let ours = record(SyncStatus::Running, "me");
        let there = item(&[
            ("Title", "t"),
            ("SyncStatus", "RUNNING"),
            ("SyncStatusReason", ""),
            ("LastExecId", "me"),
        ]);
        assert_eq!(refused(Some(&there), &ours), Written::Done);
    }

    #[test]
    fn every_name_and_value_of_an_update_is_used() {
        // DynamoDB refuses an expression with a name or a value too many.
        for expected in
            [Expected::Exists, Expected::Idle, Expected::Exec("task"), Expected::Exec("")]
        {
            let update = Update::new(expected, &record(SyncStatus::Failed, "me"));
            let text = format!("{} :status :reason :exec #status #reason #exec", update.condition);
            for name in update.names.keys().chain(update.values.keys()) {
                assert!(text.contains(name.as_str()), "{name} in {text}");
            }
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let exact = "ż".repeat(LONGEST_REASON);
        assert_eq!(shortened(&exact), exact);
        let long = shortened(&"ż".repeat(LONGEST_REASON + 1));
        assert_eq!(long.chars().count(), LONGEST_REASON);
        assert!(long.ends_with("ż…"));
    }
}
