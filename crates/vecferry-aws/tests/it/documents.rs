//! Objects in S3: moto's for what S3 does, a site that answers by script for what it does on a bad day.

use std::time::Duration;

use aws_sdk_s3::Client;
use vecferry_aws::{ObjectLimits, S3Documents};
use vecferry_core::bot::{Bot, BotKey, DocumentAddress, Splitting};
use vecferry_embed::document::{DocumentSource, Fetched, Found, Lost, Reason};
use vecferry_testkit::site::{Page, Site};
use vecferry_testkit::{Moto, moto};

use crate::rig::account;

fn limits() -> ObjectLimits {
    ObjectLimits { first_wait: Duration::from_millis(1), page_keys: 2, ..ObjectLimits::default() }
}

fn bot() -> Bot {
    Bot {
        key: BotKey { owner: "user ü".into(), id: "01BOT".into() },
        title: String::new(),
        documents: Vec::new(),
        splitting: Splitting::default(),
        sync: None,
    }
}

/// A bucket of its own, with these objects.
async fn bucket(objects: &[(&str, &str)]) -> (String, Client) {
    let client = Client::new(account(moto().await.endpoint()).await.config());
    let name = Moto::unique("documents");
    client.create_bucket().bucket(&name).send().await.unwrap();
    for (key, text) in objects {
        put(&client, &name, key, text).await;
    }
    (name, client)
}

async fn put(client: &Client, bucket: &str, key: &str, text: &str) {
    let body = text.as_bytes().to_vec().into();
    client.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
}

async fn find(s3: &S3Documents, address: &str) -> Result<Found, Lost> {
    s3.find(&bot(), &DocumentAddress::S3(address.to_owned())).await
}

async fn fetch(s3: &S3Documents, address: &str) -> Result<(Fetched, Vec<u8>), Lost> {
    let folder = tempfile::tempdir().unwrap();
    let found = find(s3, address).await?;
    let fetched = s3.fetch(&found.documents[0], folder.path()).await?;
    let bytes = std::fs::read(fetched.file.path()).unwrap();
    assert_eq!(bytes.len() as u64, fetched.bytes);
    Ok((fetched, bytes))
}

fn sources(found: &Found) -> Vec<&str> {
    found.documents.iter().map(|document| document.source.as_str()).collect()
}

#[tokio::test]
async fn an_uploaded_file_is_below_its_bot_and_arrives_whole() {
    let key = "user ü/01BOT/documents/two words.txt";
    let (bucket, client) = bucket(&[(key, "text")]).await;
    let s3 = S3Documents::new(&account(moto().await.endpoint()).await, Some(bucket.clone()));
    let address = DocumentAddress::File("two words.txt".into());
    let found = s3.find(&bot(), &address).await.unwrap();
    let document = &found.documents[0];
    assert_eq!(document.source, format!("s3://{bucket}/{key}"));
    assert_eq!(document.bytes, Some(4));
    let before = document.version.clone().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // It changes between finding and fetching: what is there now arrives.
    put(&client, &bucket, key, "other text").await;
    let fetched = s3.fetch(document, folder.path()).await.unwrap();
    assert_eq!(std::fs::read(fetched.file.path()).unwrap(), b"other text");
    assert_eq!(fetched.name.as_deref(), Some("two words.txt"));
    let after = s3.find(&bot(), &address).await.unwrap().documents[0].version.clone().unwrap();
    assert_ne!(before, after);
    let nowhere = S3Documents::new(&account(moto().await.endpoint()).await, None);
    let lost = nowhere.find(&bot(), &address).await.unwrap_err();
    assert_eq!(lost.to_string(), "refused: no bucket for uploaded files is configured");
}

#[tokio::test]
async fn a_prefix_is_every_object_under_it_over_all_pages_and_no_folder() {
    let objects = [
        ("docs/", ""),
        ("docs/a+b.txt", "1"),
        ("docs/c%20d.txt", "2"),
        ("docs/deep/e f.txt", "3"),
        ("docs/deep/", ""),
        ("docs/ü.txt", "4"),
        ("docsx", "5"),
        ("/lead.txt", "6"),
    ];
    let (bucket, _) = bucket(&objects).await;
    let s3 = S3Documents::new(&account(moto().await.endpoint()).await, None).within(limits());
    let found = find(&s3, &format!("s3://{bucket}/docs/")).await.unwrap();
    let expected = ["docs/a+b.txt", "docs/c%20d.txt", "docs/deep/e f.txt", "docs/ü.txt"];
    let expected = expected.map(|key| format!("s3://{bucket}/{key}"));
    assert_eq!(sources(&found), expected);
    for (key, text) in
        [("docs/a+b.txt", "1"), ("docs/c%20d.txt", "2"), ("docs/ü.txt", "4"), ("/lead.txt", "6")]
    {
        let (fetched, bytes) = fetch(&s3, &format!("s3://{bucket}/{key}")).await.unwrap();
        assert_eq!(bytes, text.as_bytes(), "{key}");
        assert_eq!(fetched.name.as_deref(), key.rsplit('/').next());
    }
    assert_eq!(find(&s3, &format!("s3://{bucket}")).await.unwrap().documents.len(), 6);
    let few = S3Documents::new(&account(moto().await.endpoint()).await, None)
        .within(ObjectLimits { documents: 3, ..limits() });
    let lost = find(&few, &format!("s3://{bucket}/docs/")).await.unwrap_err();
    assert_eq!(lost.to_string(), "too large: more than 3 objects");
}

#[tokio::test]
async fn files_of_a_bot_are_looked_at_together_with_the_time_they_were_written() {
    let key = |name: &str| format!("user ü/01BOT/documents/{name}");
    let (one, other, deep) = (key("a b.txt"), key("ü%20+.txt"), key("deep/x.txt"));
    let objects = [(one.as_str(), "1"), (&other, "22"), (&deep, "333"), ("docs/y.txt", "4444")];
    let begun = jiff::Timestamp::now().as_second();
    let (bucket, _) = bucket(&objects).await;
    let account = account(moto().await.endpoint()).await;
    let s3 = S3Documents::new(&account, Some(bucket.clone())).within(limits());
    let file = |name: &str| DocumentAddress::File(name.into());
    let asked = [
        file("a b.txt"),
        file("lost.txt"),
        DocumentAddress::S3(format!("s3://{bucket}/docs/")),
        file("ü%20+.txt"),
        file("deep/x.txt"),
    ];
    let looked = s3.look(&bot(), &asked).await;
    let addresses: Vec<&DocumentAddress> = looked.iter().map(|(address, _)| address).collect();
    assert_eq!(addresses, asked.iter().collect::<Vec<_>>());
    let bytes: Vec<Option<u64>> = looked
        .iter()
        .map(|(address, found)| {
            let document = &found.as_ref().ok()?.documents[0];
            assert_eq!(&document.address, address);
            assert!(document.modified.unwrap().as_second() >= begun - 1, "{document:?}");
            document.bytes
        })
        .collect();
    assert_eq!(bytes, [Some(1), None, Some(4), Some(2), Some(3)]);
    assert_eq!(looked[1].1.as_ref().unwrap_err().reason, Reason::Missing);
    let found = s3.find(&bot(), &asked[0]).await.unwrap();
    assert_eq!(found.documents, looked[0].1.as_ref().unwrap().documents, "alone or together");

    let wrong = S3Documents::new(&account, Some("no-such-bucket-y".into()));
    let looked = wrong.look(&bot(), &asked[..2]).await;
    for (_, found) in looked {
        assert_eq!(found.unwrap_err().reason, Reason::Refused, "nobody knows what is there");
    }
}

#[tokio::test]
async fn what_is_not_there_is_missing_and_what_is_too_large_is_left() {
    let (bucket, _) = bucket(&[("a.txt", "12345")]).await;
    let s3 = S3Documents::new(&account(moto().await.endpoint()).await, None)
        .within(ObjectLimits { document_bytes: 4, ..limits() });
    for address in [
        format!("s3://{bucket}/no"),
        format!("s3://{bucket}/no/"),
        "s3://no-such-bucket-x/a".into(),
    ] {
        let lost = find(&s3, &address).await.unwrap_err();
        assert_eq!(lost.reason, Reason::Missing, "{address}: {lost}");
    }
    let lost = fetch(&s3, &format!("s3://{bucket}/a.txt")).await.unwrap_err();
    assert_eq!(lost.to_string(), "too large: 5 bytes, 4 are allowed");
}

fn with_file(name: &str) -> Bot {
    Bot { documents: vec![DocumentAddress::File(name.into())], ..bot() }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_one_error_with_what_to_look_at() {
    let (bucket, _) = bucket(&[]).await;
    let account = account(moto().await.endpoint()).await;
    let bots = [bot(), with_file("a.txt")];
    S3Documents::new(&account, Some(bucket)).check(&bots).await.unwrap().granted().unwrap();
    S3Documents::new(&account, None).check(&bots).await.unwrap().granted().unwrap();
    let wrong = S3Documents::new(&account, Some("no-such-bucket-z".into()));
    wrong.check(&bots[..1]).await.unwrap().granted().unwrap();
    let error = wrong.check(&bots).await.unwrap_err();
    let said = vecferry_core::error::on_one_line(&error);
    assert!(said.contains("bucket no-such-bucket-z: NoSuchBucket"), "{said}");
    assert!(error.hint().unwrap().contains("--bucket"), "{error:?}");
}

#[tokio::test]
async fn a_bucket_that_may_not_be_listed_will_do_while_a_file_may_be_read() {
    let site = Site::start().unwrap();
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let refused = || Page::of("application/xml", denied).with_status(403);
    let listing = "/bucket/?list-type=2&max-keys=1&prefix=user%20%C3%BC%2F01BOT%2Fdocuments%2F";
    site.put(listing, refused());
    let file = "/bucket/user%20%C3%BC/01BOT/documents/a.txt";
    let s3 = S3Documents::new(&account(&site.url("")).await, Some("bucket".into()));
    let bots = [with_file("a.txt")];
    site.put(file, refused());
    let error = s3.check(&bots).await.unwrap().granted().unwrap_err();
    assert!(error.hint().unwrap().contains("s3:GetObject"), "{error:?}");
    site.put(file, Page::of("text/plain", ""));
    s3.check(&bots).await.unwrap().granted().unwrap();
}

/// The site's answer to a request for an object, or a part of it.
fn object(body: &str, tag: &str) -> Page {
    Page::of("text/plain; charset=UTF-8", body.to_owned()).header("etag", tag)
}

async fn scripted(site: &Site) -> S3Documents {
    site.put("/bucket/key", Page::of("text/plain", "").header("etag", "\"one\""));
    S3Documents::new(&account(&site.url("")).await, None).within(limits())
}

const GET: &str = "/bucket/key?x-id=GetObject";

#[tokio::test]
async fn a_body_that_breaks_goes_on_where_it_broke_while_the_object_is_the_same() {
    let site = Site::start().unwrap();
    let s3 = scripted(&site).await;
    let rest = Page::partial("world", "bytes 6-10/11").header("etag", "\"one\"");
    site.script(GET, vec![Page::cut("hello ").header("etag", "\"one\""), rest]);
    let (_, bytes) = fetch(&s3, "s3://bucket/key").await.unwrap();
    assert_eq!(bytes, b"hello world");
    let asked = site.asked();
    let second = asked.last().unwrap();
    assert_eq!((second.header("range"), second.header("if-match")), ("bytes=6-", "\"one\""));
}

#[tokio::test]
async fn a_body_that_breaks_begins_anew_when_the_object_changed() {
    let site = Site::start().unwrap();
    let s3 = scripted(&site).await;
    let changed = || object("another object", "\"two\"");
    let broken = || Page::cut("hello ").header("etag", "\"one\"");
    site.script(GET, vec![broken(), Page::status(412), changed()]);
    assert_eq!(fetch(&s3, "s3://bucket/key").await.unwrap().1, b"another object");
    // A server that ignores the range sends it all: that is not the rest.
    site.script(GET, vec![broken(), object("hello world", "\"one\""), changed()]);
    let (fetched, bytes) = fetch(&s3, "s3://bucket/key").await.unwrap();
    assert_eq!(bytes, b"another object");
    assert_eq!(fetched.media_type.as_deref(), Some("text/plain"));
    assert_eq!(fetched.charset.as_deref(), Some("utf-8"));
}

#[tokio::test]
async fn a_body_that_always_breaks_is_given_up_and_a_refusal_at_once() {
    let site = Site::start().unwrap();
    let s3 = scripted(&site).await.within(ObjectLimits { breaks: 2, ..limits() });
    site.put(GET, Page::cut("hello ").header("etag", "\"one\""));
    let lost = fetch(&s3, "s3://bucket/key").await.unwrap_err();
    assert_eq!(lost.reason, Reason::Unreachable);
    assert!(lost.detail.ends_with("after 3 tries"), "{lost}");
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    site.put(GET, Page::of("application/xml", denied).with_status(403));
    let lost = fetch(&s3, "s3://bucket/key").await.unwrap_err();
    assert_eq!(lost.to_string(), "refused: AccessDenied: Access Denied");
}
