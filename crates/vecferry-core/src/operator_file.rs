//! Files that an operator writes and names, such as settings, bots, prices and certificates: how they are read, and
//! how a mistake in one gets its line and the word that was meant. A wrong path must end in a message, so a pipe that
//! nobody writes to, or a device without an end, is not waited for.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::error::{Error, Result};

/// What a file of one kind may be.
#[derive(Debug)]
pub struct Kind {
    /// Largest file, in bytes: it is held in memory while it is read.
    pub most_bytes: u64,
    /// How it is written: `TOML`.
    pub format: &'static str,
    /// What to do about one that is larger.
    pub too_large: &'static str,
    /// Whether a pipe will do, as a shell's `<(decrypt settings)` is one: nobody should have to lay passwords down in a
    /// file. It is waited for until its writer ends.
    pub may_be_pipe: bool,
}

/// Reads a file as text.
///
/// # Errors
/// [`Error::Local`] when it cannot be read, [`Error::Configuration`] when it is no regular file, too large or not UTF-8.
pub fn read(path: &Path, kind: &Kind) -> Result<String> {
    String::from_utf8(bytes(path, kind)?).map_err(|_| {
        let hint = format!("is it the right file? {} is expected", kind.format);
        unfit(path, "is not text in UTF-8", hint)
    })
}

/// Reads a file as it is.
///
/// # Errors
/// As [`read`], but for the encoding.
pub(crate) fn bytes(path: &Path, kind: &Kind) -> Result<Vec<u8>> {
    let local = |source| Error::Local { doing: format!("read {}", path.display()), source };
    // Asked before it is opened: opening a pipe waits for somebody who writes into it.
    let of_type = std::fs::metadata(path).map_err(local)?.file_type();
    let fit = of_type.is_file() || (kind.may_be_pipe && of_type.is_fifo());
    if !fit {
        let hint = "give a file; what a command prints must be written to one first";
        return Err(unfit(path, "is not a regular file", hint.to_owned()));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(local)?;
    // One byte more than it may have, whatever its size was said to be.
    opened.take(kind.most_bytes + 1).read_to_end(&mut bytes).map_err(local)?;
    if bytes.len() as u64 > kind.most_bytes {
        let what = format!("is larger than {} MiB", kind.most_bytes >> 20);
        return Err(unfit(path, &what, kind.too_large.to_owned()));
    }
    Ok(bytes)
}

fn unfit(path: &Path, what: &str, hint: String) -> Error {
    Error::Configuration { what: format!("{} {what}", path.display()), hint: Some(hint) }
}

/// Where lines begin in a text, so that a mistake can name its line. The text is read once, however many places are
/// asked for: a file of bots has as many as it has values.
#[derive(Debug)]
pub struct Lines {
    /// Place of each line feed, ascending.
    ends: Vec<usize>,
}

impl Lines {
    /// The lines of a text.
    pub fn of(text: &str) -> Lines {
        let bytes = text.bytes().enumerate();
        Lines { ends: bytes.filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The number of the line, from 1, in which the byte at this place stands; beyond the end, the last line. A line feed
    /// belongs to the line that it ends.
    pub fn number(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

/// The known key that was most likely meant; `None` where every proposal would be a guess.
pub fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), *candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        // 1.0 is equality.
        .filter(|(likeness, _)| *likeness > 0.7)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_line_that_counting_from_the_start_finds() {
        for text in ["", "\n", "one", "a\nbc\r\n\n\nd", "ż\nó\n", "\n\nlast"] {
            let lines = Lines::of(text);
            for at in 0..text.len() + 3 {
                let before = &text.as_bytes()[..at.min(text.len())];
                let counted = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(lines.number(at), counted, "{at} in {text:?}");
            }
        }
    }

    #[test]
    fn a_slip_of_the_pen_has_its_nearest_key_and_another_word_has_none() {
        let known = ["documents", "title", "owner"];
        assert_eq!(nearest("documnets", &known), Some("documents"));
        assert_eq!(nearest("Title", &known), Some("title"));
        assert_eq!(nearest("xyz", &known), None);
        assert_eq!(nearest("title", &[]), None);
    }
}
