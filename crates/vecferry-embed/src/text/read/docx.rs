//! Word: headers, the document, footers, footnotes and endnotes, in this order. Deleted text, field codes and
//! comments are not part of the text (their elements are other than `t`, or other parts).

use std::collections::HashSet;

use super::office::{main_part, relations, write_part};
use super::{Out, Source};
use crate::text::archive::Archive;
use crate::text::error::Error;

/// Parts written after the document.
const AFTER: [&str; 3] = ["footer", "footnotes", "endnotes"];

pub(super) fn read(source: Source<'_>, out: &mut Out) -> Result<(), Error> {
    let mut archive = Archive::open(source.file, source.limits)?;
    let main = main_part(&mut archive, "word/document.xml")?;
    let relations = relations(&mut archive, &main)?;
    let mut seen = HashSet::new();
    let mut parts = |kind: &str| -> Vec<String> {
        let of_kind = relations.iter().filter(|relation| relation.kind == kind);
        of_kind
            .map(|relation| relation.target.clone())
            .filter(|part| seen.insert(part.clone()))
            .collect()
    };
    let before = parts("header");
    let after: Vec<String> = AFTER.into_iter().flat_map(&mut parts).collect();
    for part in before {
        write_part(&mut archive, &part, out)?;
    }
    if !write_part(&mut archive, &main, out)? {
        return Err(Error::broken("a Word document without its main part"));
    }
    for part in after {
        write_part(&mut archive, &part, out)?;
    }
    Ok(())
}
