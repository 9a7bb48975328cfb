//! PowerPoint: the slides in the order in which they are shown, each with its diagrams and then its notes.

use super::office::{main_part, relations, write_part};
use super::{Out, Source};
use crate::text::archive::Archive;
use crate::text::error::Error;
use crate::text::xml::{Node, attribute, walk};

/// Parts of a slide with text of their own, in the order to write them.
const OF_A_SLIDE: [&str; 2] = ["diagramData", "notesSlide"];

pub(super) fn read(source: Source<'_>, out: &mut Out) -> Result<(), Error> {
    let mut archive = Archive::open(source.file, source.limits)?;
    let main = main_part(&mut archive, "ppt/presentation.xml")?;
    for slide in slides(&mut archive, &main)? {
        if !write_part(&mut archive, &slide, out)? {
            return Err(Error::broken("a presentation without one of its slides"));
        }
        let relations = relations(&mut archive, &slide)?;
        for kind in OF_A_SLIDE {
            for relation in relations.iter().filter(|relation| relation.kind == kind) {
                write_part(&mut archive, &relation.target, out)?;
            }
        }
    }
    Ok(())
}

/// The slides' parts in order: ids from the presentation, what they stand for from its relations.
fn slides(archive: &mut Archive, main: &str) -> Result<Vec<String>, Error> {
    let relations = relations(archive, main)?;
    let Some(entry) = archive.entry(main)? else {
        return Err(Error::broken("a presentation without its main part"));
    };
    let mut slides = Vec::new();
    walk(entry, |node| {
        let Node::Open("sldId", start) = node else { return Ok(()) };
        let id = attribute(start, "id", true)?.unwrap_or_default();
        let slide = relations.iter().find(|relation| relation.id == id);
        let slide =
            slide.ok_or_else(|| Error::broken("a presentation without one of its slides"))?;
        slides.push(slide.target.clone());
        Ok(())
    })?;
    Ok(slides)
}
