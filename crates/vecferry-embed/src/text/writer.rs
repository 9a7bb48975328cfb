//! The text as it is written: UTF-8 in normalisation form C, lines ended by `\n`, no control characters (PostgreSQL
//! takes no `\0`, and no other one means anything), never longer than allowed.
//!
//! Text comes in pieces of any length and is held back only up to where normalising cannot change it any more, so
//! memory does not grow with it.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::error::{Error, machine};
use crate::document::Reason;

/// Text held back before it is normalised and written, in bytes. A run of combining marks longer than this is cut,
/// which changes no letter of any language.
const HELD: usize = 64 * 1024;

/// Most tabs in a row: a stray cell in Excel's last column is 16 383 columns away.
const TABS: u32 = 16;

/// Writes a document's text.
pub(super) struct TextWriter<W> {
    out: W,
    held: String,
    after_cr: bool,
    gap: Gap,
    written: u64,
    most: u64,
    visible: bool,
}

/// What is to stand between the text so far and the next, if there is a next.
#[derive(Default)]
struct Gap {
    breaks: u32,
    tabs: u32,
    space: bool,
}

impl<W: Write> TextWriter<W> {
    /// Writes to `out`, no more than `most` bytes.
    pub(super) fn new(out: W, most: u64) -> TextWriter<W> {
        let (held, gap) = (String::with_capacity(HELD * 2), Gap::default());
        TextWriter { out, held, after_cr: false, gap, written: 0, most, visible: false }
    }

    /// Adds text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        self.close_gap()?;
        self.push(text)
    }

    /// What comes next, if anything, stands apart by a space.
    pub(super) fn space(&mut self) {
        self.gap.space = true;
    }

    /// What comes next, if anything, is the next cell of a row.
    pub(super) fn tab(&mut self) {
        self.gap.tabs += 1;
    }

    /// What comes next, if anything, begins a line.
    pub(super) fn line(&mut self) {
        self.gap = Gap { breaks: self.gap.breaks.max(1), ..Gap::default() };
    }

    /// What comes next, if anything, begins a paragraph, apart by an empty line.
    pub(super) fn paragraph(&mut self) {
        self.gap = Gap { breaks: 2, ..Gap::default() };
    }

    /// Writes what is held back. Returns the length in bytes and whether there is anything but white space.
    pub(super) fn finish(mut self) -> Result<(u64, bool), Error> {
        self.release(self.held.len())?;
        self.out.flush().map_err(machine("write a text"))?;
        Ok((self.written, self.visible))
    }

    fn close_gap(&mut self) -> Result<(), Error> {
        let gap = std::mem::take(&mut self.gap);
        let started = self.written > 0 || !self.held.is_empty();
        for _ in 0..if started { gap.breaks } else { 0 } {
            self.push("\n")?;
        }
        for _ in 0..gap.tabs.min(TABS) {
            self.push("\t")?;
        }
        match gap.space && started && gap.breaks == 0 && gap.tabs == 0 {
            true => self.push(" "),
            false => Ok(()),
        }
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        // In pieces, so that what is held stays small whatever comes at once.
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(HELD.max(4)));
            self.clean(piece);
            rest = after;
            if self.held.len() >= HELD {
                let whole = settled(&self.held).unwrap_or(self.held.len());
                self.release(whole)?;
            }
        }
        Ok(())
    }

    /// Holds a piece, without what no text has. Most of a text has nothing to be looked at letter by letter.
    fn clean(&mut self, piece: &str) {
        let mut rest = piece;
        while let Some(at) = rest.bytes().position(is_suspect) {
            let (plain, from) = rest.split_at(at);
            self.hold(plain);
            let Some(character) = from.chars().next() else { return };
            self.clean_one(character);
            rest = &from[character.len_utf8()..];
        }
        self.hold(rest);
    }

    fn hold(&mut self, plain: &str) {
        if !plain.is_empty() {
            self.after_cr = false;
            self.held.push_str(plain);
        }
    }

    fn clean_one(&mut self, character: char) {
        let follows_cr = std::mem::replace(&mut self.after_cr, character == '\r');
        match character {
            '\n' if follows_cr => {}
            '\r' | '\u{0b}' | '\u{0c}' | '\u{85}' => self.held.push('\n'),
            '\n' => self.held.push(character),
            // A byte order mark in the middle comes from joined files.
            '\u{feff}' => {}
            character if character.is_control() => {}
            character => self.held.push(character),
        }
    }

    /// Writes the first `length` held bytes.
    fn release(&mut self, length: usize) -> Result<(), Error> {
        let held = &self.held[..length];
        // Below U+0300 (bytes cc 80) nothing combines, and that is all of most European texts.
        let settled =
            held.bytes().all(|byte| byte < 0xcc) || is_nfc_quick(held.chars()) == IsNormalized::Yes;
        let text = match settled {
            true => Cow::Borrowed(held),
            false => Cow::Owned(held.nfc().collect::<String>()),
        };
        self.written += text.len() as u64;
        if self.written > self.most {
            let most = self.most;
            return Err(Error::lost(Reason::TooLarge, format!("over {most} bytes of text")));
        }
        self.visible = self.visible || text.chars().any(|character| !character.is_whitespace());
        self.out.write_all(text.as_bytes()).map_err(too_long_or_failed)?;
        self.held.drain(..length);
        Ok(())
    }
}

/// Whether a character that begins with this byte may have to go or change: controls but the tab, U+0080 to U+00BF
/// (c2), and what has U+FEFF among it (ef).
fn is_suspect(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || matches!(byte, 0x7f | 0xc2 | 0xef)
}

fn too_long_or_failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Error::lost(Reason::TooLarge, "too much text"),
        _ => machine("write a text")(error),
    }
}

/// Up to where nothing that follows can change the normalised text: before the last character that begins a
/// sequence of its own (UAX #15, "stable code points"). `None` when there is none but the first.
fn settled(text: &str) -> Option<usize> {
    text.char_indices()
        .rev()
        .find(|(_, character)| begins(*character))
        .map(|(at, _)| at)
        .filter(|at| *at > 0)
}

fn begins(character: char) -> bool {
    character < '\u{300}'
        || (canonical_combining_class(character) == 0
            && is_nfc_quick(std::iter::once(character)) == IsNormalized::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&str]) -> String {
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, u64::MAX);
        for piece in pieces {
            writer.text(piece).unwrap();
        }
        let (bytes, _) = writer.finish().unwrap();
        assert_eq!(bytes as usize, out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn control_characters_go_and_line_ends_become_one() {
        assert_eq!(written(&["a\0b\r\nc\rd\u{0c}e\u{1b}[0m\tf\u{7f}"]), "ab\nc\nd\ne[0m\tf");
        assert_eq!(written(&["a\r", "\nb", "\u{feff}c"]), "a\nbc");
    }

    #[test]
    fn text_is_normalised_even_across_pieces() {
        assert_eq!(written(&["Z\u{307}o\u{301}\u{142}w"]), "\u{17b}\u{f3}\u{142}w");
        assert_eq!(written(&["e", "\u{301}"]), "\u{e9}");
        assert_eq!(written(&["\u{1100}", "\u{1161}", "\u{11a8}"]), "\u{ac01}");
    }

    #[test]
    fn long_text_is_the_same_however_it_is_cut() {
        let text = "cafe\u{301} 각\u{1112}\u{1161}\u{11ab} ".repeat(20_000);
        let expected: String = text.nfc().collect();
        assert!(written(&[&text]) == expected);
        let mut rest = text.as_str();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(4099));
            pieces.push(piece);
            rest = after;
        }
        assert!(written(&pieces) == expected);
    }

    #[test]
    fn endless_combining_marks_are_written_without_being_held() {
        let marks = "\u{301}".repeat(200_000);
        assert_eq!(written(&["a", &marks]).chars().count(), 200_000);
    }

    #[test]
    fn gaps_appear_only_between_texts() {
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, u64::MAX);
        writer.paragraph();
        writer.text("a").unwrap();
        writer.tab();
        writer.tab();
        writer.text("b").unwrap();
        writer.tab();
        writer.line();
        writer.text("c").unwrap();
        writer.space();
        writer.text("d").unwrap();
        writer.line();
        writer.paragraph();
        writer.line();
        writer.text("e").unwrap();
        writer.paragraph();
        writer.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a\t\tb\nc d\n\ne");
    }

    #[test]
    fn more_than_allowed_is_too_large() {
        let mut writer = TextWriter::new(io::sink(), 10);
        writer.text("12345678901").unwrap();
        let Err(Error::Lost(lost)) = writer.finish() else { panic!() };
        assert_eq!(lost.reason, Reason::TooLarge);
    }

    #[test]
    fn white_space_alone_is_not_visible() {
        let finish = |text: &str| {
            let mut writer = TextWriter::new(io::sink(), 99);
            writer.text(text).unwrap();
            writer.finish().unwrap().1
        };
        assert!(!finish(" \n\t\u{3000}\u{a0}\0"));
        assert!(finish(" \n."));
    }
}
