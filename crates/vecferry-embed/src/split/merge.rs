//! Joins pieces into chunks: as many as fit, beginning with the last pieces of the chunk before as far as the overlap
//! allows. Pieces follow one another without gaps, so a chunk is always a stretch of the text.

use std::collections::VecDeque;

use super::character::trimmed;

/// The chunk that is being filled.
#[derive(Debug)]
pub(super) struct Merger {
    most: usize,
    overlap: usize,
    text: String,
    /// Bytes and characters of each piece in `text`.
    pieces: VecDeque<(usize, usize)>,
    chars: usize,
    /// Whether `text` holds more than what it repeats of the chunk before.
    news: bool,
}

impl Merger {
    /// For chunks of at most `most` characters, of which `overlap` may be repeated.
    pub(super) fn new(most: usize, overlap: usize) -> Merger {
        let (text, pieces) = (String::new(), VecDeque::new());
        Merger { most, overlap, text, pieces, chars: 0, news: false }
    }

    /// Adds a piece of `chars` characters, not more than `most`. Returns the chunk before it, if that is now full and
    /// not blank.
    pub(super) fn add(&mut self, piece: &str, chars: usize) -> Option<String> {
        let mut full = None;
        if self.chars + chars > self.most {
            if self.news {
                full = self.chunk();
                self.keep(self.overlap);
            }
            // llama-index-core 0.10 lets the overlap push a chunk beyond its size; later versions make room, as here.
            self.keep(self.most - chars);
        }
        self.text.push_str(piece);
        self.pieces.push_back((piece.len(), chars));
        self.chars += chars;
        self.news = true;
        full
    }

    /// The last chunk.
    pub(super) fn finish(&mut self) -> Option<String> {
        let last = self.news.then(|| self.chunk()).flatten();
        self.keep(0);
        last
    }

    fn chunk(&self) -> Option<String> {
        let chunk = trimmed(&self.text);
        (!chunk.is_empty()).then(|| chunk.to_owned())
    }

    /// Forgets pieces from the front until no more than so many characters are left, all of them repeated.
    fn keep(&mut self, chars: usize) {
        let mut bytes = 0;
        while self.chars > chars
            && let Some((length, count)) = self.pieces.pop_front()
        {
            bytes += length;
            self.chars -= count;
        }
        self.text.drain(..bytes);
        self.news = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(pieces: &[&str], most: usize, overlap: usize) -> Vec<String> {
        let mut merger = Merger::new(most, overlap);
        let mut chunks: Vec<String> =
            pieces.iter().filter_map(|piece| merger.add(piece, piece.chars().count())).collect();
        chunks.extend(merger.finish());
        chunks
    }

    #[test]
    fn a_chunk_takes_as_many_pieces_as_fit() {
        assert_eq!(merged(&["aa", "bb", "cc"], 4, 0), ["aabb", "cc"]);
        assert_eq!(merged(&["aa", "bb", "cc"], 6, 0), ["aabbcc"]);
        assert!(merged(&[], 4, 0).is_empty());
    }

    #[test]
    fn a_chunk_repeats_whole_pieces_up_to_the_overlap() {
        assert_eq!(merged(&["aaa", "b", "cc", "dd"], 6, 3), ["aaabcc", "bccdd"]);
        assert_eq!(merged(&["aaa", "bbb", "ccc"], 6, 2), ["aaabbb", "ccc"]);
    }

    #[test]
    fn the_overlap_gives_way_to_a_piece_that_needs_its_room() {
        assert_eq!(merged(&["aa", "b", "c", "dddd"], 5, 3), ["aabc", "cdddd"]);
        assert_eq!(merged(&["aa", "b", "ddddd"], 5, 3), ["aab", "ddddd"]);
    }

    #[test]
    fn chunks_are_trimmed_and_never_blank() {
        assert_eq!(merged(&["  ", "  ", " a", "b ", "  "], 4, 0), ["ab"]);
        assert_eq!(merged(&["a", "\n\n", "  ", "b"], 2, 0), ["a", "b"]);
    }
}
