//! Which rows a document explains: what workers write into the source column, set beside the registry's addresses. Pure.
//!
//! | address | source column |
//! | --- | --- |
//! | file | `s3://<bucket>/<owner>/<bot>/documents/<name>`; some versions the name alone |
//! | `s3://bucket/key` | the same |
//! | `s3://bucket/prefix/` | `s3://bucket/<key>` of every object under it |
//! | page | its URL, with or without a slash at the end |
//! | sitemap | URLs of its pages |
//! | video | its id of 11 characters; an address that ends in it |
//! | folder | the path as the registry gives it, with the rest joined |
//!
//! (`embedding/loaders` of <https://github.com/aws-samples/bedrock-chat>; vecferry's own worker writes the same.) The
//! bucket of an uploaded file does not count: a stack that was deployed anew has its documents in another one.
//!
//! Names are compared byte by byte first. Only what is left on both sides is compared again with percent-encoding
//! undone and in Unicode's normal form C: macOS writes `é` as two characters, and loaders have escaped addresses. In that
//! order, because `a b.txt` and `a%20b.txt` may well be two documents of one bot.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

use crate::bot::BotKey;

/// A text in the form in which encodings of the same name are equal.
pub(super) fn loose(text: &str) -> String {
    let text = text.trim_end_matches('/');
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => decoded.nfc().collect(),
        // Not an encoded name then: a percent sign is a character like any other.
        Err(_) => text.nfc().collect(),
    }
}

/// The sources of one bot's rows, and which of them are explained.
pub(super) struct Sources<'a> {
    rows: &'a BTreeMap<Option<String>, u64>,
    /// Sources by the name of an uploaded file.
    by_name: HashMap<&'a str, Vec<&'a str>>,
    /// Sources by themselves without slashes at the end.
    by_page: HashMap<&'a str, Vec<&'a str>>,
    explained: BTreeSet<&'a str>,
}

impl<'a> Sources<'a> {
    /// Nothing is explained yet.
    pub(super) fn new(bot: &BotKey, rows: &'a BTreeMap<Option<String>, u64>) -> Sources<'a> {
        let folder = format!("/{}/{}/documents/", bot.owner, bot.id);
        let (mut by_name, mut by_page) = (HashMap::new(), HashMap::new());
        for source in rows.keys().flatten().map(String::as_str) {
            let name = source.starts_with("s3://").then(|| source.split_once(&folder)).flatten();
            let name = name.map_or(source, |(_, name)| name);
            by_name.entry(name).or_insert_with(Vec::new).push(source);
            let page: &str = source.trim_end_matches('/');
            by_page.entry(page).or_insert_with(Vec::new).push(source);
        }
        Sources { rows, by_name, by_page, explained: BTreeSet::new() }
    }

    fn explain(&mut self, found: Option<Vec<&'a str>>) -> bool {
        self.explain_rows(found) > 0
    }

    /// How many rows these are.
    fn explain_rows(&mut self, found: Option<Vec<&'a str>>) -> u64 {
        let found = found.unwrap_or_default();
        let rows = found.iter().map(|source| self.rows_of(source)).sum();
        self.explained.extend(found);
        rows
    }

    fn rows_of(&self, source: &str) -> u64 {
        self.rows.get(&Some(source.to_owned())).copied().unwrap_or_default()
    }

    /// How many rows there are of an uploaded file of this name, whatever the bucket.
    pub(super) fn file(&mut self, name: &str) -> u64 {
        let found = self.by_name.get(name).cloned();
        self.explain_rows(found)
    }

    /// How many rows there are whose source is exactly this.
    pub(super) fn exactly(&mut self, source: &str) -> u64 {
        let found = self.rows.get_key_value(&Some(source.to_owned()));
        let found = found.and_then(|(source, _)| source.as_deref()).map(|source| vec![source]);
        self.explain_rows(found)
    }

    /// Rows of a page.
    pub(super) fn page(&mut self, url: &str) -> bool {
        let found = self.by_page.get(url.trim_end_matches('/')).cloned();
        self.explain(found)
    }

    /// Rows of a video: of its id, or of an address that ends in it.
    pub(super) fn video(&mut self, id: &str) -> bool {
        let is = |source: &&str| {
            let before = source.strip_suffix(id);
            before.is_some_and(|before| before.is_empty() || before.ends_with(['=', '/']))
        };
        let found: Vec<&str> = self.all().filter(is).collect();
        self.explain(Some(found))
    }

    /// Rows of anything under a prefix.
    pub(super) fn under(&mut self, prefix: &str) -> bool {
        let found: Vec<&str> = self.all().filter(|source| source.starts_with(prefix)).collect();
        self.explain(Some(found))
    }

    /// Rows of any page that no other document explains: a sitemap's pages are not known here.
    pub(super) fn pages_left(&mut self) -> bool {
        let is_page =
            |source: &&str| source.starts_with("http://") || source.starts_with("https://");
        let found: Vec<&str> = self.left().filter(is_page).collect();
        self.explain(Some(found))
    }

    /// Rows left that one of these documents explains when encodings do not count: for each, how many it found.
    /// A row's source explains one document only.
    pub(super) fn loosely(&mut self, bot: &BotKey, names: &[&str]) -> Vec<u64> {
        let mut left: HashMap<String, Vec<&'a str>> = HashMap::new();
        let folder = loose(&format!("/{}/{}/documents", bot.owner, bot.id)) + "/";
        for source in self.left() {
            let whole = loose(source);
            if let Some((_, name)) =
                whole.split_once(&folder).filter(|_| source.starts_with("s3://"))
            {
                left.entry(name.to_owned()).or_default().push(source);
            }
            left.entry(whole).or_default().push(source);
        }
        let mut taken = BTreeSet::new();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let free = left.get(&loose(name)).into_iter().flatten();
            let source = free.copied().find(|source| !taken.contains(source));
            taken.extend(source);
            found.push(source.map_or(0, |source| self.rows_of(source)));
        }
        self.explained.extend(taken);
        found
    }

    /// Sources that nothing explains, with their rows; `None` for rows without one.
    pub(super) fn unexplained(&self) -> Vec<(Option<&'a str>, u64)> {
        let sources = self.rows.iter().map(|(source, rows)| (source.as_deref(), *rows));
        sources.filter(|(source, _)| source.is_none_or(|it| !self.explained.contains(it))).collect()
    }

    fn all(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.rows.keys().flatten().map(String::as_str)
    }

    fn left(&self) -> impl Iterator<Item = &'a str> {
        self.all().filter(|source| !self.explained.contains(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> BotKey {
        BotKey { owner: "ann".into(), id: "b".into() }
    }

    fn rows(sources: &[&str]) -> BTreeMap<Option<String>, u64> {
        sources.iter().map(|source| (Some((*source).to_owned()), 1)).collect()
    }

    #[test]
    fn encodings_of_one_name_are_equal_and_a_stray_percent_sign_is_itself() {
        for (one, other) in [
            ("caf\u{e9}.pdf", "cafe\u{301}.pdf"),
            ("caf%C3%A9.pdf", "caf\u{e9}.pdf"),
            ("a%20b.txt", "a b.txt"),
            ("https://a/x/", "https://a/x"),
            ("https://a/%E6%9D%B1", "https://a/東"),
            ("가.txt", "\u{1100}\u{1161}.txt"),
        ] {
            assert_eq!(loose(one), loose(other), "{one} {other}");
        }
        for (one, other) in [("a+b", "a b"), ("A.txt", "a.txt"), ("100%", "100"), ("%FF", "\u{ff}")]
        {
            assert_ne!(loose(one), loose(other), "{one} {other}");
        }
    }

    #[test]
    fn a_file_is_known_by_its_name_in_whatever_bucket() {
        let rows =
            rows(&["s3://old/ann/b/documents/x y.pdf", "z.pdf", "s3://old/ann/c/documents/q.pdf"]);
        let mut sources = Sources::new(&key(), &rows);
        assert_eq!(
            ["x y.pdf", "z.pdf", "q.pdf", "y.pdf"].map(|name| sources.file(name)),
            [1, 1, 0, 0]
        );
        assert_eq!(sources.unexplained(), [(Some("s3://old/ann/c/documents/q.pdf"), 1)]);
    }

    #[test]
    fn two_names_that_only_their_encoding_tells_apart_are_two_documents() {
        let rows = rows(&["s3://k/ann/b/documents/a b.txt"]);
        let mut sources = Sources::new(&key(), &rows);
        assert_eq!(sources.file("a b.txt"), 1);
        assert_eq!(sources.loosely(&key(), &["a%20b.txt"]), [0], "its row is spoken for");
        let mut sources = Sources::new(&key(), &rows);
        assert_eq!(sources.loosely(&key(), &["a%20b.txt", "a b.txt"]), [1, 0]);
        assert_eq!(sources.unexplained(), []);
    }

    #[test]
    fn a_video_is_its_id_or_an_address_that_ends_in_it() {
        let id = "dQw4w9WgXcQ";
        for (source, is) in [
            (id.to_owned(), true),
            (format!("https://www.youtube.com/watch?v={id}"), true),
            (format!("https://youtu.be/{id}"), true),
            (format!("x{id}"), false),
            (format!("{id}x"), false),
        ] {
            let rows = rows(&[&source]);
            assert_eq!(Sources::new(&key(), &rows).video(id), is, "{source}");
        }
    }

    #[test]
    fn rows_without_a_source_stay_unexplained() {
        let rows = BTreeMap::from([(None, 3), (Some("https://a".to_owned()), 2)]);
        let mut sources = Sources::new(&key(), &rows);
        assert!(sources.page("https://a/"));
        assert_eq!(sources.unexplained(), [(None, 3)]);
    }
}
