//! Batches filled across documents. Pure: pieces in, full batches out.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

use super::tokens::estimated_tokens;
use crate::embedder::Model;

/// A text to embed, and what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<T> {
    /// Comes back with the vector.
    pub tag: T,
    /// The text.
    pub text: String,
}

/// What became of a piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded<T> {
    /// The piece's tag.
    pub tag: T,
    /// Its vector, as long as the model says, of finite numbers and not all zero, or why the model takes no such text.
    pub vector: Result<Vec<f32>, String>,
}

/// Estimated tokens of one call, at most (a single text may be longer): below the 128 000 of Cohere Embed v4 and the
/// 300 000 of OpenAI, which count a whole call, with room for an estimate that is off.
const TOKENS_PER_CALL: u64 = 80_000;

/// Pieces of a batch for each text of a call: copies of one text are free, but memory is not.
const PIECES_PER_TEXT: usize = 8;

/// Texts of one call, each once, with the pieces that wait for them.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// Distinct texts in the order they came.
    pub(super) texts: Vec<String>,
    /// Tags, each with the place of its text.
    pub(super) waiting: Vec<(T, usize)>,
    /// Pieces that need no call to be refused.
    pub(super) refused: Vec<(T, String)>,
    places: HashMap<u64, usize>,
    tokens: u64,
}

/// Fills batches up to the model's limits.
#[derive(Debug)]
pub(super) struct Filler<T> {
    texts_per_call: usize,
    chars_per_text: Option<usize>,
    open: Batch<T>,
    full: VecDeque<Batch<T>>,
}

impl<T> Batch<T> {
    fn new() -> Batch<T> {
        Batch {
            texts: Vec::new(),
            waiting: Vec::new(),
            refused: Vec::new(),
            places: HashMap::new(),
            tokens: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.refused.is_empty()
    }

    /// Where this very text stands already.
    fn place(&self, hash: u64, text: &str) -> Option<usize> {
        self.places.get(&hash).copied().filter(|place| self.texts[*place] == text)
    }
}

impl<T> Filler<T> {
    pub(super) fn new(model: &Model) -> Filler<T> {
        Filler {
            texts_per_call: model.texts_per_call.max(1),
            chars_per_text: model.chars_per_text,
            open: Batch::new(),
            full: VecDeque::new(),
        }
    }

    /// Adds a piece; [`Filler::full`] may hold a batch afterwards.
    pub(super) fn push(&mut self, piece: Piece<T>) {
        let Piece { tag, text } = piece;
        if let Some(reason) = self.refusal(&text) {
            self.open.refused.push((tag, reason));
        } else {
            self.place(tag, text);
        }
        let pieces = self.open.waiting.len() + self.open.refused.len();
        if self.open.texts.len() >= self.texts_per_call
            || pieces >= self.texts_per_call * PIECES_PER_TEXT
        {
            self.close();
        }
    }

    /// The next batch that is full.
    pub(super) fn full(&mut self) -> Option<Batch<T>> {
        self.full.pop_front()
    }

    /// What there is, full or not.
    pub(super) fn rest(&mut self) -> Option<Batch<T>> {
        if !self.open.is_empty() {
            self.close();
        }
        self.full.pop_front()
    }

    /// Whether nothing waits for a call.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    fn close(&mut self) {
        let full = std::mem::replace(&mut self.open, Batch::new());
        self.full.push_back(full);
    }

    fn place(&mut self, tag: T, text: String) {
        let hash = xxh3_64(text.as_bytes());
        if let Some(place) = self.open.place(hash, &text) {
            self.open.waiting.push((tag, place));
            return;
        }
        let tokens = estimated_tokens(&text);
        if !self.open.texts.is_empty() && self.open.tokens + tokens > TOKENS_PER_CALL {
            self.close();
        }
        self.open.tokens += tokens;
        self.open.places.insert(hash, self.open.texts.len());
        self.open.waiting.push((tag, self.open.texts.len()));
        self.open.texts.push(text);
    }

    /// Why no call is needed to know that the model takes no such text.
    fn refusal(&self, text: &str) -> Option<String> {
        if text.is_empty() {
            return Some("the text is empty".to_owned());
        }
        // Bytes are at least as many as characters, so that most texts need no counting.
        let most = self.chars_per_text.filter(|most| text.len() > *most)?;
        let length = text.chars().count();
        (length > most).then(|| format!("{length} characters, the model takes {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(texts_per_call: usize, chars_per_text: Option<usize>) -> Model {
        let id = "some.model".to_owned();
        Model { id, dimensions: 4, texts_per_call, chars_per_text, tokens_per_text: 512 }
    }

    fn fill(model: &Model, texts: &[String]) -> Vec<Batch<usize>> {
        let mut filler = Filler::new(model);
        let mut batches = Vec::new();
        for (tag, text) in texts.iter().enumerate() {
            filler.push(Piece { tag, text: text.clone() });
            batches.extend(std::iter::from_fn(|| filler.full()));
        }
        batches.extend(std::iter::from_fn(|| filler.rest()));
        assert!(filler.is_empty());
        batches
    }

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("text {number}")).collect()
    }

    #[test]
    fn a_batch_never_exceeds_the_models_limit_and_only_the_last_is_smaller() {
        let batches = fill(&model(96, None), &numbered(1000));
        let sizes: Vec<usize> = batches.iter().map(|batch| batch.texts.len()).collect();
        assert_eq!(sizes.len(), 11);
        assert!(sizes[..10].iter().all(|size| *size == 96));
        assert_eq!(sizes[10], 40);
        let tags: Vec<usize> =
            batches.iter().flat_map(|batch| batch.waiting.iter().map(|(tag, _)| *tag)).collect();
        assert_eq!(tags, (0..1000).collect::<Vec<usize>>());
        assert_eq!(fill(&model(1, None), &numbered(3)).len(), 3);
    }

    #[test]
    fn a_text_that_comes_again_is_sent_once() {
        let texts: Vec<String> = numbered(4).into_iter().cycle().take(12).collect();
        let batches = fill(&model(5, None), &texts);
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].texts, numbered(4));
        assert_eq!(batches[0].waiting.len(), 12);
        assert!(batches[0].waiting.iter().all(|(tag, place)| tag % 4 == *place));
    }

    #[test]
    fn copies_of_one_text_do_not_pile_up_without_end() {
        let batches = fill(&model(10, None), &vec!["same".to_owned(); 1000]);
        assert!(batches.iter().all(|batch| batch.waiting.len() <= 80 && batch.texts.len() == 1));
    }

    #[test]
    fn a_batch_holds_no_more_tokens_than_a_call_may() {
        let long: Vec<String> =
            (0..6).map(|number| format!("{number}{}", "語".repeat(40_000))).collect();
        let sizes: Vec<usize> =
            fill(&model(96, None), &long).iter().map(|batch| batch.texts.len()).collect();
        assert_eq!(sizes, [2, 2, 2]);
        let huge = vec!["語".repeat(200_000), "next".to_owned()];
        assert_eq!(fill(&model(96, None), &huge).len(), 2);
    }

    #[test]
    fn what_the_model_cannot_take_is_refused_without_a_call() {
        let texts = vec![String::new(), "語".repeat(4), "語".repeat(5), "abcde".to_owned()];
        let batches = fill(&model(96, Some(4)), &texts);
        assert_eq!(batches[0].texts, ["語".repeat(4)]);
        let refused: Vec<(usize, &str)> =
            batches[0].refused.iter().map(|(tag, reason)| (*tag, reason.as_str())).collect();
        let long = "5 characters, the model takes 4";
        assert_eq!(refused, [(0, "the text is empty"), (2, long), (3, long)]);
    }
}
