//! The part of a text that is in memory, and where its stretches end: paragraphs and sentences that can be taken apart
//! on their own.

use std::io::{self, BufRead};
use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

use super::character::is_cut;
use super::pieces::{chars_within, is_delimiter};
use super::sentence::{first_break, settled};

/// Bytes that are read ahead, at least: enough for any sentence that is one, little beside everything else a worker
/// holds.
pub(super) const WINDOW: usize = 128 * 1024;

/// What the application calls its separator of paragraphs: a backslash and an `n`, three times. (It writes
/// `paragraph_separator=r"\n\n\n"`, and the splitter looks for exactly this text, not for line feeds.)
const SEPARATOR: &str = r"\n\n\n";

/// A stretch of the window's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Its bytes in [`Window::text`].
    pub(super) range: Range<usize>,
    /// Whether it is part of a sentence that is longer than the window, so that it is too long however short it is.
    pub(super) torn: bool,
}

/// Where the next stretch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// With a paragraph.
    Paragraph,
    /// With a sentence of a paragraph that does not fit into a chunk.
    Sentence,
    /// Within a sentence that is longer than the window.
    Torn,
}

/// Reads a text and divides it into stretches.
#[derive(Debug)]
pub(super) struct Window<R> {
    reader: R,
    most: usize,
    /// Bytes that are there before anything is decided, unless the text ends.
    wanted: usize,
    text: String,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    ended: bool,
    at: usize,
    place: Place,
    /// The first separator behind `at`, or none in `text[..searched]`.
    separator: Option<usize>,
    searched: usize,
}

impl<R: BufRead> Window<R> {
    /// A window of `bytes` for chunks of at most `most` characters, which must fit.
    pub(super) fn new(reader: R, most: usize, bytes: usize) -> Window<R> {
        Window {
            reader,
            most,
            wanted: bytes.max(4 * most + 1),
            text: String::new(),
            partial: Vec::new(),
            ended: false,
            at: 0,
            place: Place::Paragraph,
            separator: None,
            searched: 0,
        }
    }

    /// The text that the last stretch is part of.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The next stretch; `None` at the text's end.
    ///
    /// # Errors
    /// The reader's, and [`io::ErrorKind::InvalidData`] when its bytes are no UTF-8.
    pub(super) fn next(&mut self) -> io::Result<Option<Stretch>> {
        self.fill()?;
        if self.at == self.text.len() {
            return Ok(None);
        }
        let rest = &self.text[self.at..];
        let end = self.separator.map(|at| at - self.at).or(self.ended.then_some(rest.len()));
        let torn = self.place == Place::Torn;
        let length = match end {
            Some(end) if self.place == Place::Paragraph && self.fits(&rest[..end]) => end,
            Some(end) => first_cut(&rest[..end]).unwrap_or(end),
            None => first_cut(rest).filter(|at| *at <= settled(rest)).unwrap_or(0),
        };
        let (length, place) = match length {
            0 => (tear(rest), Place::Torn),
            length if Some(length) == end => (length, Place::Paragraph),
            length => (length, Place::Sentence),
        };
        let range = self.at..self.at + length;
        self.at = range.end;
        if place == Place::Paragraph {
            self.separator = None;
            self.searched = self.at;
        }
        self.place = place;
        Ok(Some(Stretch { range, torn: torn || place == Place::Torn }))
    }

    fn fits(&self, text: &str) -> bool {
        chars_within(text, self.most).is_some()
    }

    /// Reads until what is left is a window at least, and certainly too long for a chunk, or the text has ended; then
    /// looks for the next separator.
    fn fill(&mut self) -> io::Result<()> {
        if self.text.len() - self.at < self.wanted && !self.ended {
            self.text.drain(..self.at);
            self.searched = self.searched.saturating_sub(self.at);
            self.separator = self.separator.map(|at| at - self.at);
            self.at = 0;
            // Twice as much, so that the rest is not moved again for every sentence.
            while self.text.len() < 2 * self.wanted && !self.ended {
                self.read()?;
            }
        }
        if self.separator.is_none() {
            let mut from = self.searched.max(self.at);
            if self.text[self.at..].starts_with(SEPARATOR) {
                // It begins a paragraph, and does not end the one that it begins.
                self.place = Place::Paragraph;
                from = from.max(self.at + SEPARATOR.len());
            }
            let rest = &self.text[self.at..];
            let mut found = self.text[from..].match_indices(SEPARATOR).map(|(at, _)| from + at);
            self.separator = found.find(|at| is_cut(rest, at - self.at));
            let unknown = self.text.len().saturating_sub(SEPARATOR.len() - 1);
            self.searched = self.searched.max(self.text.floor_char_boundary(unknown));
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the text is not valid UTF-8");
        let bytes = match self.reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        };
        let length = bytes.len();
        if length == 0 {
            self.ended = true;
            return if self.partial.is_empty() { Ok(()) } else { Err(invalid()) };
        }
        self.partial.extend_from_slice(bytes);
        self.reader.consume(length);
        let valid = match std::str::from_utf8(&self.partial) {
            Ok(text) => text,
            Err(error) if error.error_len().is_some() => return Err(invalid()),
            Err(error) => {
                std::str::from_utf8(&self.partial[..error.valid_up_to()]).map_err(|_| invalid())?
            }
        };
        self.text.push_str(valid);
        let valid = valid.len();
        self.partial.drain(..valid);
        Ok(())
    }
}

/// The first sentence's end that is not inside a cluster.
fn first_cut(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        from += first_break(&text[from..])?;
        if is_cut(text, from) {
            return Some(from);
        }
    }
}

/// Where to tear a sentence that fills the window: behind its last delimiter, else before its last space, else before
/// its last cluster, else (a cluster of a hundred kilobytes) anywhere.
fn tear(text: &str) -> usize {
    let inside = |at: &usize| *at > 0 && *at < text.len() && is_cut(text, *at);
    let delimiters = text.char_indices().rev().filter(|(_, c)| is_delimiter(*c));
    delimiters
        .map(|(at, c)| at + c.len_utf8())
        .find(|at| inside(at) && !text[*at..].starts_with(is_delimiter))
        .or_else(|| text.rmatch_indices(' ').map(|(at, _)| at).find(inside))
        .or_else(|| {
            let mut cursor = GraphemeCursor::new(text.len(), text.len(), true);
            cursor.prev_boundary(text, 0).ok().flatten().filter(inside)
        })
        .unwrap_or(text.len())
}
