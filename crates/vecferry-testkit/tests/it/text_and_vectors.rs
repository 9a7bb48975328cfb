//! The corpus is real and well cut; vectors are stable and clustered.

use std::collections::BTreeSet;
use std::path::Path;

use vecferry_testkit::corpus::{bot_id, guides, project, split};
use vecferry_testkit::vectors::{Vectors, binary, literal};

fn distance(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[test]
fn the_guides_are_five_bots_in_chunks_that_fit() {
    let chunks = guides().unwrap();
    let bots: BTreeSet<&str> = chunks.iter().map(|chunk| chunk.bot.as_str()).collect();
    assert_eq!(bots.len(), 5);
    assert!(bots.iter().all(|bot| bot.len() == 26));
    assert!(chunks.len() >= 20, "{}", chunks.len());
    assert!(chunks.iter().all(|chunk| (1..=1000).contains(&chunk.text.chars().count())));
    let short = chunks.iter().filter(|chunk| chunk.text.chars().count() < 300).count();
    assert!(short * 4 < chunks.len(), "{short} of {} are short", chunks.len());
    assert_eq!(bot_id("a"), bot_id("a"));
}

#[test]
fn the_projects_own_documents_are_one_more_bot_as_far_as_they_exist() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(project(folder.path()).unwrap(), []);
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    std::fs::write(folder.path().join("docs/a.md"), "# One\n\nText.").unwrap();
    let chunks = project(folder.path()).unwrap();
    assert_eq!(
        (chunks[0].source.as_str(), chunks[0].text.as_str()),
        ("docs/a.md", "# One\n\nText.")
    );
    assert!(project(Path::new("/nowhere")).unwrap().is_empty());
}

#[test]
fn long_paragraphs_are_cut_at_sentences_and_nothing_is_lost() {
    let text = "A sentence of some length. ".repeat(100) + &"文。".repeat(900) + &"x".repeat(2500);
    let chunks = split(&text);
    assert!(chunks.iter().all(|chunk| chunk.chars().count() <= 1000));
    assert!(chunks[0].ends_with("length."), "{}", chunks[0]);
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(bare(&chunks.concat()), bare(&text));
}

#[test]
fn vectors_are_stable_of_length_one_and_nearest_to_their_own_cluster() {
    let vectors = Vectors::new(1, 64, 10);
    assert_eq!(vectors.get(5), Vectors::new(1, 64, 10).get(5));
    assert_ne!(vectors.get(5), vectors.get(6));
    let all: Vec<Vec<f32>> = (0..200).map(|number| vectors.get(number)).collect();
    assert!(all.iter().all(|vector| (distance(vector, &[0.0; 64]) - 1.0).abs() < 1e-3));
    let mut distances: Vec<f32> = all[1..].iter().map(|other| distance(&all[0], other)).collect();
    distances.sort_by(f32::total_cmp);
    // A tenth shares the cluster: those are near, the rest is far.
    assert!(distances[5] * 2.0 < distances[100], "{distances:?}");
    assert_eq!(literal(&[0.5, -1.0]), "[0.5,-1]");
    assert_eq!(binary(&[1.0]), [0, 1, 0, 0, 0x3f, 0x80, 0, 0]);
}
