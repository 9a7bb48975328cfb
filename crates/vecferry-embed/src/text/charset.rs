//! Which charset a text is in, and the text decoded piece by piece, so that its size does not matter.

use std::fs::File;
use std::io::{self, Read, Seek};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Encoding, UTF_8};

use super::error::{Error, machine};
use super::format::{HEAD, bare_utf16};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// How far into an HTML document its charset may be declared. The standard says 1024 bytes; pages exceed it.
const META: usize = 4096;

/// What is known of a text before it is decoded.
pub(super) struct Clues<'a> {
    /// First bytes, [`HEAD`] of them where there are as many.
    pub(super) head: &'a [u8],
    /// Charset that the document's place names.
    pub(super) given: Option<&'a str>,
    /// Whether a charset declared by the text itself counts.
    pub(super) html: bool,
}

/// The charset: byte order mark, then the given one, then the declared one, then what the bytes look like. UTF-8 is
/// believed of nobody when the bytes are not.
pub(super) fn detect(file: &mut File, clues: &Clues<'_>) -> Result<&'static Encoding, Error> {
    if let Some((encoding, _)) = Encoding::for_bom(clues.head) {
        return Ok(encoding);
    }
    let declared = || clues.html.then(|| declared(clues.head)).flatten();
    let named = clues
        .given
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .or_else(declared)
        .filter(|encoding| *encoding != UTF_8);
    if let Some(encoding) = named.or_else(|| bare_utf16(clues.head)) {
        return Ok(encoding);
    }
    let looks = looks_like(file);
    file.rewind().and(looks).map_err(machine("read a document's file"))
}

/// Decodes from the file's position on; malformed sequences become U+FFFD.
pub(super) fn decode(
    file: &mut File,
    encoding: &'static Encoding,
    mut each: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let mut bytes = vec![0; PIECE];
    let mut text = String::with_capacity(PIECE);
    loop {
        let read = file.read(&mut bytes).map_err(machine("read a document's file"))?;
        let mut rest = &bytes[..read];
        loop {
            let (result, used, _) = decoder.decode_to_string(rest, &mut text, read == 0);
            rest = &rest[used..];
            each(&text)?;
            text.clear();
            if result == CoderResult::InputEmpty {
                break;
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// UTF-8 if all of it is, otherwise the most likely charset of all its bytes. A first part would not do: an English
/// manual may have its first foreign name on page 300.
fn looks_like(file: &mut File) -> io::Result<&'static Encoding> {
    let (mut valid, mut escapes) = (true, false);
    let mut cut = Vec::with_capacity(PIECE);
    pieces(file, |piece| {
        escapes |= piece.contains(&0x1b);
        cut.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&cut) {
            Ok(_) => cut.len(),
            // A character may go on in the next piece.
            Err(error) => {
                valid &= error.error_len().is_none();
                error.valid_up_to()
            }
        };
        cut.drain(..whole);
        valid
    })?;
    // ISO-2022-JP is ASCII with escapes, hence also valid UTF-8.
    if valid && cut.is_empty() && !escapes {
        return Ok(UTF_8);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    file.rewind()?;
    pieces(file, |piece| {
        detector.feed(piece, false);
        true
    })?;
    detector.feed(&[], true);
    Ok(detector.guess(None, Utf8Detection::Allow))
}

/// Reads piece by piece to the end, or until `each` has seen enough.
fn pieces(file: &mut File, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 || !each(&bytes[..read]) {
            return Ok(());
        }
    }
}

/// The charset that an HTML document declares: `<meta charset=…>` or in the `content` of a `http-equiv`.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = head[..head.len().min(META).min(HEAD)].to_ascii_lowercase();
    let metas = head.windows(5).enumerate().filter(|(_, window)| *window == b"<meta");
    metas.into_iter().find_map(|(start, _)| {
        let tag = &head[start..];
        let tag = &tag[..tag.iter().position(|byte| *byte == b'>')?];
        let value = tag.windows(8).position(|window| window == b"charset=")? + 8;
        let label = tag[value..].trim_ascii_start();
        let label = label.strip_prefix(b"\"").or(label.strip_prefix(b"'")).unwrap_or(label);
        let end = label.iter().position(|byte| b"\"' ;/".contains(byte)).unwrap_or(label.len());
        // The standard: a declaration that could be read as ASCII cannot be in UTF-16.
        Encoding::for_label(&label[..end]).map(Encoding::output_encoding)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn detected(bytes: &[u8], given: Option<&str>, html: bool) -> &'static str {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let head = &bytes[..bytes.len().min(HEAD)];
        detect(&mut file, &Clues { head, given, html }).unwrap().name()
    }

    #[test]
    fn a_mark_outweighs_the_given_charset_and_that_the_declared_one() {
        assert_eq!(detected(b"\xef\xbb\xbfabc", Some("iso-8859-2"), false), "UTF-8");
        assert_eq!(detected(b"\xff\xfea\0", Some("utf-8"), false), "UTF-16LE");
        let page = b"<html><meta charset='windows-1250'>";
        assert_eq!(detected(page, Some("koi8-r"), true), "KOI8-R");
        assert_eq!(detected(page, None, true), "windows-1250");
        assert_eq!(detected(page, None, false), "UTF-8");
        let old = b"<META http-equiv=Content-Type content=\"text/html; charset=Shift_JIS\">";
        assert_eq!(detected(old, None, true), "Shift_JIS");
    }

    #[test]
    fn utf8_is_not_believed_when_the_bytes_are_not() {
        let polish = encoding_rs::WINDOWS_1250.encode("Zażółć gęślą jaźń i świeże śliwki").0;
        assert_eq!(detected(&polish, Some("utf-8"), false), "windows-1250");
        assert_eq!(detected("Zażółć".as_bytes(), Some("nonsense"), false), "UTF-8");
    }

    #[test]
    fn a_late_foreign_letter_still_decides() {
        let text = format!("{}Żółw", "plain English. ".repeat(100_000));
        assert_eq!(detected(text.as_bytes(), None, false), "UTF-8");
    }

    #[test]
    fn a_text_that_ends_within_a_character_is_not_utf8() {
        assert_ne!(detected(&"Zażół".as_bytes()[..3], None, false), "UTF-8");
    }

    #[test]
    fn charsets_of_many_languages_are_recognised() {
        for (encoding, text) in [
            (encoding_rs::SHIFT_JIS, "これは日本語の文章です。検索に使います。"),
            (encoding_rs::EUC_KR, "이것은 한국어 문장입니다. 검색에 사용됩니다."),
            (encoding_rs::ISO_2022_JP, "これは日本語の文章です。"),
            (encoding_rs::WINDOWS_1256, "هذه جملة باللغة العربية للبحث في الوثائق"),
            (encoding_rs::WINDOWS_1252, "A informação não está disponível em português, coração"),
        ] {
            assert_eq!(detected(&encoding.encode(text).0, None, false), encoding.name());
        }
    }

    #[test]
    fn a_character_may_lie_across_two_pieces() {
        let text = format!("{}日本", "a".repeat(PIECE - 1));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut decoded = String::new();
        let each = |piece: &str| {
            decoded.push_str(piece);
            Ok(())
        };
        decode(&mut file, UTF_8, each).unwrap();
        assert!(decoded == text);
    }
}
