//! Sequences and large objects: what is neither schema nor table rows.
//!
//! Sequences are not transactional: read after the snapshot they are at or past every value that its rows hold.
//! Setting them again is harmless, so they have no record of their own. Each large object commits with its record.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result, Side};
use crate::migration::Run;
use crate::pg::{QualifiedName, Session};
use crate::source::SourceSnapshot;
use crate::store;

/// Bytes of a large object that are in memory at once; a multiple of its 2048-byte pages.
const PIECE: i32 = 1 << 20;

/// Sets every sequence that is on both sides to at least the source's position.
///
/// # Errors
/// [`Error::Postgres`] with the side that failed.
pub(crate) async fn set_sequences(run: &Run<'_>, source: &SourceSnapshot) -> Result<()> {
    for name in &source.inventory.sequences {
        let there = "SELECT to_regclass($1) IS NOT NULL";
        if !run
            .control
            .query_one("look for a sequence", there, &[&name.to_string()])
            .await?
            .get::<_, bool>(0)
        {
            continue;
        }
        let (last, called) = position(source.session(), name).await?;
        let (target_last, target_called) = position(&run.control, name).await?;
        // A prepared target may be further; going back would hand out a value twice. Descending sequences go down.
        let sql =
            "SELECT increment_by < 0 FROM pg_sequences WHERE schemaname = $1 AND sequencename = $2";
        let down: bool = run
            .control
            .query_one("read a sequence's direction", sql, &[&name.schema, &name.name])
            .await?
            .get(0);
        if further((target_last, target_called), (last, called), down) {
            continue;
        }
        let sql = "SELECT setval($1::text::regclass, $2, $3)";
        run.control.query_one("set a sequence", sql, &[&name.to_string(), &last, &called]).await?;
    }
    Ok(())
}

/// Whether `here` has handed out values beyond `there`.
fn further(here: (i64, bool), there: (i64, bool), down: bool) -> bool {
    if here.0 == there.0 {
        return here.1 && !there.1;
    }
    // An untouched sequence stands at its start; that is not a position to keep.
    here.1 && (here.0 > there.0) != down
}

async fn position(session: &Session, name: &QualifiedName) -> Result<(i64, bool)> {
    let sql = format!("SELECT last_value, is_called FROM {name}");
    let row = session.query_one(&format!("read sequence {}", name.plain()), &sql, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// Where large objects are copied from and to.
pub(crate) struct LargeObjectCopy<'a> {
    /// A session on the source, in a transaction whose snapshot is kept.
    pub source: &'a Session,
    /// The session on the target that writes the record.
    pub control: &'a Session,
    /// Migration id.
    pub id: &'a str,
    /// Ends it between two objects.
    pub cancel: &'a CancellationToken,
}

impl<'a> LargeObjectCopy<'a> {
    /// The copy of a migration that runs.
    pub(crate) fn of(run: &'a Run<'_>, source: &'a SourceSnapshot) -> Self {
        let source = source.session();
        LargeObjectCopy { source, control: &run.control, id: &run.id, cancel: run.cancel }
    }

    /// Copies every large object under its own OID. One that an earlier run copied is read again on the source, as it
    /// may have been written since, and copied again if it was; one that the target had before is left alone when it
    /// is equal.
    ///
    /// # Errors
    /// [`Error::Postgres`] with the side that failed, [`Error::Refused`] when an OID is taken by another object.
    pub(crate) async fn run(&self) -> Result<()> {
        let sql = "SELECT oid, digest FROM vecferry.large_object WHERE migration = $1";
        let rows = self.control.query("read the record's large objects", sql, &[&self.id]).await?;
        let mut recorded: HashMap<u32, String> =
            rows.iter().map(|row| (store::unsigned(row.get(0)), row.get(1))).collect();
        let sql = "SELECT oid FROM pg_largeobject_metadata ORDER BY oid";
        for row in self.source.query("list the large objects", sql, &[]).await? {
            if self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let oid: u32 = row.get(0);
            match recorded.remove(&oid) {
                Some(digest) if digest == digest_of(self.source, oid).await? => {}
                Some(_) => {
                    self.remove(oid).await?;
                    self.copy(oid).await?;
                }
                None => self.copy_or_recognise(oid).await?,
            }
        }
        // What is left was removed on the source since an earlier run copied it.
        for oid in recorded.into_keys() {
            self.remove(oid).await?;
        }
        Ok(())
    }

    async fn copy_or_recognise(&self, oid: u32) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT FROM pg_largeobject_metadata WHERE oid = $1)";
        if !self.control.query_one("look for a large object", sql, &[&oid]).await?.get::<_, bool>(0)
        {
            return self.copy(oid).await;
        }
        if digest_of(self.control, oid).await? == digest_of(self.source, oid).await? {
            return Ok(());
        }
        Err(Error::Refused {
            side: Side::Target,
            what: format!("the target has another large object under number {oid}"),
            hint: Some(format!("remove it there with SELECT lo_unlink({oid}) if nothing needs it")),
        })
    }

    async fn copy(&self, oid: u32) -> Result<()> {
        let doing = format!("copy large object {oid}");
        let session = self.control;
        session.batch(&doing, "BEGIN").await?;
        session.query_one(&doing, "SELECT lo_create($1)", &[&oid]).await?;
        let mut hasher = Xxh3::new();
        let mut offset: i64 = 0;
        while let Some(piece) = piece(self.source, oid, offset).await? {
            hasher.update(&piece);
            session
                .query_one(&doing, "SELECT lo_put($1, $2, $3)", &[&oid, &offset, &piece])
                .await?;
            offset += i64::try_from(piece.len()).unwrap_or(i64::MAX);
        }
        let digest = format!("{:032x}", hasher.digest128());
        let sql = "INSERT INTO vecferry.large_object (migration, oid, bytes, digest) VALUES ($1, $2, $3, $4)";
        session.execute(&doing, sql, &[&self.id, &i64::from(oid), &offset, &digest]).await?;
        session.batch(&doing, "COMMIT").await
    }

    /// Removes an object that an earlier run copied, with its record.
    async fn remove(&self, oid: u32) -> Result<()> {
        let doing = format!("remove large object {oid}");
        self.control.batch(&doing, "BEGIN").await?;
        // Somebody may have removed it on the target.
        let sql = "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = $1";
        self.control.query(&doing, sql, &[&oid]).await?;
        let sql = "DELETE FROM vecferry.large_object WHERE migration = $1 AND oid = $2";
        self.control.execute(&doing, sql, &[&self.id, &i64::from(oid)]).await?;
        self.control.batch(&doing, "COMMIT").await
    }
}

async fn digest_of(session: &Session, oid: u32) -> Result<String> {
    let mut hasher = Xxh3::new();
    let mut offset: i64 = 0;
    while let Some(piece) = piece(session, oid, offset).await? {
        hasher.update(&piece);
        offset += i64::try_from(piece.len()).unwrap_or(i64::MAX);
    }
    Ok(format!("{:032x}", hasher.digest128()))
}

/// The bytes from `offset` on, at most [`PIECE`]; `None` at the end.
async fn piece(session: &Session, oid: u32, offset: i64) -> Result<Option<Vec<u8>>> {
    let doing = format!("read large object {oid}");
    let sql = "SELECT lo_get($1, $2, $3)";
    let piece: Vec<u8> = session.query_one(&doing, sql, &[&oid, &offset, &PIECE]).await?.get(0);
    Ok((!piece.is_empty()).then_some(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_further_is_not_set_back() {
        for (here, there, down, keeps) in [
            ((5, true), (3, true), false, true),
            ((3, true), (5, true), false, false),
            ((5, true), (5, false), false, true),
            ((1, false), (1, true), false, false),
            ((9, false), (3, true), false, false),
            ((-5, true), (-3, true), true, true),
            ((-3, true), (-5, true), true, false),
        ] {
            assert_eq!(further(here, there, down), keeps, "{here:?} {there:?} {down}");
        }
    }
}
