//! Entries of a zipped document, read with caps on what they unpack to.
//!
//! The caps count what comes out, not what a header promises: a bomb's headers are its own. One entry, all entries
//! read, and the ratio to the packed size are bounded, the last because half a gigabyte of nothing is still minutes
//! of work for the reader behind.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::{Error, machine};
use super::limits::Limits;
use crate::document::Reason;

/// Most that an entry may grow by, beyond [`UNSUSPECTED`]. Deflate ends at 1032; sheets full of equal rows reach 100.
const RATIO: u64 = 400;

/// Bytes of an entry that may come out of however few.
const UNSUSPECTED: u64 = 8 << 20;

/// A zipped document.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    entry: u64,
    left: u64,
}

impl Archive {
    /// Opens a document and reads its directory.
    pub(super) fn open(file: File, limits: &Limits) -> Result<Archive, Error> {
        let zip = ZipArchive::new(BufReader::new(file)).map_err(lost)?;
        Ok(Archive { zip, entry: limits.entry, left: limits.unpacked })
    }

    /// Names of the entries, those that are no text left out.
    pub(super) fn names(&self) -> Vec<String> {
        self.zip.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect()
    }

    /// An entry's bytes; `None` when there is no such entry.
    pub(super) fn entry(&mut self, name: &str) -> Result<Option<impl Read + '_>, Error> {
        let entry = match self.zip.by_name(name) {
            Err(ZipError::FileNotFound) => return Ok(None),
            found => found.map_err(lost)?,
        };
        let most = self.entry.min(UNSUSPECTED.max(entry.compressed_size().saturating_mul(RATIO)));
        Ok(Some(Capped { entry, left: most, shared: &mut self.left }))
    }

    /// Unpacks every entry that `wanted` picks, to nowhere: for readers that unpack by themselves, without caps.
    pub(super) fn rehearse(&mut self, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        for name in self.names().iter().filter(|name| wanted(name)) {
            if let Some(mut entry) = self.entry(name)? {
                io::copy(&mut entry, &mut io::sink()).map_err(unpacking)?;
            }
        }
        Ok(())
    }
}

/// Marks the end of a cap inside an [`io::Error`], which is all that a reader can return.
#[derive(Debug, thiserror::Error)]
#[error("unpacks to more than allowed")]
struct Overfull;

struct Capped<'a, R> {
    entry: R,
    left: u64,
    shared: &'a mut u64,
}

impl<R: Read> Read for Capped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(buffer)? as u64;
        match (self.left.checked_sub(read), self.shared.checked_sub(read)) {
            (Some(left), Some(shared)) => {
                self.left = left;
                *self.shared = shared;
                Ok(read as usize)
            }
            _ => Err(io::Error::other(Overfull)),
        }
    }
}

/// What an error while unpacking says about the document.
pub(super) fn unpacking(error: io::Error) -> Error {
    match is_overfull(&error) {
        true => overfull(),
        false if error.raw_os_error().is_some() => machine("read a document's file")(error),
        false => Error::broken("damaged packed data"),
    }
}

/// The document unpacks to more than allowed.
pub(super) fn overfull() -> Error {
    Error::lost(Reason::TooLarge, Overfull.to_string())
}

/// Whether a cap ended the reading.
pub(super) fn is_overfull(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Overfull>())
}

fn lost(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) => unpacking(error),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => {
            Error::lost(Reason::Encrypted, "protected by a password")
        }
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            Error::lost(Reason::Unsupported, "packed by an unknown method")
        }
        _ => Error::broken("a damaged ZIP archive"),
    }
}
