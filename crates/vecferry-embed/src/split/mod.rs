//! Texts become chunks, as the application's own worker makes them.
//!
//! A chunk whose text is unchanged takes its vector from the source instead of the embedding model ([`crate::reuse`]),
//! so every chunk that is cut elsewhere than the application cuts it costs money. This is therefore a port of what
//! Bedrock Chat v1 runs (`backend/embedding/main.py` at v1.2.8 to v1.4.0): llama-index-core 0.10's `SentenceSplitter`
//! with lengths in characters, over NLTK 3.9's sentence tokenizer without a model. `tests/it/chunks` holds texts in
//! several languages and the chunks that the original makes of them. Over 479
//! documents (15,592 chunks: guides in five languages, manuals, licences, change logs) 94 % were the same byte for byte
//! with the defaults, 97 % of the guides; 4.5 % were ones that the original makes too long or takes characters from.
//!
//! What the original does not promise comes first, whatever the text:
//! - No chunk is longer than asked for, nor than the model takes. (The original's may be, by the overlap, when a long
//!   sentence follows short ones.)
//! - No character is lost but white space at a chunk's ends. (The original loses repeated delimiters, `....`, in
//!   sentences longer than a chunk.)
//! - No cut goes through what a reader takes for one character (an extended grapheme cluster), unless a single one is
//!   longer than a chunk: that one is cut between its code points.
//! - No chunk is blank, and two neighbours share no more than the overlap.
//! - Memory does not grow with the text: a few hundred kilobytes, or some chunks if they are larger. A sentence that is
//!   longer than 128 KiB is torn, preferably behind punctuation, where it would be cut anyway.

mod character;
mod merge;
mod pieces;
mod sentence;
mod window;

use std::io::{self, BufRead};

use vecferry_core::bot::Splitting;

use merge::Merger;
use pieces::Pieces;
use window::{WINDOW, Window};

/// Longest chunk, in characters, whatever is asked for: far beyond every embedding model, and what bounds memory.
pub const LONGEST_CHUNK: usize = 256 * 1024;

/// Splits texts for one bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splitter {
    chunk_chars: usize,
    overlap_chars: usize,
}

impl Splitter {
    /// A splitter as the bot wants it, for a model that takes texts of at most `limit` characters
    /// ([`crate::embedder::Model::chars_per_text`]).
    ///
    /// What cannot be is moved to what can: a chunk has at least one character and at most [`LONGEST_CHUNK`]; a limit
    /// shortens the overlap in proportion; an overlap of a whole chunk or more, with which chunks would not advance
    /// (the application refuses it), becomes half a chunk.
    pub fn new(splitting: Splitting, limit: Option<usize>) -> Splitter {
        let wanted = splitting.chunk_chars.clamp(1, LONGEST_CHUNK);
        let chunk_chars = limit.map_or(wanted, |limit| wanted.min(limit.max(1)));
        let overlap =
            if splitting.overlap_chars >= wanted { wanted / 2 } else { splitting.overlap_chars };
        Splitter { chunk_chars, overlap_chars: overlap * chunk_chars / wanted }
    }

    /// Longest chunk it makes, in characters.
    pub fn chunk_chars(&self) -> usize {
        self.chunk_chars
    }

    /// Most characters that two neighbouring chunks share.
    pub fn overlap_chars(&self) -> usize {
        self.overlap_chars
    }

    /// The chunks of a text, in order, made while it is read. After an error there are no more.
    ///
    /// # Errors
    /// The reader's, and [`io::ErrorKind::InvalidData`] when its bytes are no UTF-8.
    pub fn chunks<R: BufRead>(&self, text: R) -> impl Iterator<Item = io::Result<String>> + use<R> {
        self.through(text, WINDOW)
    }

    fn through<R: BufRead>(&self, text: R, window: usize) -> Chunks<R> {
        Chunks {
            window: Some(Window::new(text, self.chunk_chars, window)),
            pieces: Pieces::new(self.chunk_chars),
            merger: Merger::new(self.chunk_chars, self.overlap_chars),
        }
    }
}

/// The chunks of one text.
struct Chunks<R> {
    /// `None` once everything was read, or reading failed.
    window: Option<Window<R>>,
    pieces: Pieces,
    merger: Merger,
}

impl<R: BufRead> Iterator for Chunks<R> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        let window = self.window.as_mut()?;
        loop {
            while let Some(piece) = self.pieces.next(window.text()) {
                if let Some(chunk) = self.merger.add(&window.text()[piece.range], piece.chars) {
                    return Some(Ok(chunk));
                }
            }
            match window.next() {
                Ok(Some(part)) if part.torn => {
                    self.pieces.open_torn(window.text(), part.range);
                }
                Ok(Some(part)) => self.pieces.open(window.text(), part.range),
                Ok(None) => {
                    self.window = None;
                    return self.merger.finish().map(Ok);
                }
                Err(error) => {
                    self.window = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
