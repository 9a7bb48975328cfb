//! Documents in S3: what was uploaded to the application, and objects that bots name.
//!
//! Keys are taken as they are, byte for byte: in `s3://bucket/key` nothing is escaped, a leading slash belongs to the
//! key, and so do `+`, `%` and spaces. The SDK repeats requests; a body that breaks is continued from where it broke,
//! as long as the object is still the same one.

mod bucket;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::Object;
use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use vecferry_core::bot::{Bot, DocumentAddress};
use vecferry_embed::document::{Document, DocumentSource, Fetched, Found, Lost, Reason};
use vecferry_embed::spool::{Spool, too_large};
use vecferry_embed::web::content_type;

use crate::Account;
use crate::failure::said;
pub use bucket::Access;

/// Limits of what is read from S3.
#[derive(Debug, Clone)]
pub struct ObjectLimits {
    /// Longest object, in bytes.
    pub document_bytes: u64,
    /// Most objects under one prefix. A prefix that has more is lost as a whole, for a part would look like all.
    pub documents: usize,
    /// Longest silence within a body.
    pub idle_time: Duration,
    /// How often a body may break.
    pub breaks: usize,
    /// Wait before a broken body is continued; doubled each time, up to half a minute.
    pub first_wait: Duration,
    /// Keys asked for at once when a prefix is listed; S3 gives no more than 1 000.
    pub page_keys: i32,
}

impl Default for ObjectLimits {
    /// 2 GiB an object, 100 000 objects, a minute of silence, five breaks.
    fn default() -> Self {
        ObjectLimits {
            document_bytes: 2 << 30,
            documents: 100_000,
            idle_time: Duration::from_secs(60),
            breaks: 5,
            first_wait: Duration::from_millis(500),
            page_keys: 1000,
        }
    }
}

/// Reads objects.
#[derive(Debug, Clone)]
pub struct S3Documents {
    client: Client,
    bucket: Option<String>,
    limits: ObjectLimits,
}

/// An object's place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    bucket: String,
    key: String,
}

impl Place {
    /// Reads `s3://bucket/key`; the key may be empty.
    fn parse(text: &str) -> Result<Place, Lost> {
        let unusable = || Lost::new(Reason::Missing, "not an address of the form s3://bucket/key");
        let rest = text.strip_prefix("s3://").ok_or_else(unusable)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(unusable());
        }
        Ok(Place { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// Whether it stands for everything that begins so.
    fn is_prefix(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// As the source column has it.
    fn source(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    fn name(&self) -> Option<String> {
        let name = self.key.rsplit('/').next().unwrap_or_default();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

impl S3Documents {
    /// Objects as the account sees them; uploaded files are in `bucket`, which may be none when no bot has any.
    pub fn new(account: &Account, bucket: Option<String>) -> S3Documents {
        let client = Client::new(account.config());
        S3Documents { client, bucket, limits: ObjectLimits::default() }
    }

    /// The same within other limits.
    #[must_use]
    pub fn within(mut self, limits: ObjectLimits) -> S3Documents {
        self.limits = limits;
        self
    }

    fn place(&self, bot: &Bot, address: &DocumentAddress) -> Result<Place, Lost> {
        match address {
            DocumentAddress::File(name) => {
                let Some(bucket) = self.bucket.clone() else {
                    let detail = "no bucket for uploaded files is configured";
                    return Err(Lost::new(Reason::Refused, detail));
                };
                // Where Bedrock Chat puts uploads (`compose_upload_document_s3_path` of its backend).
                let key = format!("{}/{}/documents/{name}", bot.key.owner, bot.key.id);
                Ok(Place { bucket, key })
            }
            DocumentAddress::S3(text) => Place::parse(text),
            _ => Err(Lost::new(Reason::Unsupported, "not an address in S3")),
        }
    }

    /// The object at exactly this place.
    async fn object(&self, place: Place, address: &DocumentAddress) -> Result<Document, Lost> {
        let head = self.client.head_object().bucket(&place.bucket).key(&place.key).send().await;
        let head = head.map_err(|error| lost(&error))?;
        Ok(Document {
            address: address.clone(),
            source: place.source(),
            bytes: head.content_length().and_then(|bytes| u64::try_from(bytes).ok()),
            version: head.e_tag().map(str::to_owned),
            modified: head.last_modified().and_then(timestamp),
        })
    }

    /// Every object under a prefix, in the order of their keys, page by page.
    async fn under(&self, place: Place, address: &DocumentAddress) -> Result<Found, Lost> {
        let request = self.client.list_objects_v2().bucket(&place.bucket).prefix(&place.key);
        let mut pages = request.into_paginator().page_size(self.limits.page_keys).send();
        let mut documents = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| lost(&error))?;
            let objects = page.contents().iter().filter(|object| !is_folder(object));
            documents.extend(objects.filter_map(|object| {
                let key = object.key()?.to_owned();
                let place = Place { bucket: place.bucket.clone(), key };
                Some(Document {
                    address: address.clone(),
                    source: place.source(),
                    bytes: object.size().and_then(|bytes| u64::try_from(bytes).ok()),
                    version: object.e_tag().map(str::to_owned),
                    modified: object.last_modified().and_then(timestamp),
                })
            }));
            if documents.len() > self.limits.documents {
                let most = self.limits.documents;
                return Err(Lost::new(Reason::TooLarge, format!("more than {most} objects")));
            }
        }
        if documents.is_empty() {
            return Err(Lost::new(Reason::Missing, "no object is there"));
        }
        Ok(documents.into())
    }

    /// Finds uploaded files of a bot by listing all of them: a request for a thousand instead of one for each. `None`
    /// where listing does not serve (it is not allowed, or there are too many), and each must be asked for.
    async fn uploaded(
        &self,
        bot: &Bot,
        files: &[&DocumentAddress],
    ) -> Option<HashMap<DocumentAddress, Result<Found, Lost>>> {
        let first = *files.first()?;
        let folder = self.place(bot, &DocumentAddress::File(String::new())).ok()?;
        let listed = match self.under(folder, first).await {
            Ok(found) => found.documents,
            // The bucket itself is not there: a mistake, from which nothing follows for its documents.
            Err(lost) if lost.detail.starts_with("NoSuchBucket") => {
                let lost = Lost::new(Reason::Refused, lost.detail);
                let all = files.iter().map(|file| ((*file).clone(), Err(lost.clone())));
                return Some(all.collect());
            }
            Err(lost) if lost.reason == Reason::Missing => Vec::new(),
            Err(_) => return None,
        };
        let mut by_source: HashMap<String, Document> =
            listed.into_iter().map(|document| (document.source.clone(), document)).collect();
        let found = files.iter().map(|file| {
            let source = self.place(bot, file).map(|place| place.source());
            let found = source.and_then(|source| {
                let found = by_source.remove(&source);
                found.ok_or_else(|| Lost::new(Reason::Missing, "no object is there"))
            });
            let address = (*file).clone();
            let found = found.map(|found| vec![Document { address: address.clone(), ..found }]);
            (address, found.map(Found::from))
        });
        Some(found.collect())
    }

    /// Asks for the object from an offset on; of the same version if one is known.
    async fn open(
        &self,
        place: &Place,
        offset: u64,
        version: Option<&str>,
    ) -> Result<GetObjectOutput, Stop> {
        let mut request = self.client.get_object().bucket(&place.bucket).key(&place.key);
        if offset > 0 {
            request = request.range(format!("bytes={offset}-"));
            request = request.set_if_match(version.map(str::to_owned));
        }
        request.send().await.map_err(|error| {
            let status = error.raw_response().map(|response| response.status().as_u16());
            match status {
                // Another object is there now, or a shorter one.
                Some(412 | 416) if offset > 0 => Stop::Changed,
                _ => Stop::Lost(lost(&error)),
            }
        })
    }

    /// Streams what is left of the object into the spool.
    async fn stream(&self, place: &Place, spool: &mut Spool, kind: &mut Kind) -> Result<(), Stop> {
        let offset = spool.bytes();
        let mut object = self.open(place, offset, kind.version.as_deref()).await?;
        let left = object.content_length().and_then(|bytes| u64::try_from(bytes).ok());
        if offset == 0 {
            *kind = Kind::of(&object);
            if left.is_some_and(|bytes| bytes > self.limits.document_bytes) {
                return Err(Stop::Lost(too_large(left, self.limits.document_bytes)));
            }
        } else if object.e_tag() != kind.version.as_deref() || object.content_range().is_none() {
            return Err(Stop::Changed);
        }
        let expected = left.map(|left| offset + left);
        loop {
            let piece = tokio::time::timeout(self.limits.idle_time, object.body.next()).await;
            let broke = |why: String| {
                let bytes = spool.bytes();
                Stop::Broke(format!("the connection broke after {bytes} bytes: {why}"))
            };
            match piece {
                Err(_) => {
                    return Err(broke(format!("nothing came for {:?}", self.limits.idle_time)));
                }
                Ok(None) if expected.is_some_and(|expected| spool.bytes() < expected) => {
                    return Err(broke("it ended early".into()));
                }
                Ok(None) => return Ok(()),
                // All bytes came, and their checksum is not the object's: there is nothing to continue.
                Ok(Some(Err(_))) if expected == Some(spool.bytes()) => return Err(Stop::Changed),
                Ok(Some(Err(error))) => return Err(broke(root(&error))),
                Ok(Some(Ok(piece))) => spool.write(&piece).await.map_err(Stop::Lost)?,
            }
        }
    }
}

/// Why a body was not read to its end.
enum Stop {
    /// For good.
    Lost(Lost),
    /// It can go on from where it stopped.
    Broke(String),
    /// What was read so far is of no use.
    Changed,
}

/// What an object is, besides its bytes.
#[derive(Default)]
struct Kind {
    version: Option<String>,
    media_type: Option<String>,
    charset: Option<String>,
}

impl Kind {
    fn of(object: &GetObjectOutput) -> Kind {
        let (media_type, charset) = object.content_type().map(content_type).unwrap_or_default();
        Kind { version: object.e_tag().map(str::to_owned), media_type, charset }
    }
}

#[async_trait]
impl DocumentSource for S3Documents {
    fn takes(&self, address: &DocumentAddress) -> bool {
        matches!(address, DocumentAddress::File(_) | DocumentAddress::S3(_))
    }

    async fn find(&self, bot: &Bot, address: &DocumentAddress) -> Result<Found, Lost> {
        let place = self.place(bot, address)?;
        if matches!(address, DocumentAddress::S3(_)) && place.is_prefix() {
            self.under(place, address).await
        } else {
            Ok(vec![self.object(place, address).await?].into())
        }
    }

    async fn look(
        &self,
        bot: &Bot,
        addresses: &[DocumentAddress],
    ) -> Vec<(DocumentAddress, Result<Found, Lost>)> {
        let is_file = |address: &&DocumentAddress| matches!(address, DocumentAddress::File(_));
        let files: Vec<&DocumentAddress> = addresses.iter().filter(is_file).collect();
        let mut uploaded = self.uploaded(bot, &files).await.unwrap_or_default();
        let mut looked = Vec::with_capacity(addresses.len());
        for address in addresses {
            let found = match uploaded.remove(address) {
                Some(found) => found,
                None => self.find(bot, address).await,
            };
            looked.push((address.clone(), found));
        }
        looked
    }

    async fn fetch(&self, document: &Document, folder: &Path) -> Result<Fetched, Lost> {
        let place = Place::parse(&document.source)?;
        let limit = self.limits.document_bytes;
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.limits.first_wait)
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(self.limits.breaks)
            .with_jitter();
        let mut waits = waits.build();
        let (mut spool, mut kind) = (Spool::create(folder, limit)?, Kind::default());
        loop {
            let why = match self.stream(&place, &mut spool, &mut kind).await {
                Ok(()) => break,
                Err(Stop::Lost(lost)) => return Err(lost),
                Err(Stop::Broke(why)) => why,
                Err(Stop::Changed) => {
                    spool = Spool::create(folder, limit)?;
                    "it changed while it was read".to_owned()
                }
            };
            let Some(wait) = waits.next() else {
                let tries = self.limits.breaks + 1;
                return Err(Lost::new(Reason::Unreachable, format!("{why}, after {tries} tries")));
            };
            tokio::time::sleep(wait).await;
        }
        let (file, bytes) = spool.finish().await?;
        let Kind { media_type, charset, .. } = kind;
        Ok(Fetched { file, bytes, name: place.name(), media_type, charset })
    }
}

/// S3's time, which has whole seconds in a listing.
fn timestamp(at: &DateTime) -> Option<Timestamp> {
    let nanos = i32::try_from(at.subsec_nanos()).ok()?;
    Timestamp::new(at.secs(), nanos).ok()
}

/// What consoles leave where somebody made a folder: an empty object whose key ends in a slash.
fn is_folder(object: &Object) -> bool {
    object.key().is_some_and(|key| key.ends_with('/')) && object.size().unwrap_or_default() == 0
}

/// What a refused request means for a document.
fn lost<E>(error: &SdkError<E, HttpResponse>) -> Lost
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    Lost::new(reason(status, code), said(error))
}

fn reason(status: Option<u16>, code: Option<&str>) -> Reason {
    match (status, code) {
        (_, Some("NoSuchKey" | "NoSuchBucket" | "NotFound")) | (Some(404), _) => Reason::Missing,
        // An archived object answers 403 too, and a bucket in another region 301: neither opens by waiting.
        (Some(301 | 400 | 401 | 403), _) => Reason::Refused,
        _ => Reason::Unreachable,
    }
}

/// What it came down to.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_without_changing_a_byte_of_its_key() {
        for (text, bucket, key) in [
            ("s3://b/a b/ü+%20?#.pdf", "b", "a b/ü+%20?#.pdf"),
            ("s3://b//lead", "b", "/lead"),
            ("s3://b/", "b", ""),
            ("s3://b", "b", ""),
            ("s3://b/dir/", "b", "dir/"),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!((place.bucket.as_str(), place.key.as_str()), (bucket, key), "{text}");
            assert_eq!(place.is_prefix(), key.is_empty() || key.ends_with('/'));
        }
        for text in ["", "b/key", "s3:///key", "S3://b/key", "https://b.s3.amazonaws.com/key"] {
            assert_eq!(Place::parse(text).unwrap_err().reason, Reason::Missing, "{text}");
        }
        let place = Place::parse("s3://b/x/two words.PDF").unwrap();
        assert_eq!(place.source(), "s3://b/x/two words.PDF");
        assert_eq!(place.name().as_deref(), Some("two words.PDF"));
    }

    #[test]
    fn a_refusal_is_told_from_what_is_missing_and_from_what_may_pass() {
        assert_eq!(reason(Some(404), Some("NoSuchKey")), Reason::Missing);
        assert_eq!(reason(Some(404), None), Reason::Missing);
        assert_eq!(reason(None, Some("NoSuchBucket")), Reason::Missing);
        assert_eq!(reason(Some(403), Some("AccessDenied")), Reason::Refused);
        assert_eq!(reason(Some(403), Some("InvalidObjectState")), Reason::Refused);
        assert_eq!(reason(Some(301), Some("PermanentRedirect")), Reason::Refused);
        assert_eq!(reason(Some(400), Some("ExpiredToken")), Reason::Refused);
        assert_eq!(reason(Some(503), Some("SlowDown")), Reason::Unreachable);
        assert_eq!(reason(None, None), Reason::Unreachable);
    }

    #[test]
    fn only_an_empty_object_that_ends_in_a_slash_is_a_folder() {
        let object = |key: &str, size| Object::builder().key(key).size(size).build();
        assert!(is_folder(&object("a/", 0)));
        assert!(!is_folder(&object("a/", 1)) && !is_folder(&object("a", 0)));
    }
}
