//! Vectors that the source already has. A chunk is **unchanged** when the bot has a row with exactly its text, byte for
//! byte; its vector can be taken as it is, **provided that the same model made it**. The texts are compared here; which
//! model filled the source is the caller's knowledge, and without it nothing may be reused.
//!
//! What is held for each row is a hash of its text and where the row is (16 bytes: 16 MB for a million rows), never the
//! text. Rows are fetched only when a hash is met, by their place (`ctid`), which needs no index, and their text is
//! compared. The place is a hint, not a promise: no snapshot is held for the hours an embedding may take, and a row
//! that was moved, changed, deleted, or whose place another row took, simply does not compare. So a vector is never
//! wrong, and a source that is written to only costs more calls to the model.
//!
//! Nothing here is durable, and nothing is written to the source.

use std::collections::{BTreeSet, HashMap};
use std::error::Error as StdError;
use std::pin::pin;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{BufMut, BytesMut};
use futures_util::TryStreamExt;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use vecferry_core::error::on;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::{Dsn, QualifiedName, Session, quote_ident, quote_literal};
use vecferry_core::{Result, Side};

/// Rows of one text that are looked at. The same text under many sources is common (a page's footer) and any of them
/// serves; more than one is needed only when rows move.
const ROWS_PER_TEXT: usize = 4;

/// A failed conversion, as the driver wants it.
type Broken = Box<dyn StdError + Sync + Send>;

/// The vectors of one bot on the source.
pub struct KnownVectors {
    session: Session,
    /// Sorted by hash.
    rows: Vec<Known>,
    /// Selects text and embedding of the bot's rows at `$1`; `None` when the table has no such rows to offer.
    fetch: Option<String>,
    dimensions: usize,
}

/// A row: what its text hashes to, and where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    hash: u64,
    place: Place,
}

impl KnownVectors {
    /// Reads the hashes of the bot's rows on the source that have an embedding. Without a bot column, the whole table is
    /// the bot's.
    ///
    /// A view, a foreign table, or an embedding that is neither `vector` nor `halfvec` offers nothing: then no vector is
    /// known, which is logged.
    ///
    /// # Errors
    /// [`vecferry_core::Error::Postgres`] when the source cannot be read.
    pub async fn open(
        source: &Dsn,
        knowledge: &Knowledge,
        bot: &str,
        dimensions: usize,
    ) -> Result<KnownVectors> {
        let session = Session::open(source, Side::Source, "reuse").await?;
        let mut known = KnownVectors { session, rows: Vec::new(), fetch: None, dimensions };
        let Some(embedding) = known.embedding_sql(knowledge).await? else {
            let table = knowledge.table.plain();
            tracing::warn!(table, "no vector can be reused: not a table with a vector column");
            return Ok(known);
        };
        let table = &knowledge.table;
        let content = quote_ident(&knowledge.content);
        let mine = match &knowledge.bot {
            // A literal takes the column's type, whatever it is, and so can use its index.
            Some(column) => format!("{} = {}", quote_ident(column), quote_literal(bot)),
            None => "true".to_owned(),
        };
        let present = format!("{mine} AND {} IS NOT NULL", quote_ident(&knowledge.embedding));
        known.read_hashes(&hashes_sql(table, &content, &present)).await?;
        known.fetch = Some(format!(
            "SELECT {content}::text, {embedding} FROM {table} WHERE ctid = ANY ($1) AND {mine}"
        ));
        Ok(known)
    }

    /// Rows whose vectors are known, as of opening.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The vectors of those texts that the bot has, in the order of `texts`; `None` for the others. One query, and none
    /// if no hash is met; a caller passes a batch, not a document.
    ///
    /// A vector of another length than the model's, with a value that is no number, or of nothing but zeros is not known.
    ///
    /// # Errors
    /// [`vecferry_core::Error::Postgres`] when the source cannot be read. Nothing is wrong with the texts then: they can
    /// be embedded instead.
    pub async fn take(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let places: BTreeSet<Place> =
            texts.iter().flat_map(|text| places(&self.rows, hash(text))).collect();
        let Some(sql) = self.fetch.as_ref().filter(|_| !places.is_empty()) else {
            return Ok(vec![None; texts.len()]);
        };
        let places: Vec<Place> = places.into_iter().collect();
        let rows = self.session.query("fetch vectors to reuse", sql, &[&places]).await?;
        let mut found: HashMap<String, Vec<f32>> = HashMap::new();
        for row in &rows {
            let doing = "understand a row of the knowledge table";
            let text: Option<String> = row.try_get(0).map_err(on(Side::Source, doing))?;
            let vector: Option<Vector> = row.try_get(1).map_err(on(Side::Source, doing))?;
            if let (Some(text), Some(Vector(vector))) = (text, vector)
                && vector.len() == self.dimensions
                && vector.iter().all(|value| value.is_finite())
                && vector.iter().any(|value| *value != 0.0)
            {
                found.insert(text, vector);
            }
        }
        Ok(texts.iter().map(|text| found.get(*text).cloned()).collect())
    }

    /// How to select the embedding as a `vector`; `None` when that cannot be, or rows have no places.
    async fn embedding_sql(&self, knowledge: &Knowledge) -> Result<Option<String>> {
        let sql = "SELECT t.typname::text, n.nspname::text
            FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
            JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
            WHERE s.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND c.relkind IN ('r', 'p')";
        let QualifiedName { schema, name } = &knowledge.table;
        let doing = "look up the type of the embedding column";
        let row = self.session.query_opt(doing, sql, &[schema, name, &knowledge.embedding]).await?;
        let column = quote_ident(&knowledge.embedding);
        Ok(row.and_then(|row| match row.get(0) {
            "vector" => Some(column),
            "halfvec" => {
                Some(format!("{column}::{}", QualifiedName::new(row.get::<_, &str>(1), "vector")))
            }
            _ => None,
        }))
    }

    async fn read_hashes(&mut self, sql: &str) -> Result<()> {
        let doing = "read the hashes of the bot's texts";
        let none: [&(dyn ToSql + Sync); 0] = [];
        let stream = self.session.client().query_raw(sql, none).await;
        let mut stream = pin!(stream.map_err(on(Side::Source, doing))?);
        while let Some(row) = stream.try_next().await.map_err(on(Side::Source, doing))? {
            let hash: &[u8] = row.try_get(0).map_err(on(Side::Source, doing))?;
            let place = row.try_get(1).map_err(on(Side::Source, doing))?;
            self.rows.push(Known { hash: leading(hash), place });
        }
        self.rows.sort_unstable();
        self.rows.shrink_to_fit();
        Ok(())
    }
}

/// The server hashes, so that no text crosses the network. `convert_to`, for a database may have another encoding.
fn hashes_sql(table: &QualifiedName, content: &str, present: &str) -> String {
    let text = format!("pg_catalog.convert_to({content}::text, 'UTF8')");
    format!(
        "SELECT pg_catalog.substring(pg_catalog.sha256({text}), 1, 8), ctid FROM {table} \
         WHERE {present} AND {content} IS NOT NULL"
    )
}

/// The first 64 bits of a text's SHA-256.
fn hash(text: &str) -> u64 {
    leading(digest(&SHA256, text.as_bytes()).as_ref())
}

fn leading(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Places of rows with this hash.
fn places(rows: &[Known], hash: u64) -> impl Iterator<Item = Place> {
    let first = rows.partition_point(|row| row.hash < hash);
    rows[first..]
        .iter()
        .take(ROWS_PER_TEXT)
        .take_while(move |row| row.hash == hash)
        .map(|row| row.place)
}

/// Where a row is in its table's file: PostgreSQL's `tid`, 4 bytes of block and 2 of line pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    block: u32,
    line: u16,
}

impl<'a> FromSql<'a> for Place {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Place, Broken> {
        let [a, b, c, d, e, f] = <[u8; 6]>::try_from(raw)?;
        Ok(Place { block: u32::from_be_bytes([a, b, c, d]), line: u16::from_be_bytes([e, f]) })
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TID
    }
}

impl ToSql for Place {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Broken> {
        out.put_u32(self.block);
        out.put_u16(self.line);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TID
    }

    to_sql_checked!();
}

/// pgvector's `vector` as it sends it: the number of values and 16 unused bits, then the values, all big-endian.
struct Vector(Vec<f32>);

impl<'a> FromSql<'a> for Vector {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Vector, Broken> {
        let (head, values) = raw.split_at_checked(4).ok_or("a vector without a length")?;
        let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let (values, rest) = values.as_chunks::<4>();
        if values.len() != length || !rest.is_empty() {
            return Err("a vector of another length than it says".into());
        }
        Ok(Vector(values.iter().map(|value| f32::from_be_bytes(*value)).collect()))
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "vector"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(hash: u64, line: u16) -> Known {
        Known { hash, place: Place { block: 0, line } }
    }

    #[test]
    fn a_row_takes_16_bytes() {
        assert_eq!(size_of::<Known>(), 16);
    }

    #[test]
    fn the_hash_is_the_beginning_of_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc"), 0xba78_16bf_8f01_cfea);
        assert_eq!(leading(&[1, 2]), 0x0102);
    }

    #[test]
    fn rows_are_found_by_hash_and_no_more_than_a_few() {
        let mut rows: Vec<Known> = (0..9).map(|line| known(5, line)).collect();
        rows.extend([known(1, 20), known(9, 21), known(u64::MAX, 22)]);
        rows.sort_unstable();
        let lines = |hash| places(&rows, hash).map(|place| place.line).collect::<Vec<_>>();
        assert_eq!(lines(5), [0, 1, 2, 3]);
        assert_eq!(lines(1), [20]);
        assert_eq!(lines(u64::MAX), [22]);
        assert!(lines(2).is_empty() && lines(10).is_empty());
    }

    #[test]
    fn a_vector_is_read_as_it_is_sent_and_a_broken_one_refused() {
        let read = |raw: &[u8]| Vector::from_sql(&Type::BYTEA, raw).map(|vector| vector.0).ok();
        assert_eq!(read(&[0, 1, 0, 0, 0x3f, 0x80, 0, 0]), Some(vec![1.0]));
        assert_eq!(read(&[0, 0, 0, 0]), Some(vec![]));
        for broken in [&[][..], &[0, 1, 0], &[0, 1, 0, 0], &[0, 1, 0, 0, 1, 2, 3], &[0, 0, 0, 0, 9]]
        {
            assert_eq!(read(broken), None);
        }
    }

    #[test]
    fn a_place_is_written_as_it_is_read() {
        let place = Place { block: 70_000, line: 12 };
        let mut raw = BytesMut::new();
        place.to_sql(&Type::TID, &mut raw).unwrap();
        assert_eq!(Place::from_sql(&Type::TID, &raw).unwrap(), place);
    }
}
