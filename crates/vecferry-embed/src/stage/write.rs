//! Batches of chunks become staged rows: one transaction each, in which documents also begin, end or are lost.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::types::Json;
use vecferry_core::error::{Class, Error, Result, Side, on};

use super::Stage;
use super::encode::{self, Row};
use super::prepare::passes;
use crate::document::Lost;

/// Bytes handed to the connection at once: enough for a dozen chunks of 1024 dimensions, little beside a batch.
const PIECE: usize = 64 << 10;

/// What becomes durable together. The caller bounds it; a few hundred chunks keep the commits few.
#[derive(Debug, Default)]
pub struct Batch {
    /// Documents whose first chunks are here.
    pub begun: Vec<Begun>,
    /// Chunks of documents begun here or before.
    pub chunks: Vec<Chunk>,
    /// Documents whose chunks are all written with this batch, and how many there are in all.
    pub finished: Vec<(u32, u32)>,
    /// Documents that give no rows, by source. Chunks they have are dropped.
    pub lost: Vec<(String, Lost)>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty()
            && self.chunks.is_empty()
            && self.finished.is_empty()
            && self.lost.is_empty()
    }
}

/// A document that gets its first chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The worker's number for it.
    pub number: u32,
    /// What the source column will hold.
    pub source: String,
    /// Its version, where it is known.
    pub version: Option<String>,
}

/// An embedded chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// The worker's number of its document.
    pub document: u32,
    /// Place in the document, from 0.
    pub ordinal: u32,
    /// Text, without NUL, which PostgreSQL cannot store.
    pub content: String,
    /// Embedding.
    pub vector: Vec<f32>,
}

/// A vector that has no direction once it is stored, so that no search finds its row.
#[derive(Debug, thiserror::Error)]
#[error("a vector is nothing but zeros in a column of type {column}, where no search can find it")]
struct NothingButZeros {
    column: String,
}

impl Stage {
    /// Writes a batch. A lost connection is made again and the batch repeated; it is written once.
    ///
    /// # Errors
    /// [`Error::Refused`] when another run took the bot over meanwhile, [`Error::Service`] for a vector that the column
    /// would hold as zeros, [`Error::Bug`] for one that is none, [`Error::Postgres`] when repeating does not help.
    pub async fn write(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check_vectors(batch)?;
        let ids: Vec<Option<String>> = batch.chunks.iter().map(|_| self.fresh_id()).collect();
        let tries = self.tries();
        for attempt in 1..=tries {
            let repeated = attempt > 1;
            match self.try_write(batch, &ids, repeated).await {
                Ok(begun) => {
                    self.known += i64::try_from(begun.len()).unwrap_or_default();
                    self.open.extend(begun);
                    for (number, _) in &batch.finished {
                        self.open.remove(number);
                    }
                    return Ok(());
                }
                Err(error) if attempt < tries && passes(&error) => self.come_back().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A vector of other dimensions or with a number that is none would be refused by the server at best.
    fn check_vectors(&self, batch: &Batch) -> Result<()> {
        let dimensions = self.making.dimensions;
        let bad = |chunk: &&Chunk| {
            chunk.vector.len() != dimensions
                || !chunk.vector.iter().all(|number| number.is_finite())
        };
        match batch.chunks.iter().find(bad) {
            None => self.check_not_zero(batch),
            Some(chunk) => Err(Error::Bug {
                what: format!(
                    "an embedding of {} numbers, of which {} are finite, came where {dimensions} were asked for",
                    chunk.vector.len(),
                    chunk.vector.iter().filter(|number| number.is_finite()).count()
                ),
            }),
        }
    }

    /// A vector of zeros would take the place of a row that can be found. Asked here because only here it is known how
    /// many bits the column has; what is zero in every column is refused when the model answers.
    fn check_not_zero(&self, batch: &Batch) -> Result<()> {
        let numbers = self.shape.numbers;
        let zero = |chunk: &Chunk| encode::is_stored_as_zero(&chunk.vector, numbers);
        if !batch.chunks.iter().any(zero) {
            return Ok(());
        }
        let column = self.shape.embedding_type.clone();
        let hint = "choose a model that answers vectors of length 1, or make the column a vector";
        Err(Error::Service {
            service: "embedding model",
            doing: "stage its vectors".to_owned(),
            class: Class::Operator,
            source: Box::new(NothingButZeros { column }),
            hint: Some(hint.to_owned()),
        })
    }

    /// One try, in one transaction. Returns the rows of documents begun.
    async fn try_write(
        &self,
        batch: &Batch,
        ids: &[Option<String>],
        repeated: bool,
    ) -> Result<HashMap<u32, i64>> {
        let doing = "stage chunks";
        self.session.batch(doing, "BEGIN").await?;
        let begun = self.begin_documents(&batch.begun).await?;
        let row_of = |number: u32| {
            begun.get(&number).or_else(|| self.open.get(&number)).copied().ok_or_else(|| {
                Error::Bug { what: format!("chunks of document {number}, which was never begun") }
            })
        };
        let mut documents = Vec::with_capacity(batch.chunks.len());
        for chunk in &batch.chunks {
            documents.push(row_of(chunk.document)?);
        }
        if repeated {
            // The commit of the try before may have happened although its answer was lost.
            self.unwrite(&documents, &batch.chunks).await?;
        }
        self.copy(&documents, &batch.chunks, ids).await?;
        let (mut finished, mut chunks) = (Vec::new(), Vec::new());
        for &(number, count) in &batch.finished {
            finished.push(row_of(number)?);
            chunks.push(i32::try_from(count).unwrap_or(i32::MAX));
        }
        if !finished.is_empty() {
            let sql = "UPDATE vecferry.staged_document d SET complete = true, chunks = x.chunks \
                       FROM unnest($1::bigint[], $2::int[]) AS x(id, chunks) WHERE d.id = x.id";
            self.session.execute(doing, sql, &[&finished, &chunks]).await?;
        }
        self.lose(&batch.lost).await?;
        self.session.batch(doing, "COMMIT").await?;
        Ok(begun)
    }

    async fn begin_documents(&self, begun: &[Begun]) -> Result<HashMap<u32, i64>> {
        if begun.is_empty() {
            return Ok(HashMap::new());
        }
        // A document of that source is there already when this is a repeated try.
        let sql = "INSERT INTO vecferry.staged_document AS d (migration, bot, fingerprint, run, source, version) \
                   SELECT $1, $2, $3, $4, x.source, x.version FROM unnest($5::text[], $6::text[]) AS x(source, version) \
                   ON CONFLICT (migration, bot, source) DO UPDATE \
                   SET version = EXCLUDED.version, fingerprint = EXCLUDED.fingerprint, run = EXCLUDED.run, \
                       complete = false, chunks = 0, lost = NULL RETURNING d.source, d.id";
        let sources: Vec<&str> = begun.iter().map(|document| document.source.as_str()).collect();
        let versions: Vec<Option<&str>> =
            begun.iter().map(|document| document.version.as_deref()).collect();
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let fingerprint = &self.making.fingerprint;
        let rows = self
            .session
            .query(
                "stage documents",
                sql,
                &[migration, bot, fingerprint, &self.run, &sources, &versions],
            )
            .await?;
        let ids: HashMap<&str, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let id = |document: &Begun| Some((document.number, *ids.get(document.source.as_str())?));
        Ok(begun.iter().filter_map(id).collect())
    }

    async fn unwrite(&self, documents: &[i64], chunks: &[Chunk]) -> Result<()> {
        let sql = format!(
            "DELETE FROM {} c USING unnest($1::bigint[], $2::int[]) AS x(document, ordinal) \
             WHERE c.document = x.document AND c.ordinal = x.ordinal",
            self.shape.chunk_table()
        );
        let ordinals: Vec<i32> = chunks.iter().map(|chunk| ordinal(chunk.ordinal)).collect();
        self.session.execute("stage chunks", &sql, &[&documents, &ordinals]).await?;
        Ok(())
    }

    async fn copy(
        &self,
        documents: &[i64],
        chunks: &[Chunk],
        ids: &[Option<String>],
    ) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let failed = || on::<tokio_postgres::Error>(Side::Target, "stage chunks");
        let sql = format!(
            "COPY {} (document, ordinal, id, content, embedding) FROM STDIN (FORMAT binary)",
            self.shape.chunk_table()
        );
        let sink = self.session.client().copy_in::<_, Bytes>(&sql).await.map_err(failed())?;
        let mut sink = std::pin::pin!(sink);
        let mut piece = BytesMut::with_capacity(PIECE);
        encode::begin(&mut piece);
        for ((chunk, &document), id) in chunks.iter().zip(documents).zip(ids) {
            let row = Row {
                document,
                ordinal: ordinal(chunk.ordinal),
                id: id.as_deref(),
                content: &chunk.content,
                vector: &chunk.vector,
            };
            encode::row(&mut piece, row, self.shape.numbers);
            if piece.len() >= PIECE {
                sink.send(piece.split().freeze()).await.map_err(failed())?;
            }
        }
        encode::end(&mut piece);
        sink.send(piece.freeze()).await.map_err(failed())?;
        sink.finish().await.map_err(failed())?;
        Ok(())
    }

    /// Records lost documents, and drops the chunks that some of them have.
    async fn lose(&self, lost: &[(String, Lost)]) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let doing = "record lost documents";
        let sources: Vec<&str> = lost.iter().map(|(source, _)| source.as_str()).collect();
        let reasons: Vec<Json<&Lost>> = lost.iter().map(|(_, lost)| Json(lost)).collect();
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let drop = format!(
            "DELETE FROM {} c USING vecferry.staged_document d \
             WHERE c.document = d.id AND d.migration = $1 AND d.bot = $2 AND d.source = ANY($3)",
            self.shape.chunk_table()
        );
        self.session.execute(doing, &drop, &[migration, bot, &sources]).await?;
        let record = "INSERT INTO vecferry.staged_document (migration, bot, fingerprint, run, source, lost) \
                      SELECT $1, $2, $3, $4, x.source, x.lost FROM unnest($5::text[], $6::jsonb[]) AS x(source, lost) \
                      ON CONFLICT (migration, bot, source) DO UPDATE \
                      SET complete = false, chunks = 0, run = EXCLUDED.run, lost = EXCLUDED.lost";
        let fingerprint = &self.making.fingerprint;
        self.session
            .execute(doing, record, &[migration, bot, fingerprint, &self.run, &sources, &reasons])
            .await?;
        Ok(())
    }
}

/// Far below the limit: a document is split into chunks of hundreds of characters and bounded in bytes.
fn ordinal(ordinal: u32) -> i32 {
    i32::try_from(ordinal).unwrap_or(i32::MAX)
}
