//! Takes a text apart into pieces that fit into a chunk: sentences first, then phrases, words and characters, each
//! only where the one before leaves too much.
//!
//! Lazily, one piece at a time: a line of a megabyte without a space is a million pieces, and they need not exist at
//! once. What is remembered is one frame for each level on the way down.

use std::ops::Range;

use super::character::is_cut;
use super::sentence::first_break;

/// How often a sentence is looked at for sentences again. Alone, without the words after it, it may still come apart
/// at its end (`?!`), and the original tries without end; so would a megabyte of `?!`, one character each time.
const SENTENCES_DEEP: usize = 3;

/// What a text is taken apart into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Sentences, as [`super::sentence`] finds them.
    Sentence,
    /// Up to and with a delimiter of [`is_delimiter`].
    Phrase,
    /// A space and what follows it.
    Word,
    /// What a reader takes for one character (an extended grapheme cluster).
    Cluster,
    /// A Unicode scalar value: only of a cluster that is itself too long.
    Scalar,
}

impl Level {
    fn finer(self) -> Option<Level> {
        match self {
            Level::Sentence => Some(Level::Phrase),
            Level::Phrase => Some(Level::Word),
            Level::Word => Some(Level::Cluster),
            Level::Cluster => Some(Level::Scalar),
            Level::Scalar => None,
        }
    }

    /// Where the second piece of `text` begins; `None` when it is a single one. Only [`Level::Scalar`] cuts clusters.
    fn first_cut(self, text: &str) -> Option<usize> {
        let mut from = 0;
        loop {
            let rest = &text[from..];
            from += match self {
                Level::Sentence => first_break(rest)?,
                Level::Phrase => phrase_end(rest)?,
                // A word's own first character is never the space of the next one.
                Level::Word => char_len(rest) + rest[char_len(rest)..].find(' ')?,
                Level::Cluster | Level::Scalar => char_len(rest),
            };
            if from >= text.len() {
                return None;
            }
            if self == Level::Scalar || is_cut(text, from) {
                return Some(from);
            }
        }
    }
}

/// Ends a phrase: the ASCII and CJK punctuation of the application's splitter (`SentenceSplitter`'s secondary regular
/// expression).
pub(super) fn is_delimiter(c: char) -> bool {
    matches!(c, ',' | '.' | ';' | '。' | '？' | '！')
}

/// Where the first phrase ends. It keeps all its delimiters, and those before it; the original loses all but one.
fn phrase_end(text: &str) -> Option<usize> {
    let words = text.trim_start_matches(is_delimiter);
    let rest = words[words.find(is_delimiter)?..].trim_start_matches(is_delimiter);
    Some(text.len() - rest.len())
}

/// Bytes of the first character.
fn char_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// How many characters `text` has, if not more than `most`.
pub(super) fn chars_within(text: &str, most: usize) -> Option<usize> {
    if text.len() > most.saturating_mul(4) {
        return None;
    }
    Some(text.chars().count()).filter(|chars| *chars <= most)
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its bytes.
    pub(super) range: Range<usize>,
    /// Its characters.
    pub(super) chars: usize,
}

/// A text that is being taken apart at one level.
#[derive(Debug)]
struct Frame {
    level: Level,
    at: usize,
    /// Where the piece that begins at `at` ends.
    cut: usize,
    end: usize,
}

/// The pieces of one stretch of a text after another. The text itself is the caller's.
#[derive(Debug)]
pub(super) struct Pieces {
    most: usize,
    whole: Option<Piece>,
    frames: Vec<Frame>,
}

impl Pieces {
    /// Pieces of at most so many characters, which are not 0.
    pub(super) fn new(most: usize) -> Pieces {
        Pieces { most, whole: None, frames: Vec::new() }
    }

    /// Goes on with `text[range]`, which is one piece if it is short enough.
    pub(super) fn open(&mut self, text: &str, range: Range<usize>) {
        match chars_within(&text[range.clone()], self.most) {
            Some(chars) => self.whole = Some(Piece { range, chars }),
            None => self.open_at(text, range, Level::Sentence),
        }
    }

    /// Goes on with `text[range]`, part of a sentence that is too long: its phrases are pieces, however short it is.
    pub(super) fn open_torn(&mut self, text: &str, range: Range<usize>) {
        match Level::Phrase.first_cut(&text[range.clone()]) {
            Some(_) => self.open_at(text, range, Level::Phrase),
            None => self.open(text, range),
        }
    }

    /// Goes on with `text[range]`, which is too long, or must be cut at `level`.
    fn open_at(&mut self, text: &str, range: Range<usize>, level: Level) {
        let mut next = Some(level);
        while let Some(level) = next {
            if let Some(cut) = level.first_cut(&text[range.clone()]) {
                let (at, end) = (range.start, range.end);
                self.frames.push(Frame { level, at, cut: at + cut, end });
                return;
            }
            next = level.finer();
        }
        // A single character.
        let chars = chars_within(&text[range.clone()], self.most);
        self.whole = chars.map(|chars| Piece { range, chars });
    }

    /// The next piece, until there is none and something else can be opened.
    pub(super) fn next(&mut self, text: &str) -> Option<Piece> {
        loop {
            if let Some(piece) = self.whole.take() {
                return Some(piece);
            }
            let frame = self.frames.last_mut()?;
            let (level, range) = (frame.level, frame.at..frame.cut);
            frame.at = frame.cut;
            let rest = &text[frame.at..frame.end];
            frame.cut = level.first_cut(rest).map_or(frame.end, |cut| frame.at + cut);
            if frame.at == frame.end {
                self.frames.pop();
            }
            match chars_within(&text[range.clone()], self.most) {
                Some(chars) => return Some(Piece { range, chars }),
                None => self.open_at(text, range, self.below(level)),
            }
        }
    }

    /// The level at which a piece of `level` that is too long is taken apart: from the coarsest again, as the original
    /// does, unless that would not end.
    fn below(&self, level: Level) -> Level {
        let sentences = self.frames.iter().filter(|frame| frame.level == Level::Sentence).count();
        match level {
            Level::Cluster | Level::Scalar => Level::Scalar,
            _ if sentences < SENTENCES_DEEP => Level::Sentence,
            _ => level.finer().unwrap_or(Level::Scalar),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, most: usize) -> Vec<&str> {
        let mut pieces = Pieces::new(most);
        pieces.open(text, 0..text.len());
        std::iter::from_fn(|| pieces.next(text)).map(|piece| &text[piece.range]).collect()
    }

    #[test]
    fn a_text_that_fits_is_one_piece() {
        assert_eq!(pieces("One. Two.", 9), ["One. Two."]);
    }

    #[test]
    fn sentences_come_before_phrases_before_words_before_characters() {
        assert_eq!(pieces("One. Two.", 8), ["One. ", "Two."]);
        assert_eq!(pieces("one, two。three", 8), ["one,", " two。", "three"]);
        assert_eq!(pieces("one two  three", 8), ["one", " two", " ", " three"]);
        assert_eq!(pieces("abcd", 3), ["a", "b", "c", "d"]);
        assert_eq!(
            pieces("one, two abcdefghij.", 9),
            ["one,", " two", " ", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "."]
        );
    }

    #[test]
    fn no_delimiter_is_lost() {
        assert_eq!(pieces("one...., two", 8), ["one....,", " two"]);
        assert_eq!(pieces("..one, two;", 6), ["..one,", " two;"]);
        assert_eq!(pieces("....", 2), [".", ".", ".", "."]);
    }

    #[test]
    fn clusters_stay_whole_unless_one_is_too_long() {
        assert_eq!(pieces("e\u{301}e\u{301}x", 2), ["e\u{301}", "e\u{301}", "x"]);
        assert_eq!(pieces("e\u{301}\u{302}x", 2), ["e", "\u{301}", "\u{302}", "x"]);
        assert_eq!(pieces("one,\u{301} two", 6), ["one,\u{301}", " two"]);
    }

    #[test]
    fn a_sentence_of_nothing_but_ends_does_not_go_down_for_ever() {
        let text = "?!".repeat(20_000);
        assert_eq!(pieces(&text, 10).concat(), text);
    }
}
