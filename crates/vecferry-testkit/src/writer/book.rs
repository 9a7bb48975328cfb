//! What the writer writes. Every value follows from seed, key and version, and the version can be
//! read from the value: so a row read back says which write it is of, and whether it is intact.

use std::sync::Arc;

use crate::corpus::{bot_id, guides};
use crate::error::Result;
use crate::vectors::{SplitMix, Vectors, binary};

/// Vectors kept ready: making one of 1024 dimensions takes longer than sending it.
const READY: u64 = 64;

/// Versions are written into a vector in pieces of so many bits, which an `f32` holds exactly.
const PIECE: u32 = 20;

/// A row's id, or a bot's.
pub(super) type Key = Arc<str>;

/// The content of a row, as the versions that its two halves come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowState {
    pub(super) content: u64,
    pub(super) vector: u64,
}

/// A row as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Every byte is as some version wrote it.
    Intact(RowState),
    /// No version wrote this column so.
    Damaged(&'static str),
}

/// Makes values, and recognises them.
#[derive(Debug)]
pub(super) struct Book {
    seed: u64,
    text: String,
    length: usize,
    vectors: Vec<Vec<f32>>,
}

impl Book {
    /// Texts of about `length` bytes, vectors of `dimensions`.
    pub(super) fn new(seed: u64, dimensions: usize, length: usize) -> Result<Book> {
        let mut text = guides()?.into_iter().map(|chunk| chunk.text).collect::<String>();
        while text.len() < 2 * length {
            text.push_str(&text.clone());
        }
        let all = Vectors::new(seed, dimensions, 8);
        Ok(Book { seed, text, length, vectors: (0..READY).map(|number| all.get(number)).collect() })
    }

    /// The id of a worker's n-th bot.
    pub(super) fn bot(&self, worker: usize, number: usize) -> Key {
        bot_id(&format!("writer {} {worker} {number}", self.seed)).into()
    }

    /// The id of a row: the n-th that this version of this bot inserts.
    pub(super) fn key(&self, bot: &str, version: u64, number: u64) -> Key {
        bot_id(&format!("{bot} {version} {number}")).into()
    }

    /// The text of a row.
    pub(super) fn content(&self, key: &str, version: u64) -> String {
        let mut content = format!("{key} version {version} ");
        let start = mix(key, version) % (self.text.len() - self.length) as u64;
        let start = self.text.floor_char_boundary(start as usize);
        let end = start + self.length.saturating_sub(content.len());
        content.push_str(&self.text[start..self.text.ceil_char_boundary(end)]);
        content
    }

    /// The document a row is said to be from; it never changes.
    pub(super) fn source(&self, key: &str) -> String {
        format!("s3://documents/{key}.pdf")
    }

    /// The embedding of a row.
    pub(super) fn vector(&self, key: &str, version: u64) -> Vec<f32> {
        let mut vector = self.vectors[(version % READY) as usize].clone();
        let pieces = [version, version >> PIECE, mix(key, version)];
        for (place, piece) in vector.iter_mut().zip(pieces) {
            *place = (piece & ((1 << PIECE) - 1)) as f32 / (1_u64 << PIECE) as f32;
        }
        vector
    }

    /// Which version a row's text is of, if it is as that version wrote it.
    pub(super) fn version_of_content(&self, key: &str, content: &str) -> Option<u64> {
        let version = content.strip_prefix(key)?.strip_prefix(" version ")?;
        let version = version.split(' ').next()?.parse().ok()?;
        (self.content(key, version) == content).then_some(version)
    }

    /// The same of its vector, given in pgvector's binary form.
    pub(super) fn version_of_vector(&self, key: &str, bytes: &[u8]) -> Option<u64> {
        let piece = |place: usize| {
            let value = bytes.get(4 + 4 * place..8 + 4 * place)?;
            let value = f32::from_be_bytes(value.try_into().ok()?) * (1_u64 << PIECE) as f32;
            Some(value as u64)
        };
        let version = piece(0)? | piece(1)? << PIECE;
        (binary(&self.vector(key, version)) == bytes).then_some(version)
    }
}

/// A number that belongs to this version of this row.
fn mix(key: &str, version: u64) -> u64 {
    let hash = key.bytes().fold(version, |hash, byte| {
        hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(byte)
    });
    SplitMix::new(hash).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_which_version_it_is_of_and_a_changed_one_says_none() {
        let book = Book::new(1, 16, 300).unwrap();
        let key = book.key("bot", 1, 0);
        for version in [1, 77, 1 << 19, (1 << 33) + 5] {
            let (content, vector) = (book.content(&key, version), book.vector(&key, version));
            assert!((300..=304).contains(&content.len()), "{}", content.len());
            assert_eq!(book.version_of_content(&key, &content), Some(version));
            assert_eq!(book.version_of_content("other", &content), None);
            assert_eq!(book.version_of_content(&key, &format!("{content}!")), None);
            let mut bytes = binary(&vector);
            assert_eq!(book.version_of_vector(&key, &bytes), Some(version));
            assert_eq!(book.version_of_vector("other", &bytes), None);
            *bytes.last_mut().unwrap() ^= 1;
            assert_eq!(book.version_of_vector(&key, &bytes), None);
        }
        assert_ne!(book.key("bot", 1, 0), book.key("bot", 1, 1));
    }
}
