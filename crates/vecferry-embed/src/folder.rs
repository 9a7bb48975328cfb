//! Documents in files that this machine can read: one file, or everything below a folder.
//!
//! The source column holds the path as the registry gives it, with the rest joined to it, so that rows match wherever
//! the worker's own folder is. Hidden entries are skipped, symbolic links are followed (each folder is entered once,
//! so a loop ends), and only regular files are ever opened: a pipe would never end, a device is no document.

use std::collections::BTreeSet;
use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::fs::OFlags;
use vecferry_core::bot::{Bot, DocumentAddress};

use crate::document::{Document, DocumentSource, Fetched, Found, Lost, Reason};
use crate::spool::{too_large, unstored};

/// Reads files and folders.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Longest file, in bytes.
    pub document_bytes: u64,
    /// Most files behind one address. One that has more is lost as a whole, for a part would look like all.
    pub documents: usize,
    /// Deepest nesting below the address.
    pub depth: usize,
}

impl Default for Folder {
    /// 2 GiB a file, 100 000 files, 64 levels.
    fn default() -> Self {
        Folder { document_bytes: 2 << 30, documents: 100_000, depth: 64 }
    }
}

#[async_trait]
impl DocumentSource for Folder {
    fn takes(&self, address: &DocumentAddress) -> bool {
        matches!(address, DocumentAddress::Folder(_))
    }

    async fn find(&self, _: &Bot, address: &DocumentAddress) -> Result<Found, Lost> {
        let DocumentAddress::Folder(root) = address else {
            return Err(Lost::new(Reason::Unsupported, "not the address of a folder"));
        };
        let walk = Walk::new(self.clone(), root.clone());
        tokio::task::spawn_blocking(move || walk.run()).await.map_err(|error| died(&error))?
    }

    async fn fetch(&self, document: &Document, folder: &Path) -> Result<Fetched, Lost> {
        let (path, limit) = (PathBuf::from(&document.source), self.document_bytes);
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || copy(&path, &folder, limit))
            .await
            .map_err(|error| died(&error))?
    }
}

/// A walk below one address.
struct Walk {
    limits: Folder,
    root: PathBuf,
    found: Found,
    /// Device and inode of every folder entered.
    entered: BTreeSet<(u64, u64)>,
}

impl Walk {
    fn new(limits: Folder, root: PathBuf) -> Walk {
        Walk { limits, root, found: Found::default(), entered: BTreeSet::new() }
    }

    fn run(mut self) -> Result<Found, Lost> {
        let root = self.root.clone();
        let metadata = std::fs::metadata(&root).map_err(|error| unread(&error))?;
        if metadata.is_dir() {
            self.enter(&root, &metadata, 0)?;
        } else if metadata.is_file() {
            self.keep(&root, &metadata)?;
        } else {
            return Err(no_file());
        }
        Ok(self.found)
    }

    /// # Errors
    /// What loses the whole address; what loses a part of it is noted.
    fn enter(&mut self, folder: &Path, metadata: &Metadata, depth: usize) -> Result<(), Lost> {
        if !self.entered.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        if depth > self.limits.depth {
            let detail = format!("folders nested deeper than {}", self.limits.depth);
            self.lose(folder, Lost::new(Reason::TooLarge, detail));
            return Ok(());
        }
        let names = match sorted_names(folder, self.limits.documents) {
            Ok(names) => names,
            Err(lost) if depth == 0 => return Err(lost),
            Err(lost) => {
                self.lose(folder, lost);
                return Ok(());
            }
        };
        for name in names {
            let path = folder.join(name);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.enter(&path, &metadata, depth + 1)?,
                Ok(metadata) if metadata.is_file() => self.keep(&path, &metadata)?,
                // A socket, a pipe, a device: nobody's document.
                Ok(_) => {}
                Err(error) => self.lose(&path, unread(&error)),
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Lost> {
        if self.found.documents.len() >= self.limits.documents {
            return Err(too_many(self.limits.documents));
        }
        let Some(source) = path.to_str() else {
            self.lose(path, Lost::new(Reason::Unsupported, "a file name that is not UTF-8"));
            return Ok(());
        };
        self.found.documents.push(Document {
            address: DocumentAddress::Folder(self.root.clone()),
            source: source.to_owned(),
            bytes: Some(metadata.len()),
            version: Some(version(metadata)),
            modified: metadata.modified().ok().and_then(|at| Timestamp::try_from(at).ok()),
        });
        Ok(())
    }

    fn lose(&mut self, path: &Path, lost: Lost) {
        self.found.lost.push((path.to_string_lossy().into_owned(), lost));
    }
}

/// The visible names in a folder; sorted, because the order of a directory is anybody's guess and a run that
/// continues must meet the same documents.
fn sorted_names(folder: &Path, most: usize) -> Result<Vec<std::ffi::OsString>, Lost> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unread(&error))? {
        let name = entry.map_err(|error| unread(&error))?.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if names.len() >= most {
            return Err(too_many(most));
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// Copied rather than opened in place: the reader runs in a child process that sees only the work folder, and a file
/// that changes meanwhile must not change under it.
fn copy(path: &Path, folder: &Path, limit: u64) -> Result<Fetched, Lost> {
    // Between finding and opening, a file can become a pipe: opening one without this flag waits for a writer.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| unread(&error))?;
    let metadata = file.metadata().map_err(|error| unread(&error))?;
    if !metadata.is_file() {
        return Err(no_file());
    }
    if metadata.len() > limit {
        return Err(too_large(Some(metadata.len()), limit));
    }
    let mut copy = tempfile::Builder::new()
        .prefix("document-")
        .tempfile_in(folder)
        .map_err(|error| unstored(&error))?;
    // One byte more than allowed shows that the file grew past it.
    let bytes = io::copy(&mut io::Read::take(file, limit.saturating_add(1)), copy.as_file_mut())
        .map_err(|error| unread(&error))?;
    if bytes > limit {
        return Err(too_large(None, limit));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Fetched { file: copy, bytes, name, media_type: None, charset: None })
}

/// Changes whenever somebody writes the file: its length and the time of its last change.
fn version(metadata: &Metadata) -> String {
    format!("{}-{}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn unread(error: &io::Error) -> Lost {
    let reason = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reason::Missing,
        io::ErrorKind::PermissionDenied => Reason::Refused,
        _ => Reason::Unreachable,
    };
    Lost::new(reason, error.to_string().to_lowercase())
}

fn no_file() -> Lost {
    Lost::new(Reason::Unsupported, "neither a regular file nor a folder")
}

fn too_many(most: usize) -> Lost {
    Lost::new(Reason::TooLarge, format!("more than {most} files"))
}

fn died(error: &tokio::task::JoinError) -> Lost {
    Lost::new(Reason::Unreachable, format!("reading it was abandoned: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn walk(root: &Path) -> Result<Found, Lost> {
        Walk::new(Folder::default(), root.to_owned()).run()
    }

    fn sources(found: &Found, root: &Path) -> Vec<String> {
        let below = |path: &str| Path::new(path).strip_prefix(root).unwrap().display().to_string();
        found.documents.iter().map(|document| below(&document.source)).collect()
    }

    fn pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    }

    #[test]
    fn everything_below_a_folder_is_found_in_order_once_and_without_what_is_hidden() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in ["z.txt", "a ü.pdf", "b/deep/c.md", "b/1.txt", ".hidden", ".git/config"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink(root, root.join("b/deep/loop")).unwrap();
        symlink(root.join("b"), root.join("again")).unwrap();
        symlink("nowhere", root.join("dangling.txt")).unwrap();
        pipe(&root.join("pipe.txt"));
        let found = walk(root).unwrap();
        // `again` comes before `b` and is the same folder: entered once, under the first name.
        let expected = ["a ü.pdf", "again/1.txt", "again/deep/c.md", "z.txt"];
        assert_eq!(sources(&found, root), expected);
        assert_eq!(found.lost.len(), 1);
        assert!(found.lost[0].0.ends_with("dangling.txt"));
        assert_eq!(found.lost[0].1.reason, Reason::Missing);
        assert_eq!(found.documents[3].bytes, Some(5));
    }

    #[test]
    fn a_version_changes_with_the_length_and_with_the_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.txt");
        fs::write(&path, "one").unwrap();
        let of = || walk(&path).unwrap().documents[0].version.clone().unwrap();
        let before = of();
        assert_eq!(before, of());
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(5)).unwrap();
        assert_eq!(of(), "3-0.000000005");
        assert_ne!(before, of());
    }

    #[test]
    fn more_files_than_allowed_lose_the_address_and_not_some_of_them() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("x"), "").unwrap();
        }
        let limited = |documents, depth| {
            let limits = Folder { documents, depth, ..Folder::default() };
            Walk::new(limits, root.path().to_owned()).run()
        };
        assert_eq!(limited(3, 64).unwrap().documents.len(), 3);
        assert_eq!(limited(2, 64).unwrap_err().reason, Reason::TooLarge);
        let shallow = limited(3, 0).unwrap();
        assert_eq!((shallow.documents.len(), shallow.lost.len()), (0, 3));
    }

    #[test]
    fn what_cannot_be_read_is_missing_refused_or_no_document() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(walk(&root.path().join("no")).unwrap_err().reason, Reason::Missing);
        let pipe_path = root.path().join("pipe");
        pipe(&pipe_path);
        assert_eq!(walk(&pipe_path).unwrap_err().reason, Reason::Unsupported);
        // Opening it must not wait for a writer.
        let lost = copy(&pipe_path, root.path(), 10).unwrap_err();
        assert_eq!(lost.reason, Reason::Unsupported);
        let closed = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(unread(&closed).reason, Reason::Refused);
        let odd = root.path().join("odd");
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join(std::ffi::OsStr::from_bytes(b"\xff.txt")), "").unwrap();
        assert_eq!(walk(&odd).unwrap().lost[0].1.reason, Reason::Unsupported);
    }

    #[test]
    fn a_folder_that_may_not_be_entered_is_one_lost_address() {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::write(root.path().join("open.txt"), "").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        if rustix::process::geteuid().is_root() {
            // Nothing is closed to root.
            return;
        }
        let found = walk(root.path()).unwrap();
        assert_eq!((found.documents.len(), found.lost.len()), (1, 1));
        assert_eq!(found.lost[0].1.reason, Reason::Refused);
    }

    #[test]
    fn a_copy_has_the_files_bytes_its_name_and_no_more_than_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("two words.TXT");
        fs::write(&path, "12345").unwrap();
        let fetched = copy(&path, root.path(), 5).unwrap();
        assert_eq!(fs::read(fetched.file.path()).unwrap(), b"12345");
        assert_eq!((fetched.bytes, fetched.name.as_deref()), (5, Some("two words.TXT")));
        let lost = copy(&path, root.path(), 4).unwrap_err();
        assert_eq!(lost.to_string(), "too large: 5 bytes, 4 are allowed");
    }
}
