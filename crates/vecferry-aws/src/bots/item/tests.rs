//! Every shape that a version of the application wrote, and what none did.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use vecferry_testkit::chat::{ChatBot, Release, alias, conversation, ghost};

use super::*;

/// DynamoDB's JSON as the SDK hands it over.
fn item(json: &Value) -> Item {
    let fields = json.as_object().unwrap();
    fields.iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn attribute(json: &Value) -> AttributeValue {
    let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => AttributeValue::S(value.as_str().unwrap().to_owned()),
        "N" => AttributeValue::N(value.as_str().unwrap().to_owned()),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "NULL" => AttributeValue::Null(true),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        "M" => AttributeValue::M(item(value)),
        other => panic!("no kind of attribute: {other}"),
    }
}

fn found(json: &Value) -> Found {
    understand(&item(json))
}

fn understood(json: &Value) -> Bot {
    match found(json) {
        Found::Bot(bot) => bot,
        other => panic!("not a bot: {other:?}"),
    }
}

fn why(json: &Value) -> String {
    match found(json) {
        Found::Odd(odd) => odd.why,
        other => panic!("not odd: {other:?}"),
    }
}

/// A bot of the newest version, with an attribute replaced.
fn with(name: &str, value: Value) -> Value {
    let mut item = ChatBot::new("user", "bot").files(&["a.pdf"]).item(Release::V1_4);
    item[name] = value;
    item
}

fn texts(texts: &[&str]) -> Value {
    json!({"L": texts.iter().map(|text| json!({"S": text})).collect::<Vec<Value>>()})
}

#[test]
fn a_bot_of_every_release_is_understood() {
    for release in Release::ALL {
        let mut bot = ChatBot::new("user", "01HZY3J9W6B9T4V6W5K1N2P3Q4");
        bot.pages = vec!["https://example.com/".into(), "https://youtu.be/dQw4w9WgXcQ".into()];
        bot.sitemaps = vec!["https://example.com/sitemap.xml".into()];
        bot.files = vec!["Zażółć gęślą.pdf".into()];
        bot.s3 = vec!["s3://bucket/prefix/".into()];
        bot.splitting = (512, 64);
        let read = understood(&bot.item(release));

        let mut documents = Vec::new();
        if release >= Release::V0_4_0 {
            documents.push(DocumentAddress::Page("https://example.com/".into()));
            documents.push(DocumentAddress::Video("dQw4w9WgXcQ".into()));
            documents.push(DocumentAddress::Sitemap("https://example.com/sitemap.xml".into()));
            documents.push(DocumentAddress::File("Zażółć gęślą.pdf".into()));
        }
        if release >= Release::V1_2_5 {
            documents.push(DocumentAddress::S3("s3://bucket/prefix/".into()));
        }
        let splitting = match release >= Release::V0_4_6 {
            true => Splitting { chunk_chars: 512, overlap_chars: 64 },
            false => Splitting { chunk_chars: 1000, overlap_chars: 200 },
        };
        let sync = (release >= Release::V0_4_0).then(|| SyncRecord {
            status: SyncStatus::Succeeded,
            reason: String::new(),
            exec_id: "exec".into(),
        });
        let key = BotKey { owner: "user".into(), id: "01HZY3J9W6B9T4V6W5K1N2P3Q4".into() };
        let title = "Title of 01HZY3J9W6B9T4V6W5K1N2P3Q4".to_owned();
        assert_eq!(read, Bot { key, title, documents, splitting, sync }, "{release:?}");
    }
}

#[test]
fn what_is_read_is_enough_to_understand_a_bot() {
    let mut bot = item(&ChatBot::new("user", "bot").files(&["a.pdf"]).item(Release::V1_4));
    let whole = understand(&bot);
    bot.retain(|name, _| READ.contains(&name.as_str()));
    assert_eq!(understand(&bot), whole);
}

#[test]
fn a_knowledge_base_serves_a_bot_as_soon_as_it_is_asked_for() {
    for id in [None, Some("KB12345678".to_owned())] {
        let mut bot = ChatBot::new("user", "bot").files(&["a.pdf"]);
        bot.knowledge_base = Some(id);
        // A word that only such bots may have.
        bot.status = "KNOWLEDGE_BASE_STACK_CREATED".to_owned();
        let key = BotKey { owner: "user".into(), id: "bot".into() };
        assert_eq!(found(&bot.item(Release::V1_2_5)), Found::KnowledgeBase(key));
    }
    let none = with("BedrockKnowledgeBase", json!({"NULL": true}));
    assert!(matches!(found(&none), Found::Bot(_)), "Python's None is no knowledge base");
}

#[test]
fn aliases_conversations_and_ghosts_are_no_bots() {
    assert_eq!(found(&alias("user", "bot")), Found::Alias);
    assert_eq!(found(&with("OriginalBotId", json!({"S": "other"}))), Found::Alias);
    assert!(matches!(found(&with("OriginalBotId", json!({"S": ""}))), Found::Bot(_)));
    assert_eq!(found(&conversation("user", "talk#BOT#", 10)), Found::Other);
    let Found::Ghost(odd) = found(&ghost("user", "bot")) else { panic!("a ghost is one") };
    assert_eq!(odd.key, "PK=user SK=user#BOT#bot");
}

#[test]
fn a_key_of_another_form_is_odd() {
    let sort = |sort: &str| why(&with("SK", json!({"S": sort})));
    assert_eq!(sort("other#BOT#bot"), "SK does not begin with PK and #");
    assert_eq!(sort("user#BOT#"), "SK is not <PK>#BOT#<id>");
    assert_eq!(sort("user#BOT#a#b"), "SK is not <PK>#BOT#<id>");
    assert_eq!(why(&with("PK", json!({"N": "1"}))), "PK or SK is not a text");
    // The sort key begins with the whole owner, whatever characters it has.
    let strange = understood(&ChatBot::new("a#BOT#b", "x").item(Release::V1_0));
    assert_eq!((strange.key.owner.as_str(), strange.key.id.as_str()), ("a#BOT#b", "x"));
}

#[test]
fn documents_keep_their_order_and_are_named_once() {
    let knowledge = json!({"M": {
        "filenames": texts(&["b.pdf", "a.pdf", "b.pdf"]),
        "source_urls": texts(&["https://youtu.be/dQw4w9WgXcQ", "https://x/", "http://youtube.com/embed/dQw4w9WgXcQ"]),
        "s3_urls": {"NULL": true},
    }});
    let printed: Vec<String> = understood(&with("Knowledge", knowledge))
        .documents
        .iter()
        .map(|document| format!("{} {document}", document.kind()))
        .collect();
    assert_eq!(printed, ["video dQw4w9WgXcQ", "page https://x/", "file b.pdf", "file a.pdf"]);
}

#[test]
fn knowledge_that_is_not_understood_is_odd_and_never_left_out() {
    let knowledge = |value: Value| why(&with("Knowledge", json!({"M": value})));
    assert_eq!(why(&with("Knowledge", json!({"S": "x"}))), "Knowledge is not a map");
    assert_eq!(
        knowledge(json!({"notion_pages": texts(&["x"])})),
        "Knowledge.notion_pages is not known to this version of vecferry"
    );
    assert_eq!(knowledge(json!({"filenames": {"S": "x"}})), "Knowledge.filenames is not a list");
    for entry in [json!({"N": "1"}), json!({"S": ""}), json!({"NULL": true})] {
        assert_eq!(
            knowledge(json!({"s3_urls": {"L": [entry]}})),
            "Knowledge.s3_urls holds something that is not a text"
        );
    }
    let empty = with("Knowledge", json!({"M": {"notion_pages": {"L": []}}}));
    assert!(understood(&empty).documents.is_empty());
}

#[test]
fn a_missing_parameter_has_the_applications_default() {
    let splitting = |value: Value| {
        let bot = understood(&with("EmbeddingParams", json!({"M": value})));
        (bot.splitting.chunk_chars, bot.splitting.overlap_chars)
    };
    assert_eq!(splitting(json!({})), (1000, 200));
    assert_eq!(splitting(json!({"chunk_size": {"N": "300"}})), (300, 200));
    assert_eq!(splitting(json!({"chunk_overlap": {"N": "0"}})), (1000, 0));
    assert_eq!(
        splitting(json!({"chunk_size": {"N": "2E+3"}, "chunk_overlap": {"N": "50.0"}})),
        (2000, 50)
    );
    assert_eq!(splitting(json!({"chunk_size": {"NULL": true}})), (1000, 200));
}

#[test]
fn a_parameter_that_is_no_length_is_odd() {
    let parameter =
        |name: &str, value: Value| why(&with("EmbeddingParams", json!({"M": {name: value}})));
    for number in ["1.5", "-1", "1E+300"] {
        assert_eq!(
            parameter("chunk_overlap", json!({"N": number})),
            "EmbeddingParams.chunk_overlap is not a whole number"
        );
    }
    assert_eq!(
        parameter("chunk_size", json!({"S": "1000"})),
        "EmbeddingParams.chunk_size is not a whole number"
    );
    assert_eq!(parameter("chunk_size", json!({"N": "0"})), "EmbeddingParams.chunk_size is 0");
    assert_eq!(why(&with("EmbeddingParams", json!({"L": []}))), "EmbeddingParams is not a map");
}

#[test]
fn a_state_that_is_not_understood_is_odd() {
    assert_eq!(
        why(&with("SyncStatus", json!({"S": "KNOWLEDGE_BASE_STACK_CREATED"}))),
        "SyncStatus is none of QUEUED, RUNNING, SUCCEEDED, FAILED"
    );
    assert_eq!(why(&with("LastExecId", json!({"N": "1"}))), "LastExecId is not a text");
    assert_eq!(understood(&with("SyncStatus", json!({"NULL": true}))).sync, None);
}

#[test]
fn a_bot_without_a_title_is_odd_when_it_has_documents() {
    let mut bot = ChatBot::new("user", "bot").files(&["a.pdf"]).item(Release::V1_4);
    bot.as_object_mut().unwrap().remove("Title");
    assert_eq!(why(&bot), "Title is missing or not a text");
}

#[test]
fn what_is_wrong_is_told_without_a_value() {
    for odd in [
        with("Knowledge", json!({"M": {"filenames": {"S": "private"}}})),
        with("SyncStatus", json!({"S": "private"})),
        with("EmbeddingParams", json!({"M": {"chunk_size": {"S": "private"}}})),
    ] {
        let Found::Odd(odd) = found(&odd) else { panic!("{odd} is odd") };
        assert!(!odd.why.contains("private"), "{}", odd.why);
        assert_eq!(odd.key, "PK=user SK=user#BOT#bot");
    }
}
