//! What a file is: decided from its first bytes, and only where these leave it open from what its place says.
//!
//! Names and media types lie (a PDF saved as `.txt`, an error page served as `.docx`), first bytes hardly ever do.
//! So bytes decide wherever a format has a signature; the media type, then the file name decide between the formats
//! of plain text, which have none.

use serde::{Deserialize, Serialize};

use crate::document::{Fetched, Lost, Reason};

/// How many bytes of a file are looked at. Readers of PDF accept its signature within the first 1024.
pub(super) const HEAD: usize = 8192;

/// Formats that have a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Portable Document Format.
    Pdf,
    /// Word, since 2007.
    Docx,
    /// PowerPoint, since 2007.
    Pptx,
    /// Excel, since 2007.
    Xlsx,
    /// Excel's binary workbook.
    Xlsb,
    /// Excel, before 2007.
    Xls,
    /// OpenDocument spreadsheet.
    Ods,
    /// HTML and XHTML.
    Html,
    /// Markdown.
    Markdown,
    /// Comma- or tab-separated values.
    Csv,
    /// Any other plain text, source code and data formats included.
    Text,
}

impl Format {
    /// The format's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Pdf => "pdf",
            Format::Docx => "docx",
            Format::Pptx => "pptx",
            Format::Xlsx => "xlsx",
            Format::Xlsb => "xlsb",
            Format::Xls => "xls",
            Format::Ods => "ods",
            Format::Html => "html",
            Format::Markdown => "markdown",
            Format::Csv => "csv",
            Format::Text => "text",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is said about a document's format by its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// File name, for its extension.
    pub name: Option<String>,
    /// `Content-Type` without parameters.
    pub media_type: Option<String>,
    /// `charset` parameter of the `Content-Type`.
    pub charset: Option<String>,
}

impl From<&Fetched> for Hints {
    fn from(fetched: &Fetched) -> Hints {
        Hints {
            name: fetched.name.clone(),
            media_type: fetched.media_type.clone(),
            charset: fetched.charset.clone(),
        }
    }
}

impl Hints {
    /// The plain-text format that is meant, if one is.
    fn plain(&self) -> Option<Format> {
        let media_type = self.media_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        let meant = match media_type.as_str() {
            "text/html" | "application/xhtml+xml" => Some(Format::Html),
            "text/markdown" | "text/x-markdown" => Some(Format::Markdown),
            "text/csv" | "text/tab-separated-values" => Some(Format::Csv),
            _ => None,
        };
        meant.or_else(|| match self.extension().as_str() {
            "html" | "htm" | "xhtml" => Some(Format::Html),
            "md" | "markdown" => Some(Format::Markdown),
            "csv" | "tsv" => Some(Format::Csv),
            _ => None,
        })
    }

    fn means_pdf(&self) -> bool {
        self.media_type.as_deref() == Some("application/pdf") || self.extension() == "pdf"
    }

    fn extension(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default()
    }
}

/// What a file's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// It is this.
    Is(Format),
    /// A ZIP archive; its entries say more ([`in_zip`]).
    Zip,
    /// An OLE2 compound file; its streams say more ([`in_ole`]).
    Ole,
}

/// Formats without a reader, by their first bytes, that would otherwise pass for plain text.
const TEXTUAL: [(&[u8], &str); 2] = [(b"{\\rtf", "RTF"), (b"%!PS", "PostScript")];

/// What the first bytes of a file say, with the hints where they leave it open.
pub(super) fn guess(head: &[u8], hints: &Hints) -> Result<Guess, Lost> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let early = &head[..head.len().min(1024)];
    if text.starts_with(b"%PDF-") || (hints.means_pdf() && contains(early, b"%PDF-")) {
        return Ok(Guess::Is(Format::Pdf));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Guess::Zip);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Ok(Guess::Ole);
    }
    if let Some((_, name)) = TEXTUAL.iter().find(|(magic, _)| text.starts_with(magic)) {
        return Err(Lost::new(Reason::Unsupported, format!("{name} is not read")));
    }
    if is_binary(head) {
        return Err(Lost::new(Reason::Unsupported, "binary data of no known format"));
    }
    Ok(Guess::Is(match looks_like_html(text) {
        true => Format::Html,
        false => hints.plain().unwrap_or(Format::Text),
    }))
}

/// What a ZIP archive is, by the names of its entries.
pub(super) fn in_zip<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Format, Lost> {
    // The parts that the formats' own readers need; nothing else is fixed in all producers' files.
    let mut found = None;
    for name in names {
        match name.trim_start_matches('/') {
            "xl/workbook.bin" => return Ok(Format::Xlsb),
            "xl/workbook.xml" => return Ok(Format::Xlsx),
            "ppt/presentation.xml" => return Ok(Format::Pptx),
            "word/document.xml" => return Ok(Format::Docx),
            // Word names it otherwise now and then (`document2.xml`); its folder is always there.
            name if name.starts_with("word/") => found = found.or(Some(Format::Docx)),
            "content.xml" => found = found.or(Some(Format::Ods)),
            _ => {}
        }
    }
    found.ok_or_else(|| Lost::new(Reason::Unsupported, "a ZIP archive of no known format"))
}

/// What an OLE2 compound file is, by the names of its streams.
pub(super) fn in_ole(names: &[String]) -> Result<Format, Lost> {
    let has = |name: &str| names.iter().any(|stream| stream == name);
    // MS-OFFCRYPTO 2.3.4.4: a document that is encrypted as a whole lies in this stream.
    if has("EncryptedPackage") {
        return Err(Lost::new(Reason::Encrypted, "protected by a password"));
    }
    if has("Workbook") || has("Book") {
        return Ok(Format::Xls);
    }
    let what = match () {
        () if has("WordDocument") => "Word before 2007 is not read",
        () if has("PowerPoint Document") => "PowerPoint before 2007 is not read",
        () => "an OLE2 file of no known format",
    };
    Err(Lost::new(Reason::Unsupported, what))
}

/// The encoding of UTF-16 text without a byte order mark: in text of most languages every other byte of spaces,
/// digits and markup is zero.
pub(super) fn bare_utf16(head: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let some = (head.len() / 16).max(2);
    match (even, odd) {
        (0, odd) if odd >= some => Some(encoding_rs::UTF_16LE),
        (even, 0) if even >= some => Some(encoding_rs::UTF_16BE),
        _ => None,
    }
}

/// Whether bytes are no text in any charset: zeros that are not those of UTF-16, or more than one in 32 of the
/// control characters that texts do not use.
fn is_binary(head: &[u8]) -> bool {
    if encoding_rs::Encoding::for_bom(head).is_some() || bare_utf16(head).is_some() {
        return false;
    }
    // A stray zero happens in exported text; tab to carriage return and escape (ISO-2022-JP) belong to it.
    let odd = |byte: u8| matches!(byte, 0..=8 | 14..=26 | 28..=31 | 127);
    head.iter().filter(|byte| odd(**byte)).count() * 32 > head.len()
}

fn looks_like_html(text: &[u8]) -> bool {
    let start = text[..text.len().min(1024)].to_ascii_lowercase();
    let mut rest = start.as_slice();
    // Past comments; an XML declaration or style sheet only when HTML follows it.
    while let Some(comment) = rest.strip_prefix(b"<!--") {
        let Some(end) = find(comment, b"-->") else { return false };
        rest = comment[end + 3..].trim_ascii_start();
    }
    let starts = [b"<!doctype html".as_slice(), b"<html", b"<head>", b"<body"];
    starts.iter().any(|tag| rest.starts_with(tag))
        || (rest.starts_with(b"<?xml") && contains(rest, b"<html"))
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    find(text, what).is_some()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Hints {
        Hints { name: Some(name.to_owned()), ..Hints::default() }
    }

    fn served(media_type: &str) -> Hints {
        Hints { media_type: Some(media_type.to_owned()), ..Hints::default() }
    }

    fn is(head: &[u8], hints: &Hints) -> Format {
        match guess(head, hints) {
            Ok(Guess::Is(format)) => format,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_signature_outweighs_name_and_media_type() {
        assert_eq!(is(b"%PDF-1.7\n", &named("notes.txt")), Format::Pdf);
        assert_eq!(is(b"\xef\xbb\xbf \n%PDF-1.4", &served("text/plain")), Format::Pdf);
        assert_eq!(is(b"<!DOCTYPE HTML><p>x", &named("letter.docx")), Format::Html);
        assert_eq!(is(b"<!-- x --> <html lang=en>", &named("a.pdf")), Format::Html);
        let xhtml = b"<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC><html>";
        assert_eq!(is(xhtml, &Hints::default()), Format::Html);
        assert_eq!(guess(b"PK\x03\x04....", &named("a.html")), Ok(Guess::Zip));
        assert_eq!(guess(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", &named("a.docx")), Ok(Guess::Ole));
    }

    #[test]
    fn hints_decide_between_formats_without_a_signature() {
        assert_eq!(is(b"# Title", &named("README.MD")), Format::Markdown);
        assert_eq!(is(b"a,b", &named("a.csv")), Format::Csv);
        assert_eq!(is(b"a\tb", &served("text/tab-separated-values")), Format::Csv);
        assert_eq!(is(b"<p>part of a page", &served("text/html")), Format::Html);
        assert_eq!(is(b"<p>part of a page", &named("a.htm")), Format::Html);
        assert_eq!(is(b"<p>part of a page", &Hints::default()), Format::Text);
        let both = Hints { name: Some("a.csv".into()), ..served("text/html") };
        assert_eq!(is(b"plain", &both), Format::Html);
        assert_eq!(is(b"{\"a\": 1}", &named("a.json")), Format::Text);
        assert_eq!(is(b"<?xml version=\"1.0\"?><feed/>", &named("a.xml")), Format::Text);
        assert_eq!(is(b"fn main() {}", &named("pdf")), Format::Text);
        assert_eq!(is(b"", &named("empty.txt")), Format::Text);
    }

    #[test]
    fn a_pdf_may_begin_late_but_a_text_about_pdf_is_a_text() {
        let late = b"HTTP junk\r\n%PDF-1.5";
        assert_eq!(is(late, &named("a.pdf")), Format::Pdf);
        assert_eq!(is(late, &served("application/pdf")), Format::Pdf);
        assert_eq!(is(b"A file begins with %PDF-1.5.", &named("a.md")), Format::Markdown);
    }

    #[test]
    fn binary_data_is_unsupported_whatever_it_is_called() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
        for (head, name) in [
            (png.as_slice(), "photo.pdf"),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", "a.txt"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "a.csv"),
            (b"{\\rtf1\\ansi", "a.rtf"),
            (b"%!PS-Adobe-3.0", "a.txt"),
        ] {
            assert_eq!(
                guess(head, &named(name)).unwrap_err().reason,
                Reason::Unsupported,
                "{name}"
            );
        }
    }

    #[test]
    fn text_of_any_charset_is_text() {
        let utf16: Vec<u8> =
            "Zażółć gęślą jaźń, a b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(is(&utf16, &Hints::default()), Format::Text);
        assert_eq!(is(&[b"\xff\xfe".as_slice(), &utf16].concat(), &Hints::default()), Format::Text);
        assert_eq!(is(b"\x1b$B$3$s$K$A$O\x1b(B", &Hints::default()), Format::Text);
        assert_eq!(
            is(b"\x93\xfa\x96\x7b\x8c\xea\x82\xcc\x95\xb6", &Hints::default()),
            Format::Text
        );
    }

    #[test]
    fn an_archive_is_what_its_parts_say() {
        let of = |names: &[&str]| in_zip(names.iter().copied());
        assert_eq!(of(&["[Content_Types].xml", "word/document.xml"]), Ok(Format::Docx));
        assert_eq!(of(&["word/document2.xml"]), Ok(Format::Docx));
        assert_eq!(of(&["word/embeddings/x.bin", "xl/workbook.xml"]), Ok(Format::Xlsx));
        assert_eq!(of(&["ppt/presentation.xml"]), Ok(Format::Pptx));
        assert_eq!(of(&["xl/workbook.bin"]), Ok(Format::Xlsb));
        assert_eq!(of(&["mimetype", "content.xml"]), Ok(Format::Ods));
        assert_eq!(of(&["photo.png"]).unwrap_err().reason, Reason::Unsupported);
    }

    #[test]
    fn a_compound_file_is_what_its_streams_say() {
        let of = |name: &str| in_ole(&["Root Entry".to_owned(), name.to_owned()]);
        assert_eq!(of("Workbook"), Ok(Format::Xls));
        assert_eq!(of("EncryptedPackage").unwrap_err().reason, Reason::Encrypted);
        assert_eq!(of("WordDocument").unwrap_err().reason, Reason::Unsupported);
        assert_eq!(of("other").unwrap_err().reason, Reason::Unsupported);
    }
}
