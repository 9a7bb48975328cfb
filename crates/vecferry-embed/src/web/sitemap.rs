//! Reading one sitemap (<https://www.sitemaps.org/protocol.html>): a list of pages or an index of more sitemaps, as
//! XML or as lines of text, compressed or not. Pure but for reading; `walk` follows indexes.
//!
//! The content decides what it is, whatever name or type it comes with. Document type declarations are passed over:
//! nothing they define is ever expanded or fetched.

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Longest URL (the protocol says 2 048) and last change that are kept.
const URL_CHARS: usize = 8192;
const CHANGE_CHARS: usize = 64;

/// What a sitemap lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A page, and when it changed last, as the site writes it.
    Page { url: String, changed: Option<String> },
    /// Another sitemap.
    Sitemap { url: String },
}

/// Why a sitemap cannot be read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("not a sitemap but {0}")]
    Other(String),
    #[error("broken off or damaged: {0}")]
    Damaged(String),
    #[error("longer than {0} bytes unpacked")]
    Long(u64),
}

/// Reads a sitemap of at most `limit` bytes, unpacked, and hands over its entries in order until `take` says false.
/// What was handed over before an error counts.
pub(crate) fn read(
    file: impl Read,
    limit: u64,
    take: &mut dyn FnMut(Entry) -> bool,
) -> Result<(), Unreadable> {
    let mut raw = BufReader::new(file);
    let packed = raw.fill_buf().map_err(|error| damaged(&error))?.starts_with(&[0x1f, 0x8b]);
    let bytes: Box<dyn Read + '_> =
        if packed { Box::new(MultiGzDecoder::new(raw)) } else { Box::new(raw) };
    // A byte more than allowed shows that there are more.
    let mut bytes = bytes.take(limit.saturating_add(1));
    let outcome = read_plain(&mut bytes, take);
    if bytes.limit() == 0 { Err(Unreadable::Long(limit)) } else { outcome }
}

fn read_plain(bytes: impl Read, take: &mut dyn FnMut(Entry) -> bool) -> Result<(), Unreadable> {
    let mut bytes = BufReader::new(bytes);
    let start = bytes.fill_buf().map_err(|error| damaged(&error))?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    match start.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(Unreadable::Other("an empty file".into())),
        Some(b'<') => read_xml(bytes, take),
        Some(_) => read_lines(bytes, take),
    }
}

fn read_lines(bytes: impl BufRead, take: &mut dyn FnMut(Entry) -> bool) -> Result<(), Unreadable> {
    for line in bytes.lines() {
        let line = line.map_err(|error| damaged(&error))?;
        let url = line.trim().trim_start_matches('\u{feff}');
        if url.is_empty() {
            continue;
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Unreadable::Other("text with lines that are no URLs".into()));
        }
        if !take(Entry::Page { url: url.to_owned(), changed: None }) {
            break;
        }
    }
    Ok(())
}

/// What has been read of the entry that is open.
#[derive(Default)]
struct Partial {
    url: String,
    changed: String,
}

/// Where a text belongs. By position and not by name alone: an image's `loc` is not the page's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Url,
    Changed,
}

fn read_xml(bytes: impl BufRead, take: &mut dyn FnMut(Entry) -> bool) -> Result<(), Unreadable> {
    let mut reader = Reader::from_reader(bytes);
    // Names below the root, outermost first; deeper ones are only counted.
    let (mut path, mut buffer) = (Vec::<String>::new(), Vec::new());
    let (mut partial, mut ended) = (Partial::default(), false);
    while !ended {
        buffer.clear();
        let event = reader.read_event_into(&mut buffer);
        match event.map_err(|error| Unreadable::Damaged(error.to_string()))? {
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                match path.as_slice() {
                    [root] if root != "urlset" && root != "sitemapindex" => {
                        return Err(Unreadable::Other(format!("a file of <{root:.40}>")));
                    }
                    [_, _] => partial = Partial::default(),
                    _ => {}
                }
            }
            Event::Text(text) => partial.add(&path, &text.xml10_content()),
            Event::CData(text) => partial.add(&path, &text.xml10_content()),
            Event::GeneralRef(name) => {
                if field(&path).is_some() {
                    partial.add(&path, &entity(&name)?);
                }
            }
            Event::End(_) => {
                if let Some(entry) = std::mem::take(&mut partial).finish(&path, &mut partial)
                    && !take(entry)
                {
                    return Ok(());
                }
                path.pop();
                ended = path.is_empty();
            }
            Event::Eof => return Err(Unreadable::Damaged("it ends in the middle".into())),
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
    Ok(())
}

fn field(path: &[String]) -> Option<Field> {
    let [root, entry, field] = path else { return None };
    let fits =
        matches!((root.as_str(), entry.as_str()), ("urlset", "url") | ("sitemapindex", "sitemap"));
    match field.as_str() {
        "loc" if fits => Some(Field::Url),
        "lastmod" if fits => Some(Field::Changed),
        _ => None,
    }
}

impl Partial {
    fn add(&mut self, path: &[String], text: &str) {
        let (kept, most) = match field(path) {
            Some(Field::Url) => (&mut self.url, URL_CHARS),
            Some(Field::Changed) => (&mut self.changed, CHANGE_CHARS),
            None => return,
        };
        let room = most.saturating_sub(kept.chars().count());
        kept.extend(text.chars().take(room));
    }

    /// The entry, when it is an entry that ends; otherwise what was read is put back.
    fn finish(self, path: &[String], back: &mut Partial) -> Option<Entry> {
        let [root, name] = path else {
            *back = self;
            return None;
        };
        let url = self.url.trim().to_owned();
        if url.is_empty() {
            return None;
        }
        match (root.as_str(), name.as_str()) {
            ("urlset", "url") => {
                let changed = Some(self.changed.trim().to_owned()).filter(|text| !text.is_empty());
                Some(Entry::Page { url, changed })
            }
            ("sitemapindex", "sitemap") => Some(Entry::Sitemap { url }),
            _ => None,
        }
    }
}

/// One of XML's own entities or a character by its number; others would need a declaration.
fn entity(name: &BytesRef<'_>) -> Result<String, Unreadable> {
    let unknown = || Unreadable::Damaged("an entity that XML does not know".into());
    if name.is_char_ref() {
        let character = name.resolve_char_ref().ok().flatten();
        return character.map(String::from).ok_or_else(unknown);
    }
    let text =
        quick_xml::escape::resolve_predefined_entity(&name.xml10_content()).map(str::to_owned);
    text.ok_or_else(unknown)
}

fn damaged(error: &std::io::Error) -> Unreadable {
    Unreadable::Damaged(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn entries(bytes: &[u8]) -> (Vec<Entry>, Result<(), Unreadable>) {
        let mut entries = Vec::new();
        let outcome = read(bytes, 100_000, &mut |entry| {
            entries.push(entry);
            true
        });
        (entries, outcome)
    }

    fn all(text: &str) -> Vec<Entry> {
        let (entries, outcome) = entries(text.as_bytes());
        outcome.unwrap();
        entries
    }

    fn page(url: &str, changed: Option<&str>) -> Entry {
        Entry::Page { url: url.into(), changed: changed.map(str::to_owned) }
    }

    const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\" xmlns:image=\"i\">\n\
        <!-- two --><url>\n  <loc>\n https://x.example/a?b=1&amp;c=2&#x26;d </loc><lastmod>2026-11-01</lastmod>\n\
        <image:image><image:loc>https://x.example/i.png</image:loc></image:image></url>\n\
        <url><loc><![CDATA[https://x.example/<odd>&]]></loc><changefreq>daily</changefreq></url><url/>\n\
        <url><lastmod>2026</lastmod></url></urlset>";

    #[test]
    fn pages_are_read_with_entities_cdata_namespaces_and_without_images() {
        let expected = [
            page("https://x.example/a?b=1&c=2&d", Some("2026-11-01")),
            page("https://x.example/<odd>&", None),
        ];
        assert_eq!(all(XML), expected);
        let prefixed = "<s:urlset xmlns:s='n'><s:url><s:loc>http://x/</s:loc></s:url></s:urlset>";
        assert_eq!(all(prefixed), [page("http://x/", None)]);
    }

    #[test]
    fn an_index_lists_sitemaps_and_nothing_else() {
        let text = "<sitemapindex><sitemap><loc>http://x/1.xml</loc><lastmod>2026</lastmod></sitemap>\
                    <url><loc>http://x/page</loc></url><sitemap><loc> </loc></sitemap></sitemapindex>";
        assert_eq!(all(text), [Entry::Sitemap { url: "http://x/1.xml".into() }]);
    }

    #[test]
    fn lines_of_urls_are_a_sitemap_too() {
        let text = "\u{feff}http://x/a\r\n\nhttps://x/b \n";
        assert_eq!(all(text), [page("http://x/a", None), page("https://x/b", None)]);
        let (_, outcome) = entries(b"# comment\nhttp://x/");
        assert!(matches!(outcome, Err(Unreadable::Other(_))));
    }

    #[test]
    fn compressed_ones_are_known_by_their_first_bytes_even_in_several_members() {
        let pack = |text: &str| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let (head, tail) = XML.split_at(200);
        let (packed, outcome) = entries(&[pack(head), pack(tail)].concat());
        assert_eq!((packed, outcome), (all(XML), Ok(())));
        let torn = &pack(XML)[..100];
        assert!(matches!(entries(torn).1, Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn what_comes_before_the_damage_counts() {
        let at = XML.find("<changefreq").unwrap();
        let (before, outcome) = entries(&XML.as_bytes()[..at]);
        assert_eq!(before, [page("https://x.example/a?b=1&c=2&d", Some("2026-11-01"))]);
        assert_eq!(outcome, Err(Unreadable::Damaged("it ends in the middle".into())));
        let crossed = "<urlset><url><loc>http://x/</loc></url><url></urlset></url>";
        let (before, outcome) = entries(crossed.as_bytes());
        assert_eq!(before.len(), 1);
        assert!(matches!(outcome, Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        for (text, kind) in [
            ("<!DOCTYPE html><html><body>not found</body></html>", "a file of <html>"),
            ("<rss version='2.0'></rss>", "a file of <rss>"),
            ("  \n", "an empty file"),
            ("{\"error\": true}", "text with lines that are no URLs"),
        ] {
            assert_eq!(entries(text.as_bytes()).1, Err(Unreadable::Other(kind.into())), "{text}");
        }
    }

    #[test]
    fn declared_entities_are_never_expanded() {
        let text = "<!DOCTYPE urlset [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\
                    <urlset><url><loc>http://x/&b;</loc></url></urlset>";
        let (found, outcome) = entries(text.as_bytes());
        assert!(found.is_empty());
        assert!(matches!(outcome, Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn no_more_than_the_limit_is_unpacked() {
        let long = format!("<urlset>{}</urlset>", " ".repeat(200_000));
        assert_eq!(entries(long.as_bytes()).1, Err(Unreadable::Long(100_000)));
        let mut taken = 0;
        let outcome = read(XML.as_bytes(), 100_000, &mut |_| {
            taken += 1;
            false
        });
        assert_eq!((taken, outcome), (1, Ok(())));
    }
}
