//! Digests of rows as they pass: per table and per bot, independent of their order. Pure.
//!
//! A row's hash is XXH3-128 over the payload of its COPY frame, that is over the length and value of every column;
//! a digest is the number of rows and the sum of their hashes modulo 2^128. Sums of parts add up, so each side may be
//! read in whatever parts and order suit it. The hash guards against accidents (a lost, doubled, cut or altered row),
//! not against somebody who forges rows.

use std::collections::HashMap;
use std::fmt;
use std::ops::{AddAssign, SubAssign};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::pg::CopyFormat;

/// A digest of a multiset of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// Number of rows.
    pub rows: u64,
    /// Sum of the rows' hashes modulo 2^128.
    pub sum: u128,
}

impl Digest {
    fn add_row(&mut self, hash: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// The sum in hexadecimal, 32 digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.sum)
    }

    /// A digest from its number of rows and [`Digest::hex`].
    pub fn from_hex(rows: u64, hex: &str) -> Option<Digest> {
        Some(Digest { rows, sum: u128::from_str_radix(hex, 16).ok()? })
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Digest) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl SubAssign for Digest {
    /// Takes rows out that are among these.
    fn sub_assign(&mut self, other: Digest) {
        self.rows = self.rows.saturating_sub(other.rows);
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows {}", self.rows, self.hex())
    }
}

/// A bot's id as its column's COPY bytes; `None` is a NULL. Decoded for people by [`BotKey::display`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BotKey(pub Option<Vec<u8>>);

impl BotKey {
    /// The id for a report: text as it is (blank padding removed), anything else in hexadecimal.
    pub fn display(&self) -> String {
        match &self.0 {
            None => "NULL".to_owned(),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.chars().any(char::is_control) => {
                    text.trim_end_matches(' ').to_owned()
                }
                _ => format!(
                    "\\x{}",
                    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                ),
            },
        }
    }
}

/// Digests of the rows that passed, in all and by bot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests {
    /// All rows.
    pub total: Digest,
    /// COPY bytes of all rows, without the stream's header and trailer.
    pub bytes: u64,
    /// By bot; empty when the table has no bot column.
    pub bots: HashMap<BotKey, Digest>,
}

impl AddAssign for Digests {
    fn add_assign(&mut self, other: Digests) {
        self.total += other.total;
        self.bytes += other.bytes;
        for (bot, digest) in other.bots {
            *self.bots.entry(bot).or_default() += digest;
        }
    }
}

/// Hashes the frames of one COPY. Give it each frame's payload, whole or in pieces, and say where each frame ends.
pub struct RowDigester {
    format: CopyFormat,
    /// Whether the first column of each row is the bot.
    by_bot: bool,
    digests: Digests,
    /// Bytes of the binary stream's header still to pass: the server sends it in front of the first row.
    header: Header,
    /// State of a row that arrives in pieces.
    pieces: Option<Pieces>,
}

/// How much of the binary header has passed.
enum Header {
    /// Collecting the fixed part: 11 bytes signature, 4 flags, 4 length of the extension.
    Fixed(Vec<u8>),
    /// Bytes of the extension left.
    Extension(usize),
    /// Rows follow.
    Passed,
}

struct Pieces {
    hasher: Box<Xxh3>,
    length: u64,
    /// The front of the row, kept until the bot's value is complete.
    front: Vec<u8>,
    bot: Option<BotKey>,
}

const HEADER_FIXED: usize = 19;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The stream is not what COPY is documented to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotACopy {
    /// The signature is missing.
    #[error("the COPY stream does not begin with PostgreSQL's binary signature")]
    Signature,
    /// A row ends before its first column.
    #[error("a row of the COPY stream is cut short")]
    Row,
}

impl RowDigester {
    /// A digester for one COPY whose first column is the bot when `by_bot`.
    pub fn new(format: CopyFormat, by_bot: bool) -> Self {
        let header = match format {
            CopyFormat::Binary => Header::Fixed(Vec::with_capacity(HEADER_FIXED)),
            CopyFormat::Text => Header::Passed,
        };
        Self { format, by_bot, digests: Digests::default(), header, pieces: None }
    }

    /// A whole frame's payload at once: the fast path.
    ///
    /// # Errors
    /// [`NotACopy`] when the stream is malformed.
    pub fn frame(&mut self, payload: &[u8]) -> Result<(), NotACopy> {
        if self.pieces.is_some() || !matches!(self.header, Header::Passed) {
            self.piece(payload)?;
            return self.end_of_frame();
        }
        if self.is_trailer(payload) {
            return Ok(());
        }
        let bot = if self.by_bot {
            Some(first_column(self.format, payload).ok_or(NotACopy::Row)?)
        } else {
            None
        };
        self.count(xxh3_128(payload), payload.len() as u64, bot);
        Ok(())
    }

    /// The next piece of a frame's payload.
    ///
    /// # Errors
    /// [`NotACopy`] when the stream is malformed.
    pub fn piece(&mut self, mut piece: &[u8]) -> Result<(), NotACopy> {
        self.pass_header(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        let by_bot = self.by_bot;
        let row = self.pieces.get_or_insert_with(|| Pieces {
            hasher: Box::new(Xxh3::new()),
            length: 0,
            front: Vec::new(),
            bot: None,
        });
        row.hasher.update(piece);
        row.length += piece.len() as u64;
        // Two bytes tell the trailer from a row; the bot needs the first column.
        if row.front.len() < 2 || (by_bot && row.bot.is_none()) {
            row.front.extend_from_slice(piece);
            row.bot = if by_bot { first_column(self.format, &row.front) } else { None };
            if row.bot.is_some() {
                row.front.truncate(2);
            }
        }
        Ok(())
    }

    /// The frame whose pieces were given is complete.
    ///
    /// # Errors
    /// [`NotACopy`] when it ends inside its first column.
    pub fn end_of_frame(&mut self) -> Result<(), NotACopy> {
        let Some(row) = self.pieces.take() else { return Ok(()) };
        if row.length == 2 && self.is_trailer(&row.front) {
            return Ok(());
        }
        let bot = match (self.by_bot, row.bot) {
            (true, None) if self.format == CopyFormat::Text => Some(text_column(&row.front)),
            (true, None) => return Err(NotACopy::Row),
            (_, bot) => bot,
        };
        self.count(row.hasher.digest128(), row.length, bot);
        Ok(())
    }

    /// Rows hashed so far.
    pub fn rows(&self) -> u64 {
        self.digests.total.rows
    }

    /// What has passed.
    pub fn finish(self) -> Digests {
        self.digests
    }

    fn count(&mut self, hash: u128, length: u64, bot: Option<BotKey>) {
        self.digests.total.add_row(hash);
        self.digests.bytes += length;
        if let Some(bot) = bot {
            self.digests.bots.entry(bot).or_default().add_row(hash);
        }
    }

    /// A binary COPY ends with a field count of -1.
    fn is_trailer(&self, payload: &[u8]) -> bool {
        self.format == CopyFormat::Binary && payload == [0xff, 0xff]
    }

    fn pass_header(&mut self, piece: &mut &[u8]) -> Result<(), NotACopy> {
        if let Header::Fixed(fixed) = &mut self.header {
            let wanted = (HEADER_FIXED - fixed.len()).min(piece.len());
            fixed.extend_from_slice(&piece[..wanted]);
            *piece = &piece[wanted..];
            if fixed.len() < HEADER_FIXED {
                return Ok(());
            }
            if !fixed.starts_with(SIGNATURE) {
                return Err(NotACopy::Signature);
            }
            let length = [fixed[15], fixed[16], fixed[17], fixed[18]];
            self.header = Header::Extension(u32::from_be_bytes(length) as usize);
        }
        if let Header::Extension(left) = &mut self.header {
            let skipped = (*left).min(piece.len());
            *left -= skipped;
            *piece = &piece[skipped..];
            if *left == 0 {
                self.header = Header::Passed;
            }
        }
        Ok(())
    }
}

/// The first column's value, or `None` while it is incomplete.
fn first_column(format: CopyFormat, row: &[u8]) -> Option<BotKey> {
    if format == CopyFormat::Text {
        return row.contains(&b'\t').then(|| text_column(row));
    }
    // Two bytes of field count, four bytes of length (-1 is NULL), the value.
    let length = i32::from_be_bytes(row.get(2..6)?.try_into().ok()?);
    match usize::try_from(length) {
        Err(_) => Some(BotKey(None)),
        Ok(length) => Some(BotKey(Some(row.get(6..6 + length)?.to_vec()))),
    }
}

/// The first column of a text row, its escapes undone
/// (<https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format").
fn text_column(row: &[u8]) -> BotKey {
    let end = row.iter().position(|byte| *byte == b'\t' || *byte == b'\n').unwrap_or(row.len());
    let raw = &row[..end];
    if raw == b"\\N" {
        return BotKey(None);
    }
    let mut value = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'v') => 11,
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    BotKey(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bot: Option<&str>, text: &str) -> Vec<u8> {
        let mut row = vec![0, 2];
        match bot {
            None => row.extend((-1i32).to_be_bytes()),
            Some(bot) => {
                row.extend(i32::try_from(bot.len()).unwrap().to_be_bytes());
                row.extend(bot.as_bytes());
            }
        }
        row.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
        row.extend(text.as_bytes());
        row
    }

    fn stream(rows: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut frames = rows.to_vec();
        let mut header = SIGNATURE.to_vec();
        header.extend([0; 8]);
        match frames.first_mut() {
            Some(first) => {
                header.append(first);
                *first = header;
            }
            None => frames.push(header),
        }
        frames.push(vec![0xff, 0xff]);
        frames
    }

    #[test]
    fn the_order_of_rows_and_the_size_of_pieces_do_not_matter() {
        let rows =
            [row(Some("a"), "one"), row(None, "two"), row(Some("bb"), ""), row(Some("a"), "one")];
        let mut whole = RowDigester::new(CopyFormat::Binary, true);
        for frame in stream(&rows) {
            whole.frame(&frame).unwrap();
        }
        let expected = whole.finish();
        assert_eq!(expected.total.rows, 4);
        assert_eq!(expected.bots[&BotKey(Some(b"a".to_vec()))].rows, 2);
        assert_eq!(expected.bots[&BotKey(None)].rows, 1);
        let mut reversed: Vec<_> = rows.to_vec();
        reversed.reverse();
        for size in 1..40 {
            let mut pieces = RowDigester::new(CopyFormat::Binary, true);
            for frame in stream(&reversed) {
                for piece in frame.chunks(size) {
                    pieces.piece(piece).unwrap();
                }
                pieces.end_of_frame().unwrap();
            }
            assert_eq!(pieces.finish(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn text_rows_give_the_bot_with_escapes_undone() {
        for size in [1, 3, 100] {
            let mut digester = RowDigester::new(CopyFormat::Text, true);
            for line in [&b"a\\tb\\\\\tx\n"[..], b"\\N\ty\n", b"only\n"] {
                for piece in line.chunks(size) {
                    digester.piece(piece).unwrap();
                }
                digester.end_of_frame().unwrap();
            }
            let mut bots: Vec<_> = digester.finish().bots.into_keys().collect();
            bots.sort();
            let expected =
                [BotKey(None), BotKey(Some(b"a\tb\\".to_vec())), BotKey(Some(b"only".to_vec()))];
            assert_eq!(bots, expected);
        }
    }

    #[test]
    fn a_lost_doubled_or_altered_row_changes_the_digest() {
        let digest = |rows: &[Vec<u8>]| {
            let mut digester = RowDigester::new(CopyFormat::Binary, false);
            stream(rows).iter().for_each(|frame| digester.frame(frame).unwrap());
            digester.finish().total
        };
        let (a, b) = (row(Some("x"), "1"), row(Some("x"), "2"));
        let base = digest(&[a.clone(), b.clone()]);
        assert_ne!(base, digest(std::slice::from_ref(&a)));
        assert_ne!(base, digest(&[a.clone(), a.clone()]));
        assert_ne!(base, digest(&[a.clone(), b.clone(), b]));
        assert_eq!(Digest::from_hex(base.rows, &base.hex()), Some(base));
        assert!(RowDigester::new(CopyFormat::Binary, false).frame(&[1; 30]).is_err());
    }
}
