//! Whether the target holds the same large objects: by number, and by content in pieces, so that memory is bounded
//! whatever their number and size. Two clusters are compared by the servers' own digests of each piece, and no content
//! travels; the record's digest is over the whole object, which is therefore read.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::content::Standing;
use crate::error::Result;
use crate::pg::Session;

/// Large objects looked at together: enough that small ones do not cost a round trip each.
const BATCH: usize = 256;

/// Bytes of a piece, which a server holds in memory while it hashes it.
const PIECE: i32 = 1 << 20;

/// Large objects named in the answer.
const NAMED: usize = 10;

/// The answer about large objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LargeObjects {
    /// Whether the target has all of the source's, with the same content. It may have more.
    pub matches: bool,
    /// Whether content was compared; otherwise only which ones there are.
    pub digests: bool,
    /// How long it took.
    pub seconds: f64,
    /// Large objects of the source looked for on the target.
    pub objects: u64,
    /// Bytes of the target's compared.
    pub bytes: u64,
    /// On the source only.
    pub missing: u64,
    /// On the target only, which is no mismatch.
    pub extra: u64,
    /// On both sides with different content.
    pub changed: u64,
    /// The first of them in the order of their numbers.
    pub first: Vec<ObjectDifference>,
}

/// A large object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectDifference {
    /// Its OID.
    pub oid: u32,
    /// How it stands.
    pub standing: Standing,
}

impl LargeObjects {
    fn differ(&mut self, oid: u32, standing: Standing) {
        match standing {
            Standing::Missing => self.missing += 1,
            Standing::Extra => self.extra += 1,
            Standing::Changed => self.changed += 1,
        }
        self.first.push(ObjectDifference { oid, standing });
        // Names of what is merely more must not crowd out what is wrong.
        self.first.sort_by_key(|one| (one.standing == Standing::Extra, one.oid));
        self.first.truncate(NAMED);
    }
}

/// What the target's large objects are compared with.
pub(super) enum Reference<'a> {
    /// The source's, in the transaction of this session.
    Source(&'a Session),
    /// Those that a migration recorded on the target.
    Record {
        /// A session on the target.
        session: &'a Session,
        /// The migration.
        migration: &'a str,
    },
}

/// Compares all large objects, by content when `digests`.
///
/// # Errors
/// [`crate::Error::Postgres`] when a side cannot be read, for example for want of rights on an object.
pub(super) async fn compare(
    reference: &Reference<'_>,
    target: &Session,
    digests: bool,
) -> Result<LargeObjects> {
    let begun = Instant::now();
    let mut found = LargeObjects { digests, ..LargeObjects::default() };
    let mut after = 0;
    loop {
        let (theirs, ours) = tokio::try_join!(reference.list(after), list(target, after))?;
        let page = Page::of(theirs, ours);
        found.objects += (page.common.len() + page.missing.len()) as u64;
        page.missing.iter().for_each(|oid| found.differ(*oid, Standing::Missing));
        page.extra.iter().for_each(|oid| found.differ(*oid, Standing::Extra));
        if digests {
            let (changed, bytes) = reference.changed(target, page.common).await?;
            found.bytes += bytes;
            changed.into_iter().for_each(|oid| found.differ(oid, Standing::Changed));
        }
        match page.end {
            Some(end) => after = end,
            None => break,
        }
    }
    found.matches = found.missing + found.changed == 0;
    found.seconds = begun.elapsed().as_secs_f64();
    Ok(found)
}

/// What two lists of numbers, each cut at [`BATCH`], say together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    common: Vec<u32>,
    missing: Vec<u32>,
    extra: Vec<u32>,
    /// Where both lists go on; `None` when both ended.
    end: Option<u32>,
}

impl Page {
    fn of(theirs: Vec<u32>, ours: Vec<u32>) -> Page {
        let cut = |list: &[u32]| list.last().copied().filter(|_| list.len() >= BATCH);
        let end = [cut(&theirs), cut(&ours)].into_iter().flatten().min();
        let known = |oid: &u32| end.is_none_or(|end| *oid <= end);
        let mut page = Page { end, ..Page::default() };
        let mut theirs = theirs.into_iter().filter(known).peekable();
        let mut ours = ours.into_iter().filter(known).peekable();
        loop {
            let order = match (theirs.peek(), ours.peek()) {
                (None, None) => return page,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(their), Some(our)) => their.cmp(our),
            };
            match order {
                Ordering::Less => page.missing.extend(theirs.next()),
                Ordering::Greater => page.extra.extend(ours.next()),
                Ordering::Equal => {
                    page.common.extend(theirs.next());
                    ours.next();
                }
            }
        }
    }
}

async fn list(session: &Session, after: u32) -> Result<Vec<u32>> {
    let sql = format!(
        "SELECT oid FROM pg_largeobject_metadata WHERE oid > $1 ORDER BY oid LIMIT {BATCH}"
    );
    let rows = session.query("list the large objects", &sql, &[&after]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

impl Reference<'_> {
    async fn list(&self, after: u32) -> Result<Vec<u32>> {
        match self {
            Reference::Source(session) => list(session, after).await,
            Reference::Record { session, migration } => {
                let sql = format!(
                    "SELECT oid::oid FROM vecferry.large_object WHERE migration = $1 AND oid > $2 \
                     ORDER BY oid LIMIT {BATCH}"
                );
                let doing = "read the record's large objects";
                let rows = session.query(doing, &sql, &[migration, &i64::from(after)]).await?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            }
        }
    }

    /// Which of these, that both have, differ in content, and how many bytes of the target were looked at.
    async fn changed(&self, target: &Session, oids: Vec<u32>) -> Result<(Vec<u32>, u64)> {
        match self {
            Reference::Source(source) => by_pieces(source, target, oids).await,
            Reference::Record { session, migration } => {
                let sql = "SELECT oid::oid, digest FROM vecferry.large_object \
                           WHERE migration = $1 AND oid = ANY ($2::oid[]::bigint[])";
                let doing = "read the record's large objects";
                let rows = session.query(doing, sql, &[migration, &oids]).await?;
                let (mut changed, mut bytes) = (Vec::new(), 0);
                for row in rows {
                    let oid = row.get(0);
                    let (digest, length) = whole_digest(target, oid).await?;
                    bytes += length;
                    if digest != row.get::<_, &str>(1) {
                        changed.push(oid);
                    }
                }
                Ok((changed, bytes))
            }
        }
    }
}

/// Digest of a piece and its length.
type Piece = (String, i32);

async fn by_pieces(
    source: &Session,
    target: &Session,
    mut oids: Vec<u32>,
) -> Result<(Vec<u32>, u64)> {
    let (mut changed, mut bytes) = (Vec::new(), 0);
    let mut offset = 0;
    while !oids.is_empty() {
        let (theirs, ours) =
            tokio::try_join!(pieces(source, &oids, offset), pieces(target, &oids, offset))?;
        let mut longer = Vec::new();
        for oid in oids {
            let our = ours.get(&oid);
            bytes += our.map_or(0, |piece| u64::from(piece.1.unsigned_abs()));
            match our {
                our if our != theirs.get(&oid) => changed.push(oid),
                Some((_, PIECE)) => longer.push(oid),
                _ => {}
            }
        }
        oids = longer;
        offset += i64::from(PIECE);
    }
    Ok((changed, bytes))
}

/// The piece of each object at this offset. The server holds one at a time.
async fn pieces(session: &Session, oids: &[u32], offset: i64) -> Result<HashMap<u32, Piece>> {
    // OFFSET 0 keeps the object from being read twice.
    let sql = "SELECT o, md5(piece), length(piece) FROM (\
                 SELECT o, lo_get(o, $2, $3) AS piece FROM unnest($1::oid[]) AS o OFFSET 0) AS p";
    let rows = session.query("read large objects", sql, &[&oids, &offset, &PIECE]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// The digest of a whole object as `migrate` records it, and its length.
async fn whole_digest(session: &Session, oid: u32) -> Result<(String, u64)> {
    let doing = format!("read large object {oid}");
    let mut hasher = Xxh3::new();
    let mut offset: i64 = 0;
    loop {
        let sql = "SELECT lo_get($1, $2, $3)";
        let row = session.query_one(&doing, sql, &[&oid, &offset, &PIECE]).await?;
        let piece: &[u8] = row.get(0);
        if piece.is_empty() {
            return Ok((format!("{:032x}", hasher.digest128()), offset.unsigned_abs()));
        }
        hasher.update(piece);
        offset += i64::try_from(piece.len()).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_compared_as_far_as_both_are_known() {
        let page = Page::of(vec![1, 2, 4], vec![2, 3]);
        let expected = Page { common: vec![2], missing: vec![1, 4], extra: vec![3], end: None };
        assert_eq!(page, expected);
        let full: Vec<u32> = (1..=256).collect();
        let page = Page::of(full.clone(), vec![256, 300]);
        assert_eq!((page.common, page.extra, page.end), (vec![256], vec![], Some(256)));
        let page = Page::of(vec![7], full);
        assert_eq!((page.common, page.missing, page.extra.len()), (vec![7], vec![], 255));
        assert_eq!(Page::of(vec![], vec![]), Page::default());
    }

    #[test]
    fn ten_are_named_and_those_that_are_wrong_before_those_that_are_more() {
        let mut found = LargeObjects::default();
        (1..=20).for_each(|oid| found.differ(oid, Standing::Extra));
        found.differ(30, Standing::Changed);
        found.differ(25, Standing::Missing);
        assert_eq!((found.extra, found.changed, found.missing), (20, 1, 1));
        let named: Vec<u32> = found.first.iter().map(|one| one.oid).collect();
        assert_eq!(named, [25, 30, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
