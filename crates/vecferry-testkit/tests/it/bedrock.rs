//! The embedding service over the wire: raw HTTP, so that nothing but the service is tried.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use vecferry_testkit::bedrock::{Behaviour, StandIn, text_hash, vector};

const V3: &str = "/model/cohere.embed-multilingual-v3/invoke";

/// Status, head and body of a POST.
fn post(service: &StandIn, path: &str, body: &Value) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(service.addr()).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap())
}

fn documents(texts: &[&str]) -> Value {
    json!({ "input_type": "search_document", "texts": texts })
}

#[test]
fn an_answer_holds_vectors_and_tells_the_tokens() {
    let service = StandIn::start(Behaviour::default()).unwrap();
    let (status, head, body) = post(&service, V3, &documents(&["one word", "two"]));
    assert_eq!(status, 200);
    assert!(head.contains("x-amzn-bedrock-input-token-count: 3"), "{head}");
    let expected = json!(vector("embed-multilingual-v3", "one word", 1024));
    assert_eq!(body["embeddings"][0], expected);
    let encoded = "/model/us.cohere.embed-v4%3A0/invoke";
    assert_eq!(post(&service, encoded, &documents(&["one"])).0, 200);
    let seen = service.seen();
    assert_eq!((seen.calls, seen.answered, seen.texts, seen.largest_batch), (2, 2, 3, 2));
    assert_eq!(seen.input_types["search_document"], 2);
    assert_eq!(seen.hashes[&text_hash("two")], 1);
}

#[test]
fn a_refusal_names_its_kind_in_a_header() {
    let service = StandIn::start(Behaviour::default()).unwrap();
    let (status, head, body) = post(&service, V3, &json!({ "texts": ["a"] }));
    assert_eq!(status, 400);
    assert!(head.contains("x-amzn-errortype: validationexception"), "{head}");
    assert!(body["message"].as_str().unwrap().contains("input_type"));
    assert_eq!(service.seen().refused, 1);
}

#[test]
fn a_limit_throttles_until_the_behaviour_changes() {
    let limited = Behaviour { requests: Some(1), retry_after: Some(3), ..Behaviour::default() };
    let service = StandIn::start(limited).unwrap();
    assert_eq!(post(&service, V3, &documents(&["a"])).0, 200);
    let (status, head, _) = post(&service, V3, &documents(&["a"]));
    assert_eq!(status, 429);
    assert!(head.contains("retry-after: 3") && head.contains("throttlingexception"), "{head}");
    service.behave(Behaviour::default());
    assert_eq!(post(&service, V3, &documents(&["a"])).0, 200);
    assert!(service.wait_for_calls(3, Duration::from_secs(1)));
    assert_eq!(service.seen().over_limit, 1);
}

#[test]
fn the_openai_route_answers_beside_it() {
    let service = StandIn::start(Behaviour::default()).unwrap();
    let body = json!({ "model": "any", "input": ["a", "b"], "dimensions": 4 });
    let (status, _, answer) = post(&service, "/v1/embeddings", &body);
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 2));
}

#[test]
fn the_port_is_free_when_it_is_dropped() {
    let service = StandIn::start(Behaviour::default()).unwrap();
    let address = service.addr();
    drop(service);
    assert!(TcpStream::connect(address).is_err());
}
