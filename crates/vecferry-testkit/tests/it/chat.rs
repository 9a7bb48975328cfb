//! What the kit puts into moto as Bedrock Chat's is there, and is read back.

use serde_json::json;
use vecferry_testkit::chat::{ChatBot, ChatBucket, ChatTable, Release, conversation};
use vecferry_testkit::{Error, moto};

#[tokio::test]
async fn a_table_keeps_bots_and_forgets_them() {
    let table = ChatTable::create(moto().await).await.unwrap();
    let bot = ChatBot::new("user", "bot").files(&["a.pdf"]).item(Release::V1_4);
    table.put(&bot).await.unwrap();
    assert_eq!(table.item("user", "bot").await.unwrap(), Some(bot));
    table.set("user", "bot", &[("SyncStatus", "FAILED"), ("LastExecId", "7")]).await.unwrap();
    let status = table.text("user", "bot", "SyncStatus").await.unwrap();
    assert_eq!(status.as_deref(), Some("FAILED"));
    table.delete("user", "bot").await.unwrap();
    assert_eq!(table.item("user", "bot").await.unwrap(), None);

    let many: Vec<_> = (0..60).map(|n| conversation("user", &n.to_string(), 10)).collect();
    table.put_all(&many).await.unwrap();
    let refused = table.put(&json!({"PK": {"S": "no sort key"}})).await.unwrap_err();
    assert!(matches!(refused, Error::Answer { status: 400, .. }), "{refused}");
}

#[tokio::test]
async fn a_bucket_keeps_files_of_any_name() {
    let bucket = ChatBucket::create(moto().await).await.unwrap();
    let name = "Zażółć 100% #1 + a?b.txt";
    bucket.upload("user", "bot", name, "text").await.unwrap();
    let key = format!("user/bot/documents/{name}");
    assert_eq!(bucket.get(&key).await.unwrap().as_deref(), Some(&b"text"[..]));
    bucket.delete(&key).await.unwrap();
    assert_eq!(bucket.get(&key).await.unwrap(), None);
}

#[test]
fn an_item_gains_attributes_from_release_to_release() {
    let mut bot = ChatBot::new("user", "bot");
    bot.knowledge_base = Some(None);
    let counts: Vec<usize> = Release::ALL
        .into_iter()
        .map(|release| bot.item(release).as_object().unwrap().len())
        .collect();
    assert_eq!(counts, [8, 12, 16, 19, 20, 21, 22, 23]);
}
