//! The same items in moto and in the testkit's own DynamoDB: the registry says the same of both, which is what makes
//! the faster one fit for long runs.

use serde_json::{Value, json};
use vecferry_aws::{DynamoBots, DynamoOptions};
use vecferry_core::bot::SyncStatus;
use vecferry_core::reembed::registry::{BotRegistry, Expected, Listing, Written};
use vecferry_testkit::chat::{ChatBot, ChatTable, Release, ghost};
use vecferry_testkit::{Dynamo, moto};

use crate::bots::{crowd, key, record};
use crate::rig::account;

/// A table and the address of who keeps it.
type Kept = (ChatTable, String);

/// A table in each, with these items.
async fn both(dynamo: &Dynamo, items: &[Value]) -> [Kept; 2] {
    let moto = moto().await;
    let tables = [
        (ChatTable::create(moto).await.unwrap(), moto.endpoint().to_owned()),
        (ChatTable::create_in(dynamo).await.unwrap(), dynamo.endpoint()),
    ];
    for (table, _) in &tables {
        table.put_all(items).await.unwrap();
    }
    tables
}

async fn registry((table, endpoint): &Kept, options: DynamoOptions) -> DynamoBots {
    DynamoBots::new(&account(endpoint).await, table.name(), options)
}

#[tokio::test]
async fn both_list_the_same_items_alike_whatever_the_pages_and_segments() {
    let dynamo = Dynamo::start().unwrap();
    let mut items = crowd(120);
    let mut strange = ChatBot::new("user", "strange").item(Release::V1_4);
    strange["Knowledge"] = json!({"S": "?"});
    items.extend([strange, ghost("user", "gone"), ChatBot::new("u", "old").item(Release::V0_3)]);
    let tables = both(&dynamo, &items).await;
    for full_scan in [false, true] {
        for (segments, page_items) in [(1, None), (3, Some(50)), (4, None)] {
            let options = DynamoOptions { full_scan, segments, page_items };
            let mut listings: Vec<Listing> = Vec::new();
            for table in &tables {
                listings.push(registry(table, options).await.list().await.unwrap());
            }
            assert_eq!(listings[0], listings[1], "{options:?}");
            assert_eq!(listings[1].odd.len(), if full_scan { 2 } else { 1 }, "{options:?}");
        }
    }
    assert!(dynamo.calls()["Scan"] > 20, "{:?}", dynamo.calls());
}

#[tokio::test]
async fn both_write_a_record_and_refuse_it_alike() {
    let dynamo = Dynamo::start().unwrap();
    let tables = both(&dynamo, &[ghost("user", "ghost")]).await;
    let ours = record(SyncStatus::Running, "", "me");
    let expectations =
        [Expected::Exists, Expected::Idle, Expected::Exec("mine"), Expected::Exec("")];
    for (status, exec) in
        [("SUCCEEDED", "exec"), ("QUEUED", ""), ("RUNNING", "mine"), ("RUNNING", "me"), ("?", "")]
    {
        for expected in expectations {
            let mut outcomes = Vec::new();
            for kept in &tables {
                let mut bot = ChatBot::new("user", "bot");
                (bot.status, bot.exec_id) = (status.to_owned(), exec.to_owned());
                kept.0.put(&bot.item(Release::V1_4)).await.unwrap();
                let registry = registry(kept, DynamoOptions::default()).await;
                let written = registry.write_sync(&key("user", "bot"), expected, &ours).await;
                outcomes.push((written.unwrap(), kept.0.item("user", "bot").await.unwrap()));
            }
            assert_eq!(outcomes[0], outcomes[1], "{status} {exec:?} {expected:?}");
        }
    }
    for kept in &tables {
        let registry = registry(kept, DynamoOptions::default()).await;
        for id in ["ghost", "never"] {
            let written = registry.write_sync(&key("user", id), Expected::Exists, &ours).await;
            assert_eq!(written.unwrap(), Written::Gone, "{id} in {}", kept.1);
        }
        kept.0.delete("user", "ghost").await.unwrap();
        assert_eq!(registry.get(&key("user", "ghost")).await.unwrap(), None);
    }
}
