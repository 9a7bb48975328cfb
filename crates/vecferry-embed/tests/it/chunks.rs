//! Chunks are those of the application's own worker: `chunks/*.txt` in, `chunks/*.json` out, the latter made by
//! `chunks/make.py` with llama-index-core 0.10.68.post1 and NLTK 3.9.1, which Bedrock Chat v1.4.0 pins.

use std::collections::BTreeMap;
use std::path::Path;

use vecferry_core::bot::Splitting;
use vecferry_embed::split::Splitter;

#[test]
fn chunks_are_those_of_the_application() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/chunks");
    let (mut compared, mut different) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        let expected = std::fs::read(path.with_extension("json")).unwrap();
        let expected: BTreeMap<String, Vec<String>> = serde_json::from_slice(&expected).unwrap();
        for (setting, expected) in expected {
            let (chunk_chars, overlap_chars) = setting.split_once('/').unwrap();
            let splitting = Splitting {
                chunk_chars: chunk_chars.parse().unwrap(),
                overlap_chars: overlap_chars.parse().unwrap(),
            };
            let chunks = Splitter::new(splitting, Some(2048)).chunks(&text[..]);
            let chunks: Vec<String> = chunks.collect::<Result<_, _>>().unwrap();
            assert_eq!(chunks.len(), expected.len(), "{} with {setting}", path.display());
            for (chunk, expected) in chunks.iter().zip(&expected) {
                assert!(
                    expected.ends_with(chunk),
                    "{} with {setting}: {chunk:?} instead of {expected:?}",
                    path.display()
                );
                different += usize::from(chunk != expected);
            }
            compared += expected.len();
        }
    }
    // With the smaller settings, the original's overlap makes two chunks too long; ours gives way, from the front.
    assert_eq!((compared, different), (129, 2));
}
