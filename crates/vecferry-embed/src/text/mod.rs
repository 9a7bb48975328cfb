//! Text of documents: the format is found out, a reader for it runs in a child process, and what comes back is a
//! file of plain text.
//!
//! Documents are other people's bytes, and the libraries that read them panic, loop, overflow their stack and take
//! whatever memory there is. A panic can be caught; the other three end the process, so no document is opened in
//! the worker itself. [`Extractor`] hands files to child processes (the same program, told by an argument to call
//! [`extract_in_child`]), each with limits of its own, and a child that dies costs one document. A child serves
//! files one after the other until it dies, exceeds a limit or has grown: starting a process for every one of a
//! thousand small documents would cost more than reading them.
//!
//! Read [`mod@format`] for what a file is taken for, `read/` for the readers, `child` and [`extractor`] for the two
//! ends of the pipe between them, `protocol` for what goes through it (never a document's text).
//!
//! Nothing here is durable: a text is a temporary file, removed when it is dropped.

mod archive;
mod charset;
mod child;
mod error;
mod extractor;
mod format;
mod limits;
mod ole;
mod protocol;
mod read;
mod verdict;
mod writer;
mod xml;

pub use child::extract_in_child;
pub use error::Error;
pub use extractor::{Extractor, Text};
pub use format::{Format, Hints};
pub use limits::Limits;
