//! One bot's rows beside its documents: which document each row is explained by, and what speaks against keeping them.
//! The rules, and why, are in the head of [`super`].

use std::collections::HashMap;

use super::{Looked, Object};
use crate::bot::{Bot, DocumentAddress, SyncStatus};
use crate::delta::address::Sources;
use crate::delta::held::HeldBot;
use crate::delta::reason::Reason;
use crate::delta::{Terms, WebPolicy};
use crate::reembed::estimate::Fresh;

/// One bot's comparison.
pub(super) struct Comparison<'a> {
    bot: &'a Bot,
    held: &'a HeldBot,
    objects: &'a HashMap<DocumentAddress, Looked>,
    terms: &'a Terms,
    sources: Sources<'a>,
    added: Vec<String>,
    changed: Vec<String>,
    unread: Vec<String>,
    /// Why the first of these could not be read.
    why: Option<String>,
    /// Documents without rows by their exact name: how they are named, and what is stored of them.
    unmatched: Vec<(String, Unmatched<'a>)>,
    /// Whether there were pages for sitemaps to explain.
    pages_left: bool,
    found: Outcome,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// Why the bot is embedded anew; empty where it keeps its rows.
    pub(super) reasons: Vec<Reason>,
    /// Documents that the registry names and the store does not have.
    pub(super) missing: Vec<String>,
    /// Documents on the web that have rows.
    pub(super) web: u64,
    /// How much text its rows do not tell of.
    pub(super) fresh: Fresh,
}

/// What is behind a document without rows by its exact name.
enum Unmatched<'a> {
    Stored(&'a Object),
    Page,
}

impl<'a> Comparison<'a> {
    pub(super) fn of(
        bot: &'a Bot,
        held: &'a HeldBot,
        objects: &'a HashMap<DocumentAddress, Looked>,
        terms: &'a Terms,
    ) -> Comparison<'a> {
        Comparison {
            bot,
            held,
            objects,
            terms,
            sources: Sources::new(&bot.key, &held.sources),
            added: Vec::new(),
            changed: Vec::new(),
            unread: Vec::new(),
            why: None,
            unmatched: Vec::new(),
            pages_left: false,
            found: Outcome::default(),
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        // What stands for a document of its own first; then, of what is left, what stands for many.
        for address in &self.bot.documents {
            match address {
                DocumentAddress::Page(_) | DocumentAddress::Video(_) => self.web(address),
                DocumentAddress::Sitemap(_) => {}
                _ => self.stored(address),
            }
        }
        self.take_loosely();
        for address in &self.bot.documents {
            self.take_unlisted(address);
        }
        self.judge();
        self.found
    }

    /// A page or video: only whether it has rows can be said.
    fn web(&mut self, address: &DocumentAddress) {
        let there = match address {
            DocumentAddress::Video(id) => self.sources.video(id),
            other => self.sources.page(&other.to_string()),
        };
        match there {
            true => self.found.web += 1,
            false => self.unmatched.push((address.to_string(), Unmatched::Page)),
        }
    }

    /// A file, object, prefix or folder.
    fn stored(&mut self, address: &DocumentAddress) {
        let looked = self.objects.get(address);
        let objects = match looked {
            Some(Looked::Found(objects)) => objects,
            Some(Looked::Missing) => {
                self.found.missing.push(address.to_string());
                return;
            }
            Some(Looked::Unread(why)) => return self.could_not_read(address, why),
            None => return self.could_not_read(address, "nobody looked at it"),
        };
        for object in objects {
            let (rows, name) = match address {
                DocumentAddress::File(name) => (self.sources.file(name), name),
                _ => (self.sources.exactly(&object.source), &object.source),
            };
            match rows {
                0 => self.unmatched.push((name.clone(), Unmatched::Stored(object))),
                rows => self.date(name.clone(), object, rows),
            }
        }
    }

    fn could_not_read(&mut self, address: &DocumentAddress, why: &str) {
        self.unread.push(address.to_string());
        self.found.fresh.unsized_files += 1;
        self.why.get_or_insert_with(|| why.to_owned());
    }

    /// A document that has rows: were they made of what it is now?
    fn date(&mut self, name: String, object: &Object, rows: u64) {
        match object.modified {
            _ if self.held.newer => {}
            Some(modified) if modified.as_second() >= self.terms.taken_at.as_second() => {
                self.found.fresh.replaced(rows, &object.source, object.bytes);
                self.changed.push(name);
            }
            Some(_) => {}
            None => {
                self.found.fresh.replaced(rows, &object.source, object.bytes);
                self.unread.push(name);
                self.why.get_or_insert_with(|| "when it was written is not known".to_owned());
            }
        }
    }

    /// Documents without rows of exactly their name may have some of another spelling.
    fn take_loosely(&mut self) {
        let unmatched = std::mem::take(&mut self.unmatched);
        if unmatched.is_empty() {
            return;
        }
        let names: Vec<&str> = unmatched.iter().map(|(name, _)| name.as_str()).collect();
        let there = self.sources.loosely(&self.bot.key, &names);
        for ((name, behind), rows) in unmatched.into_iter().zip(there) {
            match (rows, behind) {
                (0, behind) => {
                    match behind {
                        Unmatched::Stored(it) => self.found.fresh.file(&it.source, it.bytes),
                        Unmatched::Page => self.found.fresh.pages += 1,
                    }
                    self.added.push(name);
                }
                (rows, Unmatched::Stored(object)) => self.date(name, object, rows),
                (_, Unmatched::Page) => self.found.web += 1,
            }
        }
    }

    /// Rows of what the store does not have or cannot show, and of sitemaps.
    fn take_unlisted(&mut self, address: &DocumentAddress) {
        let found = matches!(self.objects.get(address), Some(Looked::Found(_)));
        match address {
            DocumentAddress::Sitemap(_) => {
                // All sitemaps of a bot share what is left: which page is whose is not known.
                let pages = self.pages_left || self.sources.pages_left();
                self.pages_left = pages;
                match pages {
                    true => self.found.web += 1,
                    false => {
                        self.found.fresh.sitemaps += 1;
                        self.added.push(address.to_string());
                    }
                }
            }
            DocumentAddress::Page(_) | DocumentAddress::Video(_) => {}
            _ if found => {}
            DocumentAddress::File(name) => {
                if self.sources.file(name) == 0 {
                    self.sources.loosely(&self.bot.key, &[name]);
                }
            }
            DocumentAddress::S3(text) if !text.ends_with('/') => {
                if self.sources.exactly(text) == 0 {
                    self.sources.loosely(&self.bot.key, &[text]);
                }
            }
            DocumentAddress::S3(prefix) => {
                self.sources.under(prefix);
            }
            DocumentAddress::Folder(path) => {
                let path = path.display().to_string();
                self.sources.exactly(&path);
                self.sources.under(&format!("{}/", path.trim_end_matches('/')));
            }
        }
    }

    fn judge(&mut self) {
        let mut reasons = Vec::new();
        let gone = self.sources.unexplained();
        self.found.fresh.rows = self.held.rows();
        self.found.fresh.stale_rows += gone.iter().map(|(_, rows)| rows).sum::<u64>();
        let some = |documents: &mut Vec<String>| {
            Some(std::mem::take(documents)).filter(|documents| !documents.is_empty())
        };
        if self.held.sources.is_empty() {
            // Without a single document to be found there is nothing to embed.
            if !(self.added.is_empty() && self.unread.is_empty()) {
                reasons.push(Reason::New);
            }
        } else {
            reasons.extend(some(&mut self.added).map(|documents| Reason::Added { documents }));
        }
        reasons.extend(some(&mut self.changed).map(|documents| Reason::Changed { documents }));
        if !gone.is_empty() {
            let name = |source: Option<&str>| source.unwrap_or("(no source)").to_owned();
            reasons.push(Reason::Gone {
                rows: gone.iter().map(|(_, rows)| rows).sum(),
                documents: gone.into_iter().map(|(source, _)| name(source)).collect(),
            });
        }
        let why = self.why.take().unwrap_or_default();
        reasons.extend(some(&mut self.unread).map(|documents| Reason::Unread { documents, why }));
        if self.terms.web == WebPolicy::Reembed && self.found.web > 0 && !self.held.newer {
            reasons.push(Reason::Web { documents: self.found.web });
        }
        let status = self.bot.sync.as_ref().map(|sync| sync.status);
        reasons.extend(
            status
                .filter(|status| *status != SyncStatus::Succeeded)
                .map(|status| Reason::Sync { status }),
        );
        self.found.reasons = reasons;
    }
}
