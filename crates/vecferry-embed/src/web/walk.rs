//! Everything a sitemap leads to: indexes followed to a depth, every page once, a broken part beside what is whole.
//!
//! Only pages of the sitemap's own site count, as the protocol has it: its host with or without `www.`, hosts below
//! it, at the same port, by http or https. Without a list of public suffixes nobody can tell whether two other hosts
//! have one owner, and a sitemap must not be a way to have us read a stranger's site. What is elsewhere is lost, and
//! says so.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use url::{Host, Url};
use vecferry_core::bot::DocumentAddress;

use super::sitemap::{self, Entry, Unreadable};
use super::visit::{Gate, Visitor, Want};
use super::{SitemapLimits, web_url};
use crate::document::{Document, Found, Lost, Reason};

/// A walk through the sitemaps behind one address.
pub(crate) struct Walk<'a> {
    pub(crate) visitor: &'a Visitor,
    pub(crate) gate: &'a dyn Gate,
    pub(crate) limits: &'a SitemapLimits,
    pub(crate) folder: &'a Path,
}

/// A sitemap to be read.
struct Next {
    /// As it was written, which names it if it is lost.
    text: String,
    url: Url,
    depth: usize,
}

/// What has been found and where we have been.
struct Gathered {
    address: DocumentAddress,
    found: Found,
    /// Pages and sitemaps met, without their fragments.
    met: HashSet<String>,
    site: Url,
    sitemaps: usize,
}

impl Walk<'_> {
    /// # Errors
    /// When the sitemap itself cannot be read at all, or leads to more than the limits allow: a part of the pages
    /// would look like all of them.
    pub(crate) async fn find(&self, address: &DocumentAddress, text: &str) -> Result<Found, Lost> {
        let url = web_url(text)?;
        let mut gathered = Gathered {
            address: address.clone(),
            found: Found::default(),
            met: HashSet::from([key(&url)]),
            site: url.clone(),
            sitemaps: 0,
        };
        // The last is read first, so that pages come in the order in which a reader would meet them.
        let mut next = vec![Next { text: text.to_owned(), url, depth: 0 }];
        while let Some(sitemap) = next.pop() {
            let is_root = gathered.sitemaps == 0;
            gathered.sitemaps += 1;
            match self.read(&sitemap, is_root, &mut gathered).await {
                Ok(children) => next.extend(children.into_iter().rev()),
                Err(lost) if is_root || lost == too_many(self.limits) => return Err(lost),
                Err(lost) => gathered.found.lost.push((sitemap.text, lost)),
            }
        }
        Ok(gathered.found)
    }

    /// Reads one sitemap: its pages are kept, the sitemaps it leads to returned.
    async fn read(
        &self,
        sitemap: &Next,
        is_root: bool,
        gathered: &mut Gathered,
    ) -> Result<Vec<Next>, Lost> {
        let want = Want::page(sitemap.url.clone(), self.limits.bytes);
        let arrival = self.visitor.get(&want, self.folder, self.gate).await?;
        if is_root {
            // A site that moved lists its pages where it is now.
            gathered.site = arrival.url.clone();
        }
        let room = self.limits.pages.saturating_sub(gathered.met.len());
        let (entries, outcome) = entries(arrival.document.file.path(), self.limits, room).await?;
        let mut children = Vec::new();
        for entry in entries {
            let (text, changed, is_page) = match entry {
                Entry::Page { url, changed } => (url, changed, true),
                Entry::Sitemap { url } => (url, None, false),
            };
            let Some(url) = gathered.admit(&text, &arrival.url) else { continue };
            if is_page {
                // A relative entry names no page by itself.
                let source = if Url::parse(&text).is_ok() { text } else { url.into() };
                gathered.keep(source, changed);
            } else if sitemap.depth + 1 >= self.limits.depth {
                let detail = format!("sitemaps nested deeper than {}", self.limits.depth);
                gathered.found.lost.push((text, Lost::new(Reason::TooLarge, detail)));
            } else {
                children.push(Next { text, url, depth: sitemap.depth + 1 });
            }
        }
        if gathered.is_full(self.limits) {
            return Err(too_many(self.limits));
        }
        match outcome {
            Ok(()) => Ok(children),
            // Nothing came of it: lost. Something did: that counts, and the rest is lost beside it.
            Err(unreadable)
                if is_root && gathered.found.documents.is_empty() && children.is_empty() =>
            {
                Err(Lost::from(unreadable))
            }
            Err(unreadable) => {
                gathered.found.lost.push((sitemap.text.clone(), unreadable.into()));
                Ok(children)
            }
        }
    }
}

impl Gathered {
    /// The URL of an entry that was not met before and may be followed. A relative one, which the protocol does not
    /// know but sites write, is taken from where its sitemap is.
    fn admit(&mut self, text: &str, from: &Url) -> Option<Url> {
        let refused = match from.join(text) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => "neither http nor https",
            Ok(url) if !is_same_site(&self.site, &url) => "not on the sitemap's own site",
            Ok(url) => return self.met.insert(key(&url)).then_some(url),
            Err(_) => "not a URL",
        };
        if self.met.insert(text.to_owned()) {
            self.found.lost.push((text.to_owned(), Lost::new(Reason::Refused, refused)));
        }
        None
    }

    fn keep(&mut self, source: String, version: Option<String>) {
        let address = self.address.clone();
        self.found.documents.push(Document {
            address,
            source,
            bytes: None,
            version,
            modified: None,
        });
    }

    fn is_full(&self, limits: &SitemapLimits) -> bool {
        self.met.len() > limits.pages
    }
}

impl From<Unreadable> for Lost {
    fn from(unreadable: Unreadable) -> Lost {
        let reason = match unreadable {
            Unreadable::Other(_) => Reason::Unsupported,
            Unreadable::Damaged(_) => Reason::Broken,
            Unreadable::Long(_) => Reason::TooLarge,
        };
        Lost::new(reason, unreadable.to_string())
    }
}

/// The entries of a file, one more than there is room for at most.
async fn entries(
    path: &Path,
    limits: &SitemapLimits,
    room: usize,
) -> Result<(Vec<Entry>, Result<(), Unreadable>), Lost> {
    let (path, limit): (PathBuf, u64) = (path.to_owned(), limits.bytes);
    let read = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path)?;
        let mut entries = Vec::new();
        // Entries that repeat others take no room, so twice as many as fit may come before it ends.
        let most = room.saturating_mul(2).saturating_add(1);
        let outcome = sitemap::read(file, limit, &mut |entry| {
            entries.push(entry);
            entries.len() < most
        });
        Ok::<_, std::io::Error>((entries, outcome))
    });
    match read.await {
        // Cut short: what is left out could be pages.
        Ok(Ok((entries, _))) if entries.len() > room.saturating_mul(2) => Err(too_many(limits)),
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(crate::spool::unstored(&error)),
        Err(error) => Err(Lost::new(Reason::Broken, format!("its reader died: {error}"))),
    }
}

fn too_many(limits: &SitemapLimits) -> Lost {
    let most = limits.pages;
    Lost::new(Reason::TooLarge, format!("it leads to more than {most} pages and sitemaps"))
}

/// One spelling for a page: what follows `#` is not sent.
fn key(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    url.into()
}

/// Whether a URL is on the site of another: same host, with or without `www.`, or one below it, at the same port.
fn is_same_site(site: &Url, url: &Url) -> bool {
    if site.port() != url.port() {
        return false;
    }
    match (site.host(), url.host()) {
        (Some(Host::Domain(site)), Some(Host::Domain(host))) => {
            let bare = |name: &str| {
                let name = name.strip_suffix('.').unwrap_or(name);
                name.strip_prefix("www.").unwrap_or(name).to_owned()
            };
            let (site, host) = (bare(site), bare(host));
            host == site || host.strip_suffix(&site).is_some_and(|left| left.ends_with('.'))
        }
        (site, host) => site.is_some() && site == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_its_host_with_or_without_www_and_hosts_below_it() {
        let same = |site: &str, url: &str| {
            is_same_site(&Url::parse(site).unwrap(), &Url::parse(url).unwrap())
        };
        for (site, url) in [
            ("https://x.example/s.xml", "https://x.example/a"),
            ("https://x.example/", "http://x.example/a"),
            ("https://x.example/", "https://www.x.example/"),
            ("https://www.x.example/", "https://x.example/"),
            ("https://www.x.example/", "https://docs.x.example/"),
            ("https://x.example./", "https://X.Example/"),
            ("http://127.0.0.1:80/", "http://127.0.0.1/"),
        ] {
            assert!(same(site, url), "{site} {url}");
        }
        for (site, url) in [
            ("https://docs.x.example/", "https://x.example/"),
            ("https://x.example/", "https://evilx.example/"),
            ("https://x.example/", "https://x.example.evil/"),
            ("https://x.example/", "https://x.example:8443/"),
            ("http://127.0.0.1/", "http://127.0.0.2/"),
            ("http://0.0.1/", "http://x.0.0.1.example/"),
        ] {
            assert!(!same(site, url), "{site} {url}");
        }
    }
}
