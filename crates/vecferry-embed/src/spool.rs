//! A document on its way into a file: counted as it comes, cut off at a limit, never held in memory.
//!
//! Shared by the sources that stream over a network. The file is removed when the spool, or later the document, is
//! dropped; nothing here is durable.

use std::path::Path;

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::document::{Lost, Reason};

/// A file being filled.
#[derive(Debug)]
pub struct Spool {
    file: NamedTempFile,
    writer: File,
    bytes: u64,
    limit: u64,
}

impl Spool {
    /// An empty file in `folder` that takes at most `limit` bytes.
    ///
    /// # Errors
    /// [`Reason::Unreachable`] when our own disk refuses: the document may be well.
    pub fn create(folder: &Path, limit: u64) -> Result<Spool, Lost> {
        let file = tempfile::Builder::new().prefix("document-").tempfile_in(folder);
        let (file, writer) = file
            .and_then(|file| file.reopen().map(|writer| (file, File::from_std(writer))))
            .map_err(|error| unstored(&error))?;
        Ok(Spool { file, writer, bytes: 0, limit })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes still fit.
    pub fn room(&self) -> u64 {
        self.limit - self.bytes
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// [`Reason::TooLarge`] when the limit is passed, [`Reason::Unreachable`] when our disk refuses.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), Lost> {
        if piece.len() as u64 > self.room() {
            return Err(too_large(None, self.limit));
        }
        self.writer.write_all(piece).await.map_err(|error| unstored(&error))?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// The file with all its bytes, and how many they are.
    ///
    /// # Errors
    /// [`Reason::Unreachable`] when our disk refuses.
    pub async fn finish(mut self) -> Result<(NamedTempFile, u64), Lost> {
        self.writer.flush().await.map_err(|error| unstored(&error))?;
        Ok((self.file, self.bytes))
    }
}

/// A document beyond a limit; `announced` where its length was known before it came.
pub fn too_large(announced: Option<u64>, limit: u64) -> Lost {
    let detail = match announced {
        Some(bytes) => format!("{bytes} bytes, {limit} are allowed"),
        None => format!("more than the {limit} bytes that are allowed"),
    };
    Lost::new(Reason::TooLarge, detail)
}

/// Our own disk refused. Not the document's fault, and a repetition elsewhere may succeed.
pub fn unstored(error: &std::io::Error) -> Lost {
    Lost::new(Reason::Unreachable, format!("cannot be stored in the work folder: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spool_takes_exactly_its_limit_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(folder.path(), 5).unwrap();
        spool.write(b"abc").await.unwrap();
        spool.write(b"de").await.unwrap();
        assert_eq!((spool.bytes(), spool.room()), (5, 0));
        let lost = spool.write(b"f").await.unwrap_err();
        assert_eq!(lost, too_large(None, 5));
        let (file, bytes) = spool.finish().await.unwrap();
        assert_eq!((std::fs::read(file.path()).unwrap(), bytes), (b"abcde".to_vec(), 5));
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_work_folder_is_named_as_our_own_fault() {
        let lost = Spool::create(Path::new("/nowhere/at/all"), 5).unwrap_err();
        assert_eq!(lost.reason, Reason::Unreachable);
        assert!(lost.detail.starts_with("cannot be stored in the work folder"), "{lost}");
    }
}
