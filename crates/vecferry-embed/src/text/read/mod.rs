//! The readers: one per family of formats. Runs in a child process only.

mod docx;
mod html;
mod office;
#[cfg(feature = "pdf")]
mod pdf;
mod plain;
mod pptx;
mod sheet;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek};

use super::archive::Archive;
use super::error::{Error, machine};
use super::format::{Format, Guess, HEAD, Hints, guess, in_ole, in_zip};
use super::limits::Limits;
use super::ole;
use super::protocol::{Outcome, Request};
use super::writer::TextWriter;
use crate::document::Reason;

/// Where readers write.
type Out = TextWriter<BufWriter<File>>;

/// A document open for its reader.
struct Source<'a> {
    file: File,
    head: Vec<u8>,
    bytes: u64,
    hints: &'a Hints,
    limits: &'a Limits,
}

/// Reads one document into its text's file.
pub(super) fn read(request: &Request, limits: &Limits) -> Result<Outcome, Error> {
    let mut file = File::open(&request.file).map_err(machine("open a document's file"))?;
    let bytes = file.metadata().map_err(machine("look at a document's file"))?.len();
    if bytes == 0 {
        return Err(Error::lost(Reason::NoText, "an empty file"));
    }
    let head = head(&mut file).map_err(machine("read a document's file"))?;
    let format = format(&file, &head, &request.hints, limits)?;
    let into = OpenOptions::new().write(true).truncate(true).open(&request.into);
    let into = BufWriter::new(into.map_err(machine("open a text's file"))?);
    let mut out = TextWriter::new(into, limits.text);
    let source = Source { file, head, bytes, hints: &request.hints, limits };
    let reader = dispatch(format, source, &mut out)?;
    let (bytes, visible) = out.finish()?;
    if !visible {
        return Err(Error::lost(Reason::NoText, format!("a {format} document without text")));
    }
    Ok(Outcome::Text { format, reader: format!("{reader} {}", env!("CARGO_PKG_VERSION")), bytes })
}

/// Runs the format's reader and names it. A library is named without its version: vecferry's own fixes that.
fn dispatch(format: Format, source: Source<'_>, out: &mut Out) -> Result<&'static str, Error> {
    match format {
        Format::Pdf => pdf(source, out),
        Format::Docx => docx::read(source, out).map(|()| "vecferry docx"),
        Format::Pptx => pptx::read(source, out).map(|()| "vecferry pptx"),
        Format::Xlsx | Format::Xlsb | Format::Xls | Format::Ods => {
            sheet::read(format, source, out).map(|()| "vecferry calamine")
        }
        Format::Html => html::read(source, out).map(|()| "vecferry html2text"),
        Format::Markdown | Format::Csv | Format::Text => {
            plain::read(source, out).map(|()| "vecferry text")
        }
    }
}

#[cfg(feature = "pdf")]
fn pdf(source: Source<'_>, out: &mut Out) -> Result<&'static str, Error> {
    pdf::read(source, out).map(|()| "vecferry pdf_oxide")
}

#[cfg(not(feature = "pdf"))]
fn pdf(_: Source<'_>, _: &mut Out) -> Result<&'static str, Error> {
    Err(Error::lost(Reason::Unsupported, "this build reads no PDF"))
}

fn head(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}

fn format(file: &File, head: &[u8], hints: &Hints, limits: &Limits) -> Result<Format, Error> {
    let open = || file.try_clone().map_err(machine("open a document's file"));
    match guess(head, hints)? {
        Guess::Is(format) => Ok(format),
        Guess::Zip => {
            let names = Archive::open(open()?, limits)?.names();
            Ok(in_zip(names.iter().map(String::as_str))?)
        }
        Guess::Ole => {
            let names = ole::streams(file).map_err(|error| match error.raw_os_error() {
                Some(_) => machine("read a document's file")(error),
                None => Error::broken("a damaged OLE2 file"),
            })?;
            Ok(in_ole(&names)?)
        }
    }
}
