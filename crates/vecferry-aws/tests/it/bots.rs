//! The registry on DynamoDB: what it lists of a table like Bedrock Chat's, and what it writes.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vecferry_aws::{DynamoBots, DynamoOptions, TableRole};
use vecferry_core::bot::{BotKey, DocumentAddress, SyncRecord, SyncStatus};
use vecferry_core::reembed::registry::{BotRegistry, Expected, Listing, Written};
use vecferry_core::{Class, Error};
use vecferry_testkit::chat::{ChatBot, ChatTable, Release, alias, conversation, ghost};
use vecferry_testkit::{Dynamo, MOTO_ACCOUNT, moto};

use crate::interruption::{Fate, Interruption};
use crate::rig::account;

async fn registry(table: &ChatTable, options: DynamoOptions) -> DynamoBots {
    DynamoBots::new(&account(moto().await.endpoint()).await, table.name(), options)
}

pub(super) fn key(owner: &str, id: &str) -> BotKey {
    BotKey { owner: owner.to_owned(), id: id.to_owned() }
}

pub(super) fn record(status: SyncStatus, reason: &str, exec_id: &str) -> SyncRecord {
    SyncRecord { status, reason: reason.to_owned(), exec_id: exec_id.to_owned() }
}

/// Bots of every release, a tenth of them without documents or of a knowledge base, five conversations for each, and
/// aliases.
pub(super) fn crowd(bots: u64) -> Vec<Value> {
    let mut items = Vec::new();
    for number in 0..bots {
        let owner = format!("user-{}", number % 97);
        let mut bot = ChatBot::new(&owner, &format!("{number:026}"));
        bot.last_used += number;
        if number % 20 != 0 {
            bot = bot.files(&["a.pdf", "b.pdf"]).pages(&["https://example.com/"]);
        }
        bot.knowledge_base = (number % 20 == 1).then(|| Some("KB".to_owned()));
        let releases = &Release::ALL[1..];
        let release = match bot.knowledge_base {
            Some(_) => Release::V1_4,
            None => releases[number as usize % releases.len()],
        };
        items.push(bot.item(release));
        items.extend((0..5).map(|talk| conversation(&owner, &format!("{number}-{talk}"), 400)));
    }
    items.extend((0..30).map(|number| alias("user-0", &format!("{number:026}"))));
    items
}

fn check_crowd(listing: &Listing, bots: usize) {
    let ids: BTreeSet<&str> = listing.bots.iter().map(|bot| bot.key.id.as_str()).collect();
    assert_eq!((listing.bots.len(), ids.len()), (bots * 9 / 10, bots * 9 / 10));
    assert_eq!(listing.without_documents.len(), bots / 20);
    assert_eq!(listing.knowledge_base.len(), bots / 20);
    assert_eq!(listing.aliases, 30);
    assert_eq!(listing.odd, []);
    assert!(listing.bots.is_sorted_by_key(|bot| &bot.key), "by owner and id");
    assert!(listing.bots.iter().all(|bot| bot.documents.len() == 3));
}

#[tokio::test]
async fn a_thousand_bots_are_found_among_five_thousand_conversations() {
    let table = ChatTable::create(moto().await).await.unwrap();
    table.put_all(&crowd(1000)).await.unwrap();
    let small = DynamoOptions { page_items: Some(170), segments: 3, ..DynamoOptions::default() };
    let listing = registry(&table, small).await.list().await.unwrap();
    check_crowd(&listing, 1000);
    let whole = DynamoOptions { full_scan: true, ..DynamoOptions::default() };
    assert_eq!(registry(&table, whole).await.list().await.unwrap(), listing);
}

#[tokio::test]
async fn every_bot_is_listed_whatever_the_pages_segments_and_index() {
    let indexed = ChatTable::create(moto().await).await.unwrap();
    let plain = ChatTable::create_without_index(moto().await).await.unwrap();
    for table in [indexed, plain] {
        table.put_all(&crowd(60)).await.unwrap();
        for (segments, page_items) in [(1, Some(40)), (4, Some(30)), (0, None)] {
            let options = DynamoOptions { segments, page_items, full_scan: false };
            check_crowd(&registry(&table, options).await.list().await.unwrap(), 60);
        }
    }
}

#[tokio::test]
async fn the_index_is_read_and_a_full_scan_finds_what_it_cannot_hold() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let mut unused = ChatBot::new("user", "never-used").files(&["a.pdf"]).item(Release::V1_4);
    unused.as_object_mut().unwrap().remove("LastBotUsed");
    let mut strange = ChatBot::new("user", "strange").item(Release::V1_4);
    strange["Knowledge"] = json!({"S": "?"});
    table.put_all(&[unused, strange, ghost("user", "gone")]).await.unwrap();

    let listing = registry(&table, DynamoOptions::default()).await.list().await.unwrap();
    assert_eq!(listing.bots, []);
    let odd: Vec<&str> = listing.odd.iter().map(|odd| odd.key.as_str()).collect();
    assert_eq!(odd, ["PK=user SK=user#BOT#strange"]);

    let whole = DynamoOptions { full_scan: true, ..DynamoOptions::default() };
    let listing = registry(&table, whole).await.list().await.unwrap();
    let ids: Vec<&str> = listing.bots.iter().map(|bot| bot.key.id.as_str()).collect();
    assert_eq!(ids, ["never-used"]);
    let odd: Vec<&str> = listing.odd.iter().map(|odd| odd.key.as_str()).collect();
    assert_eq!(odd, ["PK=user SK=user#BOT#gone", "PK=user SK=user#BOT#strange"]);
}

#[tokio::test]
async fn an_empty_table_has_no_bots_and_a_missing_one_is_told() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let registry = registry(&table, DynamoOptions::default()).await;
    assert_eq!(registry.list().await.unwrap(), Listing::default());
    assert_eq!(registry.describe(), format!("DynamoDB table {} in us-east-1", table.name()));
    assert!(registry.keeps_sync());

    let account = account(moto().await.endpoint()).await;
    let missing = DynamoBots::new(&account, "nowhere", DynamoOptions::default());
    let Err(Error::Configuration { what, .. }) = missing.list().await else {
        panic!("a missing table is a mistake of the settings")
    };
    assert_eq!(what, "DynamoDB table nowhere in us-east-1: there is no such table");
    let error = missing.get(&key("user", "bot")).await.unwrap_err();
    assert!(matches!(error, Error::Service { class: Class::Operator, .. }), "{error:?}");
}

#[tokio::test]
async fn one_bot_is_read_as_it_is_now() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let registry = registry(&table, DynamoOptions::default()).await;
    let bot = ChatBot::new("user", "bot").pages(&["https://youtu.be/dQw4w9WgXcQ"]);
    table.put(&bot.item(Release::V1_0)).await.unwrap();
    let read = registry.get(&key("user", "bot")).await.unwrap().unwrap();
    assert_eq!(read.documents, [DocumentAddress::Video("dQw4w9WgXcQ".to_owned())]);
    assert_eq!(read.sync, Some(record(SyncStatus::Succeeded, "", "exec")));

    table.put(&ChatBot::new("user", "bare").item(Release::V0_3)).await.unwrap();
    let bare = registry.get(&key("user", "bare")).await.unwrap().unwrap();
    assert_eq!((bare.documents, bare.sync), (Vec::new(), None));

    table.delete("user", "bot").await.unwrap();
    table.put(&ghost("user", "ghost")).await.unwrap();
    for gone in ["bot", "ghost", "never"] {
        assert_eq!(registry.get(&key("user", gone)).await.unwrap(), None, "{gone}");
    }

    let mut served = ChatBot::new("user", "served").files(&["a.pdf"]);
    served.knowledge_base = Some(None);
    table.put(&served.item(Release::V1_4)).await.unwrap();
    let error = registry.get(&key("user", "served")).await.unwrap_err().to_string();
    assert!(error.ends_with("a Bedrock Knowledge Base serves it"), "{error}");
}

/// What becomes of writing RUNNING as `me` under each expectation, to a bot in this state.
async fn written(table: &ChatTable, status: &str, exec_id: &str) -> [Written; 4] {
    let registry = registry(table, DynamoOptions::default()).await;
    let ours = record(SyncStatus::Running, "", "me");
    let expectations =
        [Expected::Exists, Expected::Idle, Expected::Exec("mine"), Expected::Exec("")];
    let mut outcomes = Vec::new();
    for expected in expectations {
        let mut bot = ChatBot::new("user", "bot");
        (bot.status, bot.exec_id) = (status.to_owned(), exec_id.to_owned());
        let before = bot.item(Release::V1_4);
        table.put(&before).await.unwrap();
        let outcome = registry.write_sync(&key("user", "bot"), expected, &ours).await.unwrap();
        let mut after = before;
        if outcome == Written::Done {
            after["SyncStatus"] = json!({"S": "RUNNING"});
            after["LastExecId"] = json!({"S": "me"});
        }
        assert_eq!(table.item("user", "bot").await.unwrap(), Some(after), "nothing else changes");
        outcomes.push(outcome);
    }
    outcomes.try_into().unwrap()
}

#[tokio::test]
async fn a_record_is_written_only_over_the_expected_one() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let changed = |status, exec| Written::Changed(Some(record(status, "", exec)));
    let done = || Written::Done;

    let idle = |status| changed(status, "exec");
    for (word, status) in [("SUCCEEDED", SyncStatus::Succeeded), ("FAILED", SyncStatus::Failed)] {
        let expected = [done(), done(), idle(status), idle(status)];
        assert_eq!(written(&table, word, "exec").await, expected, "{word}");
    }
    for (word, status) in [("QUEUED", SyncStatus::Queued), ("RUNNING", SyncStatus::Running)] {
        let expected = [done(), idle(status), idle(status), idle(status)];
        assert_eq!(written(&table, word, "exec").await, expected, "{word}");
    }
    let mine = changed(SyncStatus::Running, "mine");
    assert_eq!(written(&table, "RUNNING", "mine").await, [done(), mine.clone(), done(), mine]);
    let queued = changed(SyncStatus::Queued, "");
    assert_eq!(written(&table, "QUEUED", "").await, [done(), queued.clone(), queued, done()]);
}

#[tokio::test]
async fn a_bot_without_a_record_is_idle() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let registry = registry(&table, DynamoOptions::default()).await;
    let key = key("user", "bot");
    let ours = record(SyncStatus::Running, "", "token");
    for expected in [Expected::Idle, Expected::Exec("")] {
        table.put(&ChatBot::new("user", "bot").item(Release::V0_3)).await.unwrap();
        let other = registry.write_sync(&key, Expected::Exec("x"), &ours).await.unwrap();
        assert_eq!(other, Written::Changed(None));
        assert_eq!(registry.write_sync(&key, expected, &ours).await.unwrap(), Written::Done);
        assert_eq!(registry.get(&key).await.unwrap().unwrap().sync, Some(ours.clone()));
    }
}

#[tokio::test]
async fn a_bot_that_was_deleted_stays_deleted() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let registry = registry(&table, DynamoOptions::default()).await;
    table.put(&ChatBot::new("user", "bot").files(&["a"]).item(Release::V1_4)).await.unwrap();
    assert_eq!(registry.list().await.unwrap().bots.len(), 1);
    table.delete("user", "bot").await.unwrap();
    table.put(&ghost("user", "ghost")).await.unwrap();
    let ours = record(SyncStatus::Succeeded, "", "late");
    for id in ["bot", "ghost"] {
        for expected in [Expected::Exists, Expected::Idle, Expected::Exec("late")] {
            let written = registry.write_sync(&key("user", id), expected, &ours).await.unwrap();
            assert_eq!(written, Written::Gone, "{id} {expected:?}");
        }
    }
    assert_eq!(table.item("user", "bot").await.unwrap(), None);
    assert_eq!(table.item("user", "ghost").await.unwrap(), Some(ghost("user", "ghost")));
}

#[tokio::test]
async fn of_many_claims_one_succeeds() {
    // moto looks at the condition and writes in two steps, between which another claim may come.
    let dynamo = Dynamo::start().unwrap();
    let table = ChatTable::create_in(&dynamo).await.unwrap();
    let account = account(&dynamo.endpoint()).await;
    let registry = DynamoBots::new(&account, table.name(), DynamoOptions::default());
    table.put(&ChatBot::new("user", "bot").item(Release::V1_4)).await.unwrap();
    let key = key("user", "bot");
    let claims = (0..8).map(|number| {
        let (registry, key) = (registry.clone(), key.clone());
        async move {
            let ours = record(SyncStatus::Running, "", &format!("token-{number}"));
            registry.write_sync(&key, Expected::Idle, &ours).await.unwrap()
        }
    });
    let outcomes = futures_util::future::join_all(claims).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Written::Done).count(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_done() {
    let table = ChatTable::create(moto().await).await.unwrap();
    table.put(&ChatBot::new("user", "bot").item(Release::V1_4)).await.unwrap();
    let way = Interruption::before(moto().await.endpoint());
    let registry =
        DynamoBots::new(&account(way.endpoint()).await, table.name(), DynamoOptions::default());
    let ours = record(SyncStatus::Running, &"long ".repeat(300), "token");
    way.next(&[Fate::AnswerLost]);
    let key = key("user", "bot");
    let written = registry.write_sync(&key, Expected::Idle, &ours).await.unwrap();
    assert_eq!((written, way.requests()), (Written::Done, 2));
    let reason = table.text("user", "bot", "SyncStatusReason").await.unwrap().unwrap();
    assert!(reason.chars().count() == 1000 && reason.ends_with('…'), "{reason}");
}

#[tokio::test]
async fn a_throttled_table_is_read_in_the_end() {
    let table = ChatTable::create(moto().await).await.unwrap();
    table.put(&ChatBot::new("user", "bot").files(&["a"]).item(Release::V1_4)).await.unwrap();
    let way = Interruption::before(moto().await.endpoint());
    let options = DynamoOptions { segments: 2, ..DynamoOptions::default() };
    let registry = DynamoBots::new(&account(way.endpoint()).await, table.name(), options);
    way.next(&[Fate::Throttled; 3]);
    assert_eq!(registry.list().await.unwrap().bots.len(), 1);
    assert_eq!(way.requests(), 3 + 1 + 2, "described, and read in two segments");
}

#[tokio::test]
async fn the_table_is_reached_through_the_applications_role() {
    use aws_sdk_sts::config::ProvideCredentials;

    let table = ChatTable::create(moto().await).await.unwrap();
    table.put(&ChatBot::new("user", "bot").item(Release::V1_4)).await.unwrap();
    let role = TableRole::new(format!("arn:aws:iam::{MOTO_ACCOUNT}:role/TableAccessRole"));
    let own = account(moto().await.endpoint()).await;
    let session = role.assume(&own, table.name(), "user").await.unwrap();

    let provider = session.config().credentials_provider().unwrap();
    let credentials = provider.provide_credentials().await.unwrap();
    assert!(credentials.session_token().is_some() && credentials.access_key_id() != "testing");
    assert!(credentials.expiry().is_some(), "so that they are fetched again before they end");

    let registry = DynamoBots::new(&session, table.name(), DynamoOptions::default());
    let bot = key("user", "bot");
    assert!(registry.get(&bot).await.unwrap().is_some());
    let ours = record(SyncStatus::Running, "", "task");
    assert_eq!(registry.write_sync(&bot, Expected::Exists, &ours).await.unwrap(), Written::Done);
}
