//! Messages of PostgreSQL's output plugin `pgoutput`, protocol version 1, with values as text. Whatever the bytes are,
//! decoding ends in a message or in [`Malformed`]: it neither panics nor reserves more than the bytes could fill.
//!
//! Own code, because the crates that decode this bring a replication client, an event model or a runtime of theirs
//! along (`pgwire-replication`, `pg_walstream`, `pgsync-postgres`), and the format is ten messages that have been the
//! same since PostgreSQL 10 (`Message` since 14): <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.

use bytes::{Buf, Bytes};

use crate::pg::Lsn;

/// One message. Times are microseconds since 2000-01-01, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins.
    Begin {
        /// Where its commit record starts: what `ALTER SUBSCRIPTION … SKIP (lsn = …)` wants.
        final_lsn: Lsn,
        /// When it committed.
        committed_at: i64,
        /// Its id.
        xid: u32,
    },
    /// The transaction ends.
    Commit {
        /// Where its commit record starts.
        commit_lsn: Lsn,
        /// Where its commit record ends: what a subscriber records as its progress.
        end_lsn: Lsn,
        /// When it committed.
        committed_at: i64,
    },
    /// The changes that follow came from elsewhere.
    Origin {
        /// Where the transaction committed there.
        commit_lsn: Lsn,
        /// The origin's name.
        name: String,
    },
    /// Describes a table before its first change, and again after it was altered.
    Relation(Relation),
    /// Names a type that is not built in.
    Type {
        /// Its OID on the source.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A row was inserted.
    Insert {
        /// OID of the table on the source.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// A row was updated.
    Update {
        /// OID of the table on the source.
        relation: u32,
        /// The row before, when its identity changed or the whole row is its identity.
        old: Option<Tuple>,
        /// The row after.
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// OID of the table on the source.
        relation: u32,
        /// Its identity; columns that do not belong to it are NULL.
        old: Tuple,
    },
    /// Tables were emptied.
    Truncate {
        /// OIDs of the tables on the source.
        relations: Vec<u32>,
    },
    /// `pg_logical_emit_message`.
    Message {
        /// Where it is in the log.
        lsn: Lsn,
        /// Whether it belongs to a transaction.
        transactional: bool,
        /// Who it is for.
        prefix: String,
        /// What it says.
        content: Bytes,
    },
}

/// A table of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its OID there.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `relreplident`: `d` primary key, `i` an index, `f` the whole row, `n` nothing.
    pub replica_identity: u8,
    /// The published columns, in the order of the values.
    pub columns: Vec<Column>,
}

/// A published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether it belongs to the replica identity.
    pub identity: bool,
    /// OID of its type on the source.
    pub type_oid: u32,
    /// `atttypmod`.
    pub type_modifier: i32,
}

/// The values of a row, one for each column of its [`Relation`].
pub type Tuple = Vec<Value>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL, or a column that this tuple leaves out.
    Null,
    /// A TOASTed value that the update did not touch, and that was not sent.
    Unchanged,
    /// The type's text output.
    Text(Bytes),
}

/// Bytes that are no message of protocol version 1. Shows none of them: they may be a row's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", .tag.map(|tag| format!(" (message {:?})", char::from(tag))).unwrap_or_default())]
pub struct Malformed {
    /// The message's first byte.
    pub tag: Option<u8>,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Decodes one message; its values share the bytes given.
///
/// # Errors
/// [`Malformed`] when the bytes are not exactly one message.
pub fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    let mut reader = Reader { bytes };
    let tag = reader.u8().map_err(|what| Malformed { tag: None, what })?;
    body(tag, &mut reader).map_err(|what| Malformed { tag: Some(tag), what })
}

/// Why bytes could not be read.
type Wrong = &'static str;

fn body(tag: u8, reader: &mut Reader) -> Result<Message, Wrong> {
    let message = match tag {
        b'B' => Message::Begin {
            final_lsn: reader.lsn()?,
            committed_at: reader.i64()?,
            xid: reader.u32()?,
        },
        b'C' => {
            reader.u8()?;
            Message::Commit {
                commit_lsn: reader.lsn()?,
                end_lsn: reader.lsn()?,
                committed_at: reader.i64()?,
            }
        }
        b'O' => Message::Origin { commit_lsn: reader.lsn()?, name: reader.text()? },
        b'R' => Message::Relation(relation(reader)?),
        b'Y' => {
            Message::Type { oid: reader.u32()?, schema: reader.schema()?, name: reader.text()? }
        }
        b'I' => Message::Insert { relation: reader.u32()?, new: new_tuple(reader)? },
        b'U' => update(reader)?,
        b'D' => {
            let relation = reader.u32()?;
            let old = old_tuple(reader)?.ok_or("a deleted row has no identity")?;
            Message::Delete { relation, old }
        }
        b'T' => truncate(reader)?,
        b'M' => {
            let transactional = reader.u8()? & 1 == 1;
            let (lsn, prefix) = (reader.lsn()?, reader.text()?);
            Message::Message { lsn, transactional, prefix, content: reader.counted()? }
        }
        _ => return Err("a message of an unknown kind"),
    };
    match reader.bytes.is_empty() {
        true => Ok(message),
        false => Err("bytes are left over"),
    }
}

fn relation(reader: &mut Reader) -> Result<Relation, Wrong> {
    let (oid, schema, name) = (reader.u32()?, reader.schema()?, reader.text()?);
    let replica_identity = reader.u8()?;
    let column = |reader: &mut Reader| {
        Ok(Column {
            identity: reader.u8()? & 1 == 1,
            name: reader.text()?,
            type_oid: reader.u32()?,
            type_modifier: reader.i32()?,
        })
    };
    let count = reader.u16()?;
    let columns = reader.several(usize::from(count), column)?;
    Ok(Relation { oid, schema, name, replica_identity, columns })
}

fn update(reader: &mut Reader) -> Result<Message, Wrong> {
    let relation = reader.u32()?;
    let old = old_tuple(reader)?;
    Ok(Message::Update { relation, old, new: new_tuple(reader)? })
}

fn truncate(reader: &mut Reader) -> Result<Message, Wrong> {
    let count = reader.u32()?;
    // CASCADE and RESTART IDENTITY: the tables are all listed, and sequences do not travel.
    reader.u8()?;
    let count = usize::try_from(count).map_err(|_| "more tables than can be")?;
    Ok(Message::Truncate { relations: reader.several(count, Reader::u32)? })
}

fn new_tuple(reader: &mut Reader) -> Result<Tuple, Wrong> {
    match reader.u8()? {
        b'N' => tuple(reader),
        _ => Err("a row is not marked as one"),
    }
}

/// The row before the change, if the message has one.
fn old_tuple(reader: &mut Reader) -> Result<Option<Tuple>, Wrong> {
    match reader.bytes.first() {
        Some(b'K' | b'O') => {
            reader.u8()?;
            tuple(reader).map(Some)
        }
        _ => Ok(None),
    }
}

fn tuple(reader: &mut Reader) -> Result<Tuple, Wrong> {
    let value = |reader: &mut Reader| match reader.u8()? {
        b'n' => Ok(Value::Null),
        b'u' => Ok(Value::Unchanged),
        b't' => reader.counted().map(Value::Text),
        b'b' => Err("a value is binary, and text was asked for"),
        _ => Err("a value of an unknown kind"),
    };
    let count = reader.u16()?;
    reader.several(usize::from(count), value)
}

/// Takes bytes off the front, as many as there are.
struct Reader {
    bytes: Bytes,
}

impl Reader {
    fn need(&self, count: usize) -> Result<(), Wrong> {
        if self.bytes.len() < count { Err("the message ends too early") } else { Ok(()) }
    }

    fn u8(&mut self) -> Result<u8, Wrong> {
        self.need(1).map(|()| self.bytes.get_u8())
    }

    fn u16(&mut self) -> Result<u16, Wrong> {
        self.need(2).map(|()| self.bytes.get_u16())
    }

    fn u32(&mut self) -> Result<u32, Wrong> {
        self.need(4).map(|()| self.bytes.get_u32())
    }

    fn i32(&mut self) -> Result<i32, Wrong> {
        self.need(4).map(|()| self.bytes.get_i32())
    }

    fn i64(&mut self) -> Result<i64, Wrong> {
        self.need(8).map(|()| self.bytes.get_i64())
    }

    fn lsn(&mut self) -> Result<Lsn, Wrong> {
        self.need(8).map(|()| Lsn(self.bytes.get_u64()))
    }

    /// A string that ends with a zero byte.
    fn text(&mut self) -> Result<String, Wrong> {
        let end = self.bytes.iter().position(|byte| *byte == 0).ok_or("a name has no end")?;
        let text = self.bytes.split_to(end);
        self.bytes.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| "a name is not UTF-8")
    }

    /// A schema's name; `pg_catalog` travels as nothing.
    fn schema(&mut self) -> Result<String, Wrong> {
        let name = self.text()?;
        Ok(if name.is_empty() { "pg_catalog".to_owned() } else { name })
    }

    /// Bytes after their number.
    fn counted(&mut self) -> Result<Bytes, Wrong> {
        let count = usize::try_from(self.i32()?).map_err(|_| "a value has a negative length")?;
        self.need(count).map(|()| self.bytes.split_to(count))
    }

    /// `count` things of at least one byte each.
    fn several<T>(
        &mut self,
        count: usize,
        one: impl Fn(&mut Reader) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Wrong> {
        self.need(count)?;
        (0..count).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message put together from pieces.
    #[derive(Default)]
    struct Wire(Vec<u8>);

    impl Wire {
        fn tag(tag: u8) -> Wire {
            Wire(vec![tag])
        }

        fn u8(self, value: u8) -> Wire {
            self.raw(&[value])
        }

        fn u16(self, value: u16) -> Wire {
            self.raw(&value.to_be_bytes())
        }

        fn u32(self, value: u32) -> Wire {
            self.raw(&value.to_be_bytes())
        }

        fn u64(self, value: u64) -> Wire {
            self.raw(&value.to_be_bytes())
        }

        fn text(self, value: &str) -> Wire {
            self.raw(value.as_bytes()).u8(0)
        }

        fn value(self, value: &str) -> Wire {
            self.u8(b't').u32(value.len() as u32).raw(value.as_bytes())
        }

        fn raw(mut self, bytes: &[u8]) -> Wire {
            self.0.extend_from_slice(bytes);
            self
        }

        fn decode(self) -> Result<Message, Malformed> {
            decode(Bytes::from(self.0))
        }
    }

    fn text(value: &str) -> Value {
        Value::Text(Bytes::copy_from_slice(value.as_bytes()))
    }

    /// One of each, with what it means.
    fn messages() -> Vec<(Wire, Message)> {
        frames().into_iter().chain(changes()).collect()
    }

    fn frames() -> Vec<(Wire, Message)> {
        let relation = Relation {
            oid: 16_400,
            schema: "Über".into(),
            name: "items".into(),
            replica_identity: b'd',
            columns: vec![
                Column { name: "id".into(), identity: true, type_oid: 1042, type_modifier: 30 },
                Column { name: "body".into(), identity: false, type_oid: 25, type_modifier: -1 },
            ],
        };
        let columns = || Wire::tag(b'R').u32(16_400).text("Über").text("items").u8(b'd').u16(2);
        vec![
            (
                Wire::tag(b'B').u64(0x16_B374_D848).u64(7).u32(731),
                Message::Begin { final_lsn: Lsn(0x16_B374_D848), committed_at: 7, xid: 731 },
            ),
            (
                Wire::tag(b'C').u8(0).u64(1).u64(2).u64(u64::MAX),
                Message::Commit { commit_lsn: Lsn(1), end_lsn: Lsn(2), committed_at: -1 },
            ),
            (
                Wire::tag(b'O').u64(9).text("pg_1"),
                Message::Origin { commit_lsn: Lsn(9), name: "pg_1".into() },
            ),
            (
                columns().u8(1).text("id").u32(1042).u32(30).u8(0).text("body").u32(25).u32(!0),
                Message::Relation(relation),
            ),
            (
                Wire::tag(b'Y').u32(600).text("").text("point"),
                Message::Type { oid: 600, schema: "pg_catalog".into(), name: "point".into() },
            ),
            (
                Wire::tag(b'T').u32(2).u8(3).u32(16_400).u32(16_500),
                Message::Truncate { relations: vec![16_400, 16_500] },
            ),
            (
                Wire::tag(b'M').u8(1).u64(5).text("app").u32(2).raw(&[0, 255]),
                Message::Message {
                    lsn: Lsn(5),
                    transactional: true,
                    prefix: "app".into(),
                    content: Bytes::from_static(&[0, 255]),
                },
            ),
        ]
    }

    fn changes() -> Vec<(Wire, Message)> {
        let changed = |tag: u8| Wire::tag(tag).u32(16_400);
        vec![
            (
                changed(b'I').u8(b'N').u16(3).value("it's").u8(b'n').value(""),
                Message::Insert {
                    relation: 16_400,
                    new: vec![text("it's"), Value::Null, text("")],
                },
            ),
            (
                changed(b'U').u8(b'N').u16(2).value("a").u8(b'u'),
                Message::Update {
                    relation: 16_400,
                    old: None,
                    new: vec![text("a"), Value::Unchanged],
                },
            ),
            (
                changed(b'U').u8(b'K').u16(2).value("a").u8(b'n').u8(b'N').u16(1).value("b"),
                Message::Update {
                    relation: 16_400,
                    old: Some(vec![text("a"), Value::Null]),
                    new: vec![text("b")],
                },
            ),
            (
                changed(b'D').u8(b'O').u16(1).value("a"),
                Message::Delete { relation: 16_400, old: vec![text("a")] },
            ),
        ]
    }

    #[test]
    fn every_message_is_decoded() {
        for (wire, message) in messages() {
            assert_eq!(wire.decode(), Ok(message));
        }
    }

    #[test]
    fn every_beginning_of_a_message_and_every_longer_one_is_an_error() {
        for (wire, _) in messages() {
            for end in 0..wire.0.len() {
                assert!(decode(Bytes::copy_from_slice(&wire.0[..end])).is_err(), "{end}");
            }
            assert_eq!(wire.u8(0).decode().unwrap_err().what, "bytes are left over");
        }
    }

    /// Counts and lengths that promise more than there is included.
    #[test]
    fn no_change_of_any_byte_makes_it_panic() {
        for (wire, _) in messages() {
            for at in 0..wire.0.len() {
                for byte in 0..=u8::MAX {
                    let mut bytes = wire.0.clone();
                    bytes[at] = byte;
                    // Some changes leave a message, most do not: what matters is that each ends here.
                    let _ = decode(Bytes::from(bytes));
                }
            }
        }
    }

    #[test]
    fn what_is_not_protocol_version_1_in_text_is_named() {
        for (wire, what) in [
            (Wire::tag(b'S').u32(731).u8(1), "a message of an unknown kind"),
            (Wire::tag(b'I').u32(1).u8(b'N').u16(1).u8(b'b').u32(0), "a value is binary"),
            (Wire::tag(b'I').u32(1).u8(b'N').u16(1).u8(b'x'), "a value of an unknown kind"),
            (Wire::tag(b'I').u32(1).u8(b'K').u16(0), "a row is not marked as one"),
            (Wire::tag(b'D').u32(1).u8(b'N').u16(0), "a deleted row has no identity"),
            (Wire::tag(b'I').u32(1).u8(b'N').u16(1).u8(b't').u32(!0), "a negative length"),
            (Wire::tag(b'O').u64(1).raw(&[0xFF, 0]), "not UTF-8"),
            (Wire::default(), "ends too early"),
        ] {
            let malformed = wire.decode().unwrap_err();
            assert!(malformed.to_string().contains(what), "{malformed}");
        }
        assert!(Wire::tag(b'S').decode().unwrap_err().to_string().ends_with("(message 'S')"));
    }
}
