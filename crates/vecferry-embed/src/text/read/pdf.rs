//! PDF by pdf_oxide, page by page.
//!
//! The library is lenient to a fault: it makes up a cross-reference table for a file that was cut off and returns
//! the pages it finds, and returns nothing for an encrypted one. Half a document that looks whole is worse than a
//! lost one, so both are asked about first, and a page that cannot be read loses the document.

use std::os::unix::fs::FileExt;

use pdf_oxide::{Error as PdfError, PdfDocument};

use super::{Out, Source};
use crate::document::Reason;
use crate::text::error::{Error, machine};

/// How far from the end of the file the pointer to the last cross-reference table may be. Readers look at the last
/// 1 KiB; files with mail footers or padding behind have more.
const TAIL: u64 = 64 * 1024;

/// Most pages: a page tree may claim any number.
const PAGES: usize = 100_000;

pub(super) fn read(source: Source<'_>, out: &mut Out) -> Result<(), Error> {
    check_end(&source)?;
    let mut file = source.file;
    let mut bytes = Vec::with_capacity(source.bytes as usize);
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(machine("read a document's file"))?;
    let document = PdfDocument::from_bytes(bytes).map_err(|error| lost(&error, "its structure"))?;
    if document.is_encrypted() && !document.authenticate(b"").unwrap_or(false) {
        return Err(Error::lost(Reason::Encrypted, "protected by a password"));
    }
    let pages = document.page_count().map_err(|error| lost(&error, "its pages"))?;
    match pages {
        0 => return Err(Error::broken("a PDF without pages")),
        pages if pages > PAGES => {
            return Err(Error::lost(Reason::TooLarge, format!("over {PAGES} pages")));
        }
        _ => {}
    }
    for page in 0..pages {
        let text = document.extract_text(page);
        let text = text.map_err(|error| lost(&error, &format!("page {} of {pages}", page + 1)))?;
        out.text(text.trim_end())?;
        out.paragraph();
    }
    Ok(())
}

fn check_end(source: &Source<'_>) -> Result<(), Error> {
    let length = source.bytes.min(TAIL);
    let mut tail = vec![0; length as usize];
    let read = source.file.read_exact_at(&mut tail, source.bytes - length);
    read.map_err(machine("read a document's file"))?;
    match tail.windows(9).any(|window| window == b"startxref") {
        true => Ok(()),
        false => Err(Error::broken("a PDF that was cut off")),
    }
}

/// The library's message may quote the document, so only its kind goes further.
fn lost(error: &PdfError, place: &str) -> Error {
    match error {
        PdfError::EncryptedPdf => Error::lost(Reason::Encrypted, "protected by a password"),
        PdfError::Unsupported(_)
        | PdfError::UnsupportedFilter(_)
        | PdfError::UnsupportedVersion(_) => {
            Error::lost(Reason::Unsupported, format!("a PDF feature in {place} is not read"))
        }
        _ => Error::broken(format!("a damaged PDF: {place}")),
    }
}
