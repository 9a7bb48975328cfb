//! The rows of one COPY, one at a time. Memory is one row and the connection's buffer.

use std::cmp::Ordering;
use std::ops::Range;

use crate::copy::stream::keyword;
use crate::error::{Result, on};
use crate::pg::{CopyFormat, Failure, WireConnection, frame};

/// Fixed part of a binary COPY's header: 11 bytes signature, 4 flags, 4 length of the extension.
const HEADER: usize = 19;

/// A row whose first columns are its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    bytes: Vec<u8>,
    /// Where each value is; `None` for a NULL.
    values: Vec<Option<Range<usize>>>,
    keys: usize,
}

impl Row {
    /// Takes a row of a COPY apart.
    pub(super) fn parse(format: CopyFormat, bytes: Vec<u8>, keys: usize) -> Option<Row> {
        let values = match format {
            CopyFormat::Binary => binary_values(&bytes)?,
            CopyFormat::Text => text_values(&bytes),
        };
        (values.len() >= keys).then_some(Row { bytes, values, keys })
    }

    /// A value's bytes.
    pub(super) fn value(&self, column: usize) -> Option<&[u8]> {
        Some(&self.bytes[self.values.get(column)?.clone()?])
    }

    fn key(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.keys).map(|column| self.value(column))
    }

    /// Order of the keys, byte by byte as in collation C.
    pub(super) fn compare_key(&self, other: &Row) -> Ordering {
        self.key().cmp(other.key())
    }

    /// The key for people.
    pub(super) fn key_text(&self) -> Vec<String> {
        self.key()
            .map(|value| String::from_utf8_lossy(value.unwrap_or(b"NULL")).into_owned())
            .collect()
    }

    /// Indexes of the columns after the key whose values differ.
    pub(super) fn differing(&self, other: &Row) -> Vec<usize> {
        if self.bytes == other.bytes {
            return Vec::new();
        }
        let columns = self.keys..self.values.len().max(other.values.len());
        columns.filter(|column| self.value(*column) != other.value(*column)).collect()
    }
}

/// A binary row: number of fields, then each one's length (-1 is NULL) and bytes.
fn binary_values(bytes: &[u8]) -> Option<Vec<Option<Range<usize>>>> {
    let count = i16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let mut values = Vec::with_capacity(usize::try_from(count).ok()?);
    let mut at = 2;
    for _ in 0..count {
        let length = i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
        at += 4;
        let value = usize::try_from(length).ok().map(|length| at..at + length);
        at = value.as_ref().map_or(at, |range| range.end);
        values.push(value);
    }
    (at == bytes.len()).then_some(values)
}

/// A text row: tabs separate, a newline ends; both are escaped within values.
fn text_values(bytes: &[u8]) -> Vec<Option<Range<usize>>> {
    let end = bytes.strip_suffix(b"\n").unwrap_or(bytes).len();
    let mut from = 0;
    let mut values = Vec::new();
    for field in bytes[..end].split(|byte| *byte == b'\t') {
        let range = from..from + field.len();
        from = range.end + 1;
        values.push((field != b"\\N").then_some(range));
    }
    values
}

/// A COPY under way.
pub(super) struct Rows {
    connection: WireConnection,
    format: CopyFormat,
    keys: usize,
    header_passed: bool,
    doing: String,
}

impl Rows {
    /// Starts reading `select`, whose first `keys` columns are the key.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when the server refuses the query.
    pub(super) async fn begin(
        mut connection: WireConnection,
        doing: String,
        select: &str,
        format: CopyFormat,
        keys: usize,
    ) -> Result<Rows> {
        let sql = format!("COPY ({select}) TO STDOUT (FORMAT {})", keyword(format));
        let side = connection.side();
        connection.begin_copy_out(&sql).await.map_err(on::<Failure>(side, &doing))?;
        let header_passed = format == CopyFormat::Text;
        Ok(Rows { connection, format, keys, header_passed, doing })
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when the connection or the query fails.
    pub(super) async fn next(&mut self) -> Result<Option<Row>> {
        let side = self.connection.side();
        self.advance().await.map_err(on(side, &self.doing))
    }

    async fn advance(&mut self) -> Result<Option<Row>, Failure> {
        loop {
            let buffered = self.connection.buffered();
            let Some((tag, length)) = frame(buffered)?.filter(|head| buffered.len() >= head.1)
            else {
                self.connection.fill().await?;
                continue;
            };
            match tag {
                b'd' => {
                    let payload = self.without_header(&buffered[5..length])?.to_vec();
                    self.header_passed = true;
                    self.connection.consume(length);
                    // A binary stream ends with a field count of -1; a header may come alone.
                    let no_row = payload.is_empty() || payload == [0xff, 0xff];
                    if self.format == CopyFormat::Binary && no_row {
                        continue;
                    }
                    let row = Row::parse(self.format, payload, self.keys);
                    return row.map(Some).ok_or_else(malformed);
                }
                b'c' => {
                    self.connection.read_until_ready().await?;
                    return Ok(None);
                }
                b'E' => return Err(self.connection.take_error()?),
                _ => self.connection.consume(length),
            }
        }
    }

    fn without_header<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8], Failure> {
        if self.header_passed {
            return Ok(payload);
        }
        let extension = payload.get(HEADER - 4..HEADER).ok_or_else(malformed)?;
        let extension = extension.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        payload.get(HEADER + extension..).ok_or_else(malformed)
    }
}

fn malformed() -> Failure {
    Failure::Protocol("a row of the COPY stream is malformed".into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::verify) fn binary(values: &[Option<&str>]) -> Vec<u8> {
        let mut bytes = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match value {
                None => bytes.extend((-1i32).to_be_bytes()),
                Some(value) => {
                    bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                    bytes.extend(value.as_bytes());
                }
            }
        }
        bytes
    }

    #[test]
    fn both_formats_give_values_and_tell_null_from_empty() {
        let from_binary =
            Row::parse(CopyFormat::Binary, binary(&[Some("k"), None, Some("")]), 1).unwrap();
        let from_text = Row::parse(CopyFormat::Text, b"k\t\\N\t\n".to_vec(), 1).unwrap();
        for row in [from_binary, from_text] {
            assert_eq!(row.value(0), Some(&b"k"[..]));
            assert_eq!((row.value(1), row.value(2), row.value(3)), (None, Some(&b""[..]), None));
            assert_eq!(row.key_text(), ["k"]);
        }
    }

    #[test]
    fn a_row_cut_short_or_with_bytes_left_over_is_refused() {
        let whole = binary(&[Some("key"), Some("value")]);
        for length in 0..whole.len() {
            assert_eq!(Row::parse(CopyFormat::Binary, whole[..length].to_vec(), 1), None);
        }
        let longer = [whole, vec![0]].concat();
        assert_eq!(Row::parse(CopyFormat::Binary, longer, 1), None);
    }

    #[test]
    fn keys_are_ordered_by_bytes_and_differing_columns_are_named() {
        let row =
            |values: &[Option<&str>]| Row::parse(CopyFormat::Binary, binary(values), 1).unwrap();
        let (a, b) = (row(&[Some("a"), Some("1"), None]), row(&[Some("ä"), Some("1"), Some("")]));
        assert_eq!(a.compare_key(&b), Ordering::Less);
        assert_eq!(a.differing(&b), [2]);
        assert!(a.differing(&a).is_empty());
    }
}
