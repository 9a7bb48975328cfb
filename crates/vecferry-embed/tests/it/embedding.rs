//! The stream from pieces to vectors, through a real client, against a service that throttles, fails and refuses.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vecferry_embed::embedding::openai::{Endpoint, OpenAi};
use vecferry_embed::embedding::{
    Embedded, Pace, Pacer, Patience, Piece, Service, Stopped, Usage, Why, embed_all,
};
use vecferry_testkit::bedrock::{Behaviour, StandIn, vector};

const DIMENSIONS: usize = 32;

fn endpoint(stand_in: &StandIn) -> Endpoint {
    Endpoint {
        base: stand_in.openai_url().parse().unwrap(),
        model: "some-model".to_owned(),
        key: None,
        dimensions: DIMENSIONS,
        send_dimensions: true,
        texts_per_call: Some(96),
        tokens_per_text: None,
    }
}

/// Pauses are as short as they can be: what is tried is that failures are repeated, not how long that takes.
fn patient() -> Patience {
    let pause = Duration::from_millis(1);
    Patience { first_pause: pause, longest_pause: pause, ..Patience::default() }
}

fn service(endpoint: Endpoint, patience: Patience) -> Service {
    let pacer = Arc::new(Pacer::new(Pace { calls_at_once: 4, ..Pace::default() }));
    Service::new(Arc::new(OpenAi::new(endpoint).unwrap()), pacer, patience)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text {number} of many documents")).collect()
}

/// Feeds the texts, tagged by their number; what came out, how often for each tag, and how it ended.
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

/// Every tag came once, with the vector of its own text.
fn assert_all(came: &BTreeMap<usize, Vec<Embedded<usize>>>, texts: &[String]) {
    assert_eq!(came.len(), texts.len());
    for (tag, embedded) in came {
        assert_eq!(embedded.len(), 1, "{tag}");
        assert_eq!(embedded[0].vector, Ok(vector("some-model", &texts[*tag], DIMENSIONS)), "{tag}");
    }
}

#[tokio::test]
async fn a_thousand_pieces_take_eleven_calls() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let texts = numbered(1000);
    let (came, ended) = run(&service(endpoint(&stand_in), patient()), &texts).await;
    assert_all(&came, &texts);
    let (usage, seen) = (ended.unwrap(), stand_in.seen());
    assert_eq!((seen.calls, seen.texts, seen.largest_batch), (1000_u64.div_ceil(96), 1000, 96));
    assert_eq!((usage.calls, usage.texts, usage.pieces), (11, 1000, 1000));
    assert_eq!((usage.tokens, usage.estimated), (seen.tokens, 0));
    assert!(seen.most_at_once <= 4, "{seen:?}");
}

#[tokio::test]
async fn throttles_and_failures_cost_repetitions_and_no_piece() {
    let behaviour = Behaviour { throttles: 0.1, failures: 0.05, seed: 11, ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let texts = numbered(1000);
    let small = Endpoint { texts_per_call: Some(8), ..endpoint(&stand_in) };
    let (came, ended) = run(&service(small, patient()), &texts).await;
    assert_all(&came, &texts);
    let (usage, seen) = (ended.unwrap(), stand_in.seen());
    assert!(seen.throttled > 0 && seen.failed > 0, "{seen:?}");
    assert_eq!((usage.throttles, usage.failures), (seen.throttled, seen.failed));
    assert_eq!((seen.answered, usage.calls), (125, seen.calls));
    assert!(seen.hashes.values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_refused_text_costs_only_itself() {
    let behaviour = Behaviour { refused: Some("poison".to_owned()), ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let mut texts = numbered(200);
    texts[7] = "some poison".to_owned();
    texts[100] = "more poison".to_owned();
    let (mut came, ended) = run(&service(endpoint(&stand_in), patient()), &texts).await;
    for tag in [7, 100] {
        let refused = came.remove(&tag).unwrap();
        let reason = refused[0].vector.as_ref().unwrap_err();
        assert!(reason.starts_with("status 400") && !reason.contains("poison"), "{reason}");
        came.insert(tag, vec![Embedded { tag, vector: Ok(vector("some-model", &texts[tag], 32)) }]);
    }
    assert_all(&came, &texts);
    let usage = ended.unwrap();
    assert_eq!((usage.pieces, usage.refused, usage.texts), (198, 2, 198));
    // Two batches of three hold one text each that takes about 2 × log2(96) calls to find.
    assert!(usage.calls <= 3 + 2 * 14, "{usage:?}");
}

#[tokio::test]
async fn a_permanent_failure_stops_everything_and_says_why() {
    let behaviour = Behaviour { key: Some("right".to_owned()), ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let wrong = Endpoint { key: Some("wrong".to_owned()), ..endpoint(&stand_in) };
    let (came, ended) = run(&service(wrong, patient()), &numbered(1000)).await;
    assert!(came.is_empty());
    let stopped = ended.unwrap_err();
    let why = Why::Permanent("status 401: Incorrect API key provided.".to_owned());
    assert_eq!((stopped.model.as_str(), &stopped.why), ("some-model", &why));
    assert!(stand_in.seen().calls <= 4);
    let right = Endpoint { key: Some("right".to_owned()), ..endpoint(&stand_in) };
    let texts = numbered(10);
    assert_all(&run(&service(right, patient()), &texts).await.0, &texts);
}

#[tokio::test]
async fn nothing_but_failures_is_given_up() {
    for (throttles, failures) in [(1.0, 0.0), (0.0, 1.0)] {
        let stand_in =
            StandIn::start(Behaviour { throttles, failures, ..Behaviour::default() }).unwrap();
        let impatient = Patience { give_up_after: Duration::ZERO, ..patient() };
        let (came, ended) = run(&service(endpoint(&stand_in), impatient), &numbered(10)).await;
        assert!(came.is_empty());
        let why = ended.unwrap_err().why;
        assert!(matches!(why, Why::NoAnswer { .. }), "{why:?}");
    }
}

#[tokio::test]
async fn a_model_that_refuses_every_text_stops_the_run() {
    let behaviour = Behaviour { refused: Some("text".to_owned()), ..Behaviour::default() };
    let stand_in = StandIn::start(behaviour).unwrap();
    let (came, ended) = run(&service(endpoint(&stand_in), patient()), &numbered(10)).await;
    assert!(came.is_empty());
    assert!(matches!(ended.unwrap_err().why, Why::RefusesAll(_)));
}

#[tokio::test]
async fn a_producer_that_waits_for_its_vectors_is_not_waited_for() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let service = service(endpoint(&stand_in), patient());
    let (feed, input) = mpsc::channel(1);
    let (output, mut drain) = mpsc::channel::<Embedded<usize>>(1);
    let cancel = CancellationToken::new();
    let dialogue = async move {
        for tag in 0..3 {
            feed.send(Piece { tag, text: format!("text {tag}") }).await.unwrap();
            assert_eq!(drain.recv().await.unwrap().tag, tag);
        }
    };
    let ((), ended) = tokio::join!(dialogue, embed_all(input, output, &service, &cancel));
    assert_eq!(ended.unwrap().calls, 3);
}

#[tokio::test]
async fn a_cancelled_run_ends_although_nobody_closes_its_input() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let service = service(endpoint(&stand_in), patient());
    let (feed, input) = mpsc::channel::<Piece<usize>>(1);
    let (output, _drain) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let (ended, ()) = tokio::join!(embed_all(input, output, &service, &cancel), async {
        cancel.cancel();
    });
    assert_eq!(ended.unwrap_err().why, Why::Cancelled);
    drop(feed);
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_the_run() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let service = service(endpoint(&stand_in), patient());
    let (feed, input) = mpsc::channel(1);
    let (output, drain) = mpsc::channel(1);
    drop(drain);
    feed.send(Piece { tag: 0, text: "text".to_owned() }).await.unwrap();
    drop(feed);
    let ended = embed_all(input, output, &service, &CancellationToken::new()).await;
    assert_eq!(ended.unwrap_err().why, Why::Abandoned);
}

#[tokio::test]
async fn the_same_text_is_paid_for_once_a_batch() {
    let stand_in = StandIn::start(Behaviour::default()).unwrap();
    let texts: Vec<String> = numbered(50).into_iter().cycle().take(150).collect();
    let (came, ended) = run(&service(endpoint(&stand_in), patient()), &texts).await;
    assert_all(&came, &texts);
    let usage = ended.unwrap();
    assert_eq!((usage.calls, usage.texts, usage.pieces), (1, 50, 150));
}

#[tokio::test]
async fn a_run_within_the_stated_quota_is_never_throttled() {
    // The quota of a minute suffices for everything at once only because the pacer's burst does.
    let quota = Behaviour { requests: Some(200), tokens: Some(100_000), ..Behaviour::default() };
    let stand_in = StandIn::start(quota).unwrap();
    let pace = Pace {
        requests: NonZeroU32::new(200),
        tokens: NonZeroU32::new(100_000),
        calls_at_once: 4,
        ..Pace::default()
    };
    let model = Arc::new(OpenAi::new(endpoint(&stand_in)).unwrap());
    let service = Service::new(model, Arc::new(Pacer::new(pace)), patient());
    let texts = numbered(900);
    let (came, ended) = run(&service, &texts).await;
    assert_all(&came, &texts);
    assert_eq!((ended.unwrap().throttles, stand_in.seen().over_limit), (0, 0));
}
