//! Every Bedrock model through the SDK against the testkit's stand-in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_bedrockruntime::config::Credentials;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vecferry_aws::{Account, Bedrock};
use vecferry_embed::embedder::{Embedder, Failure};
use vecferry_embed::embedding::{
    Embedded, Pace, Pacer, Patience, Piece, Service, Stopped, Usage, Why, embed_all,
};
use vecferry_testkit::bedrock::{Behaviour, StandIn, tokens, vector};

const V3: &str = "cohere.embed-multilingual-v3";
const TITAN: &str = "amazon.titan-embed-text-v2:0";

async fn account(stand_in: &StandIn) -> Account {
    let credentials = Credentials::new("id", "secret", None, None, "test");
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(stand_in.url())
        .credentials_provider(credentials);
    Account::with(config.load().await)
}

async fn model(stand_in: &StandIn, id: &str, dimensions: Option<usize>) -> Bedrock {
    Bedrock::new(&account(stand_in).await, id, dimensions, None).unwrap()
}

/// Pauses are as short as they can be: what is tried is that failures are repeated, not how long that takes.
fn service(model: Bedrock) -> Service {
    let pause = Duration::from_millis(1);
    let patience = Patience { first_pause: pause, longest_pause: pause, ..Patience::default() };
    Service::new(Arc::new(model), Arc::new(Pacer::new(Pace::default())), patience)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text {number} of many documents")).collect()
}

/// Feeds the texts, tagged by their number; what came out for each tag, and how it ended.
async fn run(
    service: &Service,
    texts: &[String],
) -> (BTreeMap<usize, Vec<Embedded<usize>>>, Result<Usage, Stopped>) {
    let (feed, input) = mpsc::channel(16);
    let (output, mut drain) = mpsc::channel::<Embedded<usize>>(16);
    let cancel = CancellationToken::new();
    let feeding = async move {
        for (tag, text) in texts.iter().enumerate() {
            if feed.send(Piece { tag, text: text.clone() }).await.is_err() {
                break;
            }
        }
    };
    let draining = async {
        let mut came: BTreeMap<usize, Vec<Embedded<usize>>> = BTreeMap::new();
        while let Some(embedded) = drain.recv().await {
            came.entry(embedded.tag).or_default().push(embedded);
        }
        came
    };
    let embedding = embed_all(input, output, service, &cancel);
    let ((), came, ended) = tokio::join!(feeding, draining, embedding);
    (came, ended)
}

#[tokio::test]
async fn every_model_makes_vectors_of_the_length_asked_for_and_counts_tokens() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let cases = [
        (V3, None, "embed-multilingual-v3", 1024),
        ("cohere.embed-english-v3", Some(1024), "embed-english-v3", 1024),
        ("cohere.embed-v4:0", None, "embed-v4", 1536),
        ("us.cohere.embed-v4:0", Some(1024), "embed-v4", 1024),
        ("global.cohere.embed-v4:0", Some(256), "embed-v4", 256),
        (TITAN, None, "titan-v2", 1024),
        (TITAN, Some(512), "titan-v2", 512),
    ];
    for (id, wanted, space, dimensions) in cases {
        let model = model(&stand_in, id, wanted).await;
        assert_eq!(model.model().dimensions, dimensions, "{id}");
        assert!(id.ends_with(&model.model().id), "{id}");
        let texts = &numbered(2)[..model.model().texts_per_call.min(2)];
        let answer = model.embed(texts).await.unwrap();
        let expected: Vec<Vec<f32>> =
            texts.iter().map(|text| vector(space, text, dimensions)).collect();
        assert_eq!(answer.vectors, expected, "{id}");
        assert_eq!(answer.tokens, Some(texts.iter().map(|text| tokens(text)).sum()), "{id}");
    }
    let kinds = stand_in.seen().input_types;
    assert_eq!(kinds, BTreeMap::from([("search_document".to_owned(), 5)]));
}

#[tokio::test]
async fn an_unknown_model_or_length_is_refused_with_the_known_ones() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let account = account(&stand_in).await;
    let error = Bedrock::new(&account, "amazon.titan-embed-text-v1", None, None).unwrap_err();
    assert!(error.to_string().starts_with("amazon.titan-embed-text-v1 is no embedding model"));
    assert!(error.hint().unwrap().contains(V3));
    let error = Bedrock::new(&account, TITAN, Some(1536), Some("eu-west-1")).unwrap_err();
    assert_eq!(error.hint().unwrap(), "it makes 1024, 512, 256");
}

#[tokio::test]
async fn failures_say_what_repeating_can_achieve() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let (model, texts) = (model(&stand_in, V3, None).await, numbered(1));
    stand_in.behave(Behaviour { throttles: 1.0, retry_after: Some(2), ..Behaviour::default() });
    let throttled = Failure::Throttled { retry_after: Some(Duration::from_secs(2)) };
    assert_eq!(model.embed(&texts).await, Err(throttled));
    stand_in.behave(Behaviour { failures: 1.0, ..Behaviour::default() });
    let failed = model.embed(&texts).await.unwrap_err();
    assert!(matches!(failed, Failure::Transient(_)), "{failed:?}");
    stand_in.behave(Behaviour { disabled: vec![V3.to_owned()], ..Behaviour::default() });
    let Err(Failure::Permanent(said)) = model.embed(&texts).await else { panic!("not refused") };
    assert!(said.starts_with("AccessDeniedException: You don't have access"), "{said}");
    let calls = stand_in.seen().calls;
    assert_eq!(calls, 3, "the SDK repeats nothing");
    stand_in.behave(Behaviour::default());
    let Err(Failure::Texts(said)) = model.embed(&["x".repeat(2049)]).await else { panic!() };
    assert!(said.contains("expected maxLength: 2048, actual: 2049"), "{said}");
    drop(stand_in);
    let lost = model.embed(&texts).await.unwrap_err();
    assert!(matches!(lost, Failure::Transient(_)), "{lost:?}");
}

#[tokio::test]
async fn missing_credentials_are_not_waited_for() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    // Without a provider at all: a chain would find what this machine's profiles hold.
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(stand_in.url());
    let account = Account::with(config.build());
    let failure =
        Bedrock::new(&account, V3, None, None).unwrap().embed(&numbered(1)).await.unwrap_err();
    assert!(matches!(failure, Failure::Permanent(_)), "{failure:?}");
    assert_eq!(stand_in.seen().calls, 0);
}

#[tokio::test]
async fn a_thousand_pieces_survive_throttles_and_failures_exactly_once() {
    let behaviour = Behaviour { throttles: 0.1, failures: 0.05, seed: 5, ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let texts = numbered(1000);
    let (came, ended) = run(&service(model(&stand_in, V3, None).await), &texts).await;
    let (usage, seen) = (ended.unwrap(), stand_in.seen());
    assert_eq!((came.len(), usage.pieces, seen.answered, seen.largest_batch), (1000, 1000, 11, 96));
    for (tag, embedded) in &came {
        let expected = vector("embed-multilingual-v3", &texts[*tag], 1024);
        assert_eq!(embedded.len(), 1);
        assert_eq!(embedded[0].vector.as_ref(), Ok(&expected));
    }
    assert_eq!((usage.tokens, usage.calls), (seen.tokens, seen.calls));
    assert_eq!((usage.throttles, usage.failures), (seen.throttled, seen.failed));
}

#[tokio::test]
async fn titan_embeds_one_text_a_call_and_refuses_only_the_wrong_one() {
    let behaviour = Behaviour { refused: Some("poison".to_owned()), ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let mut texts = numbered(40);
    texts[3] = "a poison".to_owned();
    let (came, ended) = run(&service(model(&stand_in, TITAN, Some(256)).await), &texts).await;
    let refused: Vec<usize> =
        came.iter().filter(|(_, it)| it[0].vector.is_err()).map(|(tag, _)| *tag).collect();
    assert_eq!((refused, came.len()), (vec![3], 40));
    assert_eq!((stand_in.seen().calls, ended.unwrap().pieces), (40, 39));
}

#[tokio::test]
async fn a_model_that_is_not_enabled_stops_the_run_in_the_services_words() {
    let behaviour = Behaviour { disabled: vec![V3.to_owned()], ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let (came, ended) = run(&service(model(&stand_in, V3, None).await), &numbered(500)).await;
    assert!(came.is_empty());
    let Why::Permanent(said) = ended.unwrap_err().why else { panic!("not permanent") };
    assert!(said.contains("AccessDeniedException") && said.contains("Model access"), "{said}");
}
