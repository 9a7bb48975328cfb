//! Bots from a TOML or JSON file, for knowledge bases that no DynamoDB table lists.
//!
//! ```toml
//! [[bots]]
//! id = "handbook"                # what the knowledge table's bot column holds
//! owner = "hr"                   # "" when left out
//! title = "The handbook"         # the id when left out
//! chunk_chars = 1000             # Bedrock Chat's defaults when left out
//! chunk_overlap = 200
//! folders = ["handbook/"]        # relative to the file
//! urls = ["https://example.com/rules"]
//! sitemaps = []
//! videos = []                    # YouTube ids of 11 characters
//! s3 = ["s3://bucket/prefix/"]
//! files = []                     # names under <owner>/<id>/documents/ of the document bucket
//! ```
//!
//! JSON has the same names. Read by hand rather than by derive, so that every mistake is found in one reading, with its
//! place and the nearest right word. The file keeps no record of embeddings; the proof is on the target alone.

use std::collections::HashSet;
use std::path::Path;

use async_trait::async_trait;

use super::registry::{BotRegistry, Expected, Listing, Written};
use crate::bot::{Bot, BotKey, DocumentAddress, Splitting, SyncRecord};
use crate::error::{Error, Result};
use crate::operator_file::{self, Kind};
use tree::{Node, Value};

mod tree;

/// Keys of a bot, in the order of the example.
const KEYS: [&str; 11] = [
    "id",
    "owner",
    "title",
    "chunk_chars",
    "chunk_overlap",
    "folders",
    "urls",
    "sitemaps",
    "videos",
    "s3",
    "files",
];

/// Longest chunk that a file may ask for, in characters: what the largest models take at once.
const MOST_CHARS: i64 = 100_000;

/// What such a file may be: 64 MiB are hundreds of thousands of bots.
const KIND: Kind = Kind {
    most_bytes: 64 << 20,
    format: "TOML or JSON",
    too_large: "is it the right file? Otherwise divide it by owner",
    may_be_pipe: false,
};

/// A registry that is a file, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileBots {
    name: String,
    listing: Listing,
}

impl FileBots {
    /// Reads a file: JSON when its name ends in `.json`, TOML otherwise.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot be read, [`Error::Configuration`] when it is no regular file, too large or not
    /// UTF-8, or naming every mistake in it.
    pub fn read(path: &Path) -> Result<FileBots> {
        let local = |source| Error::Local { doing: format!("read {}", path.display()), source };
        let text = operator_file::read(path, &KIND)?;
        // However it is spelled: folders are relative to it, and their paths are what the source column holds.
        let whole = std::fs::canonicalize(path).map_err(local)?;
        FileBots::parse(&text, &whole)
    }

    /// Reads the file's text; `path` is for messages, for its extension and for folders relative to it.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming every mistake.
    pub fn parse(text: &str, path: &Path) -> Result<FileBots> {
        let json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let mut mistakes = Mistakes::default();
        let mut listing = Listing::default();
        match if json { tree::read_json(text) } else { tree::read_toml(text) } {
            Ok(top) => take_file(&top, path, &mut listing, &mut mistakes),
            Err(mistake) => mistakes.0.push(mistake),
        }
        if mistakes.0.is_empty() {
            return Ok(FileBots { name: path.display().to_string(), listing });
        }
        Err(Error::Configuration {
            what: format!("{}: {}", path.display(), mistakes.0.join("; ")),
            hint: Some("`vecferry bots --help` shows an example of the file".into()),
        })
    }
}

#[async_trait]
impl BotRegistry for FileBots {
    fn describe(&self) -> String {
        format!("file {}", self.name)
    }

    fn keeps_sync(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Listing> {
        Ok(self.listing.clone())
    }

    async fn get(&self, key: &BotKey) -> Result<Option<Bot>> {
        Ok(self.listing.bots.iter().find(|bot| bot.key == *key).cloned())
    }

    async fn write_sync(
        &self,
        _key: &BotKey,
        _expected: Expected<'_>,
        _record: &SyncRecord,
    ) -> Result<Written> {
        Ok(Written::Done)
    }
}

/// Everything that is wrong, each with its place.
#[derive(Debug, Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, at: &Node, what: impl std::fmt::Display) {
        self.0.push(format!("{}: {what}", at.place));
    }

    fn unknown_key(&mut self, node: &Node, key: &str, known: &[&str]) {
        match operator_file::nearest(key, known) {
            Some(right) => self.add(node, format!("unknown key `{key}`: did you mean `{right}`?")),
            None => {
                self.add(node, format!("unknown key `{key}`: known keys are {}", known.join(", ")));
            }
        }
    }

    fn text<'a>(&mut self, node: &'a Node, key: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) if text.trim().is_empty() && key != "owner" => {
                self.add(node, format!("`{key}` is empty"));
                None
            }
            Value::Text(text) => Some(text),
            other => {
                self.add(node, format!("`{key}` must be a text, not {}", other.kind()));
                None
            }
        }
    }

    fn number(&mut self, node: &Node, key: &str, least: i64) -> Option<usize> {
        match &node.value {
            Value::Number(number) if (least..=MOST_CHARS).contains(number) => {
                usize::try_from(*number).ok()
            }
            Value::Number(_) => {
                self.add(node, format!("`{key}` must be from {least} to {MOST_CHARS}"));
                None
            }
            other => {
                self.add(node, format!("`{key}` must be a number, not {}", other.kind()));
                None
            }
        }
    }
}

fn take_file(top: &Node, path: &Path, listing: &mut Listing, mistakes: &mut Mistakes) {
    let Value::Table(entries) = &top.value else {
        return mistakes.add(top, "must be a table with a list `bots`");
    };
    let (mut seen, mut found) = (HashSet::new(), false);
    for (key, node) in entries {
        match (key.as_str(), &node.value) {
            ("bots", Value::List(bots)) => {
                found = true;
                for node in bots {
                    let Some(bot) = take_bot(node, path, mistakes) else { continue };
                    if !seen.insert(bot.key.id.clone()) {
                        // The knowledge table knows a bot by its id alone.
                        mistakes.add(node, format!("a second bot has the id {:?}", bot.key.id));
                    } else if bot.documents.is_empty() {
                        listing.without_documents.push(bot.key);
                    } else {
                        listing.bots.push(bot);
                    }
                }
            }
            ("bots", _) => mistakes.add(node, "`bots` must be a list of tables"),
            _ => mistakes.unknown_key(node, key, &["bots"]),
        }
    }
    if !found && mistakes.0.is_empty() {
        mistakes.add(top, "no `bots` in it");
    }
    listing.bots.sort_by(|one, other| one.key.cmp(&other.key));
    listing.without_documents.sort();
}

fn take_bot(node: &Node, path: &Path, mistakes: &mut Mistakes) -> Option<Bot> {
    let Value::Table(entries) = &node.value else {
        mistakes.add(node, format!("a bot must be a table, not {}", node.value.kind()));
        return None;
    };
    let (mut id, mut owner, mut title) = (None, String::new(), None);
    let mut splitting = Splitting::default();
    let mut lists: Vec<(&str, &Node)> = Vec::new();
    let before = mistakes.0.len();
    for (key, value) in entries {
        match key.as_str() {
            "id" => id = mistakes.text(value, key).map(str::to_owned),
            "owner" => owner = mistakes.text(value, key).unwrap_or_default().to_owned(),
            "title" => title = mistakes.text(value, key).map(str::to_owned),
            "chunk_chars" => {
                splitting.chunk_chars =
                    mistakes.number(value, key, 1).unwrap_or(splitting.chunk_chars);
            }
            "chunk_overlap" => {
                splitting.overlap_chars =
                    mistakes.number(value, key, 0).unwrap_or(splitting.overlap_chars);
            }
            list if KEYS.contains(&list) => lists.push((list, value)),
            unknown => mistakes.unknown_key(value, unknown, &KEYS),
        }
    }
    if splitting.overlap_chars >= splitting.chunk_chars {
        mistakes.add(node, "`chunk_overlap` must be less than `chunk_chars`");
    }
    let documents = take_documents(&lists, path, mistakes);
    if id.is_none() && mistakes.0.len() == before {
        mistakes.add(node, "a bot without `id`");
    }
    let id = id?;
    let title = title.unwrap_or_else(|| id.clone());
    Some(Bot { key: BotKey { owner, id }, title, documents, splitting, sync: None })
}

fn take_documents(
    lists: &[(&str, &Node)],
    path: &Path,
    mistakes: &mut Mistakes,
) -> Vec<DocumentAddress> {
    let (mut documents, mut seen) = (Vec::new(), HashSet::new());
    for (key, node) in lists {
        let Value::List(items) = &node.value else {
            mistakes
                .add(node, format!("`{key}` must be a list of texts, not {}", node.value.kind()));
            continue;
        };
        for item in items {
            let Some(text) = mistakes.text(item, key) else { continue };
            match address(key, text, path) {
                Ok(address) if !seen.insert(address.clone()) => {}
                Ok(address) => documents.push(address),
                Err(what) => mistakes.add(item, format!("{text:?} in `{key}` {what}")),
            }
        }
    }
    documents
}

fn address(key: &str, text: &str, path: &Path) -> Result<DocumentAddress, &'static str> {
    let web = || {
        let fits = text.starts_with("http://") || text.starts_with("https://");
        fits.then(|| text.to_owned()).ok_or("must begin with http:// or https://")
    };
    match key {
        "urls" => web().map(DocumentAddress::Page),
        "sitemaps" => web().map(DocumentAddress::Sitemap),
        "s3" => match text.strip_prefix("s3://").and_then(|rest| rest.split_once('/')) {
            Some((bucket, _)) if !bucket.is_empty() => Ok(DocumentAddress::S3(text.to_owned())),
            _ => Err("must be s3://bucket/key or s3://bucket/prefix/"),
        },
        "videos" => {
            let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let fits = text.len() == 11 && text.chars().all(known);
            fits.then(|| DocumentAddress::Video(text.to_owned()))
                .ok_or("must be a YouTube id of 11 characters")
        }
        "folders" => {
            let folder = path.parent().unwrap_or(Path::new("")).join(text);
            Ok(DocumentAddress::Folder(folder))
        }
        _ => Ok(DocumentAddress::File(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
