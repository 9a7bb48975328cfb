//! Plain text, Markdown and separated values: the text as it is, decoded. Markup and separators stay, for they carry
//! meaning that an embedding model understands, and nothing is held in memory whatever the size.

use super::{Out, Source};
use crate::text::charset::{self, Clues};
use crate::text::error::Error;

pub(super) fn read(mut source: Source<'_>, out: &mut Out) -> Result<(), Error> {
    let given = source.hints.charset.as_deref();
    let clues = Clues { head: &source.head, given, html: false };
    let encoding = charset::detect(&mut source.file, &clues)?;
    charset::decode(&mut source.file, encoding, |piece| out.text(piece))
}
