//! The guarantees, held against texts that no author would write.

use std::collections::BTreeSet;
use std::io::BufReader;

use unicode_segmentation::UnicodeSegmentation;
use vecferry_testkit::vectors::SplitMix;

use super::character::is_space;
use super::*;

fn splitter(chunk_chars: usize, overlap_chars: usize) -> Splitter {
    Splitter::new(Splitting { chunk_chars, overlap_chars }, None)
}

fn chunks(splitter: &Splitter, text: &str) -> Vec<String> {
    splitter.chunks(text.as_bytes()).collect::<io::Result<_>>().unwrap()
}

/// The same through a window of another size.
fn chunks_through(splitter: &Splitter, text: &str, window: usize) -> Vec<String> {
    splitter.through(text.as_bytes(), window).collect::<io::Result<_>>().unwrap()
}

/// Offsets where `text` may be cut into chunks of at most `most` characters.
fn cuts(text: &str, most: usize) -> BTreeSet<usize> {
    let mut cuts = BTreeSet::from([text.len()]);
    for (at, cluster) in text.grapheme_indices(true) {
        cuts.insert(at);
        if cluster.chars().count() > most {
            cuts.extend(cluster.char_indices().map(|(inner, _)| at + inner));
        }
    }
    cuts
}

/// Holds the chunks against every guarantee. A chunk of a repetitive text may have come from several places, so all
/// the places where the chunks so far can end are followed. (One that adds only white space to what it repeats is the
/// original's too.)
fn hold(splitter: &Splitter, text: &str, chunks: &[String]) -> Result<(), String> {
    let cuts = cuts(text, splitter.chunk_chars());
    let mut ends = BTreeSet::from([0]);
    for chunk in chunks {
        if chunk.trim_matches(is_space).is_empty() {
            return Err("a chunk is blank".into());
        }
        if chunk.chars().count() > splitter.chunk_chars() {
            return Err(format!("{chunk:?} is too long"));
        }
        let mut next = BTreeSet::new();
        for &end in &ends {
            let lead = text[end..].len() - text[end..].trim_start_matches(is_space).len();
            let overlap = text[..end].chars().rev().take(splitter.overlap_chars());
            let first = end - overlap.map(char::len_utf8).sum::<usize>();
            let starts = cuts.range(first..=end + lead);
            let reached = starts
                .filter(|start| text[**start..].starts_with(chunk.as_str()))
                .map(|start| start + chunk.len())
                .filter(|reached| *reached >= end && cuts.contains(reached));
            next.extend(reached);
        }
        if next.is_empty() {
            return Err(format!("{chunk:?} does not go on where the text went on"));
        }
        ends = next;
    }
    match ends.iter().any(|end| text[*end..].trim_start_matches(is_space).is_empty()) {
        true => Ok(()),
        false => Err("the text's end is lost".into()),
    }
}

fn check(splitter: &Splitter, text: &str) -> Vec<String> {
    let chunks = chunks(splitter, text);
    if let Err(broken) = hold(splitter, text, &chunks) {
        panic!("{broken}: {splitter:?} of {text:?}: {chunks:?}");
    }
    chunks
}

const ALPHABET: [&str; 44] = [
    "a",
    "word",
    "Dr.",
    "3.",
    "1.5.",
    "A.",
    "é",
    "e\u{301}",
    "👩\u{200d}👩\u{200d}👧",
    "🇩🇪",
    "🇵",
    "\r\n",
    "\n",
    "\n\n",
    " ",
    " ",
    " ",
    "  ",
    "\u{a0}",
    "\u{3000}",
    ".",
    "?",
    "!",
    "...",
    ",",
    ";",
    "。",
    "？",
    "(",
    ")",
    "\"",
    "--",
    r"\n\n\n",
    r"\n",
    "\u{301}",
    "\u{200d}",
    "\u{600}",
    "日本語",
    "\u{1c}",
    "ß",
    "\t",
    "\u{fe0f}",
    "क्षि",
    "xxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn any_text(random: &mut SplitMix, longest: u64) -> String {
    let length = random.below(longest);
    (0..length).map(|_| ALPHABET[random.below(ALPHABET.len() as u64) as usize]).collect()
}

#[test]
fn any_text_is_split_as_promised() {
    let mut random = SplitMix::new(20_240_817);
    for _ in 0..3_000 {
        let text = any_text(&mut random, 120);
        let chunk_chars = [1, 2, 3, 7, 20, 90][random.below(6) as usize];
        let overlap_chars = random.below(2 * chunk_chars + 1) as usize;
        let limit = (random.below(4) == 0).then(|| random.below(30) as usize);
        let splitting = Splitting { chunk_chars: chunk_chars as usize, overlap_chars };
        check(&Splitter::new(splitting, limit), &text);
    }
}

#[test]
fn any_text_is_split_as_promised_through_the_smallest_window_and_reader() {
    let mut random = SplitMix::new(7);
    for _ in 0..1_500 {
        let text = any_text(&mut random, 400);
        let splitter = splitter(1 + random.below(9) as usize, random.below(5) as usize);
        let reader = BufReader::with_capacity(1 + random.below(7) as usize, text.as_bytes());
        let chunks: Vec<String> = splitter.through(reader, 1).collect::<io::Result<_>>().unwrap();
        if let Err(broken) = hold(&splitter, &text, &chunks) {
            panic!("{broken}: {splitter:?} of {text:?}: {chunks:?}");
        }
    }
}

#[test]
fn a_window_changes_nothing_as_long_as_sentences_fit_into_it() {
    let mut random = SplitMix::new(11);
    let words = [
        "one",
        "Two",
        "three,",
        "Dr.",
        "(four.)",
        "3.",
        "\"Five!\"",
        "six...",
        "VII.",
        r"a\n\n\nb",
    ];
    for _ in 0..300 {
        let mut text = String::new();
        for _ in 0..random.below(120) {
            for _ in 0..random.below(8) {
                text.push_str(words[random.below(words.len() as u64) as usize]);
                text.push_str([" ", "\n", "  "][random.below(3) as usize]);
            }
            text.push_str("End. ");
        }
        let splitter = splitter(40, 15);
        let whole = chunks_through(&splitter, &text, usize::MAX / 2);
        assert_eq!(chunks_through(&splitter, &text, 300), whole, "{text:?}");
    }
}

#[test]
fn a_sentence_longer_than_the_window_is_torn_where_it_is_cut_anyway() {
    let text = "日本語の文章には、終止符がない。".repeat(500);
    let splitter = splitter(50, 20);
    assert_eq!(
        chunks_through(&splitter, &text, 1000),
        chunks_through(&splitter, &text, usize::MAX / 2)
    );
    let text = "no delimiter at all ".repeat(500);
    assert_eq!(
        chunks_through(&splitter, &text, 1000),
        chunks_through(&splitter, &text, usize::MAX / 2)
    );
}

#[test]
fn texts_that_are_all_one_thing_are_split_in_linear_time_and_memory() {
    const LENGTH: usize = 1 << 16;
    let splitter = splitter(1000, 200);
    for unit in ["x", "\u{301}", "🇩", "?!", "a.(", "1. a ", ",", ". ", r"\n\n\n", ".\u{a0}"] {
        let text = unit.repeat(LENGTH / unit.len());
        let mut longest = 0;
        let mut bytes = 0;
        for chunk in splitter.chunks(text.as_bytes()) {
            let chunk = chunk.unwrap();
            longest = longest.max(chunk.chars().count());
            bytes += chunk.len();
        }
        assert!(longest <= 1000, "{unit:?}");
        assert!(bytes >= text.len() - text.chars().filter(|c| is_space(*c)).count(), "{unit:?}");
    }
    assert_eq!(splitter.chunks("\n".repeat(LENGTH).as_bytes()).count(), 0);
}

#[test]
fn one_line_without_a_space_becomes_chunks_of_full_length() {
    let text = "x".repeat(1 << 20);
    let mut chunks = splitter(1000, 0).chunks(text.as_bytes());
    let (mut count, mut chars) = (0, 0);
    while let Some(Ok(chunk)) = chunks.next() {
        count += 1;
        chars += chunk.len();
    }
    assert_eq!((count, chars), (1_049, 1 << 20));
}

#[test]
fn settings_that_cannot_be_are_moved_to_what_can() {
    let sizes = |chunk_chars, overlap_chars, limit| {
        let splitter = Splitter::new(Splitting { chunk_chars, overlap_chars }, limit);
        (splitter.chunk_chars(), splitter.overlap_chars())
    };
    assert_eq!(sizes(1000, 200, None), (1000, 200));
    assert_eq!(sizes(1000, 200, Some(2048)), (1000, 200));
    assert_eq!(sizes(4096, 1024, Some(2048)), (2048, 512));
    assert_eq!(sizes(0, 0, None), (1, 0));
    assert_eq!(sizes(1, 1, Some(0)), (1, 0));
    assert_eq!(sizes(10, 10, None), (10, 5));
    assert_eq!(sizes(10, 99, None), (10, 5));
    assert_eq!(sizes(usize::MAX, usize::MAX, None), (LONGEST_CHUNK, LONGEST_CHUNK / 2));
}

#[test]
fn a_cluster_longer_than_a_chunk_is_cut_between_its_code_points() {
    let text = format!("ab e{} c", "\u{301}".repeat(7));
    let chunks = check(&splitter(3, 0), &text);
    assert_eq!(chunks, ["ab", "e\u{301}\u{301}", "\u{301}\u{301}\u{301}", "\u{301}\u{301}", "c"]);
}

#[test]
fn bytes_that_are_no_text_are_an_error_and_the_end() {
    let text = [&b"One. "[..], &[0xff], b" two."].concat();
    let mut chunks = splitter(4, 0).chunks(&text[..]);
    let error = chunks.find_map(Result::err).unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(chunks.next().is_none());
    let cut_short = &"é".as_bytes()[..1];
    let error = splitter(4, 0).chunks(cut_short).next().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_text_without_anything_in_it_has_no_chunks() {
    for text in ["", " ", "\r\n\r\n", "\u{3000}\u{1c}\u{a0}"] {
        assert!(chunks(&splitter(10, 2), text).is_empty());
    }
}
