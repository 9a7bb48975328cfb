//! What Word's and PowerPoint's packages have in common: parts, and relations between them (ECMA-376 part 2).

use super::Out;
use crate::text::archive::Archive;
use crate::text::error::Error;
use crate::text::xml::{Node, attribute, walk};

/// A relation of a part to another.
pub(super) struct Relation {
    /// How the part names it.
    pub(super) id: String,
    /// Last word of its type, which is the same in the transitional and the strict variant: `slide`, `header`.
    pub(super) kind: String,
    /// Name of the entry it leads to.
    pub(super) target: String,
}

/// Relations of a part to others of the package; `""` is the package itself.
pub(super) fn relations(archive: &mut Archive, part: &str) -> Result<Vec<Relation>, Error> {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    let slash = if folder.is_empty() { "" } else { "/" };
    let mut relations = Vec::new();
    let Some(entry) = archive.entry(&format!("{folder}{slash}_rels/{name}.rels"))? else {
        return Ok(relations);
    };
    walk(entry, |node| {
        let Node::Open("Relationship", start) = node else { return Ok(()) };
        if attribute(start, "TargetMode", false)?.as_deref() == Some("External") {
            return Ok(());
        }
        let value = |name| Ok::<_, Error>(attribute(start, name, false)?.unwrap_or_default());
        let kind = value("Type")?;
        relations.push(Relation {
            id: value("Id")?,
            kind: kind.rsplit('/').next().unwrap_or_default().to_owned(),
            target: resolve(folder, &value("Target")?),
        });
        Ok(())
    })?;
    Ok(relations)
}

/// The package's main part.
pub(super) fn main_part(archive: &mut Archive, usual: &str) -> Result<String, Error> {
    let relations = relations(archive, "")?;
    let main = relations.into_iter().find(|relation| relation.kind == "officeDocument");
    Ok(main.map_or_else(|| usual.to_owned(), |relation| relation.target))
}

/// Writes the text of a part: runs of `t`, paragraphs apart by an empty line, rows of tables as lines with tabs.
/// WordprocessingML and DrawingML call these by the same local names. Returns whether there is such a part.
pub(super) fn write_part(archive: &mut Archive, part: &str, out: &mut Out) -> Result<bool, Error> {
    let Some(entry) = archive.entry(part)? else { return Ok(false) };
    let mut state = State::default();
    walk(entry, |node| match node {
        Node::Open(name, start) => state.open(name, start, out),
        Node::Close(name) => {
            state.close(name, out);
            Ok(())
        }
        Node::Text(text) if state.in_text && state.skipped == 0 => out.text(text),
        Node::Text(_) => Ok(()),
    })?;
    out.paragraph();
    Ok(true)
}

#[derive(Default)]
struct State {
    /// Inside a `t`: all other text in the XML is layout.
    in_text: bool,
    /// Depth within an element whose text appears elsewhere or is made by the program that shows it.
    skipped: usize,
    /// Depth of tables. Paragraphs of a cell stay on its line.
    cells: usize,
}

impl State {
    fn open(
        &mut self,
        name: &str,
        start: &quick_xml::events::BytesStart<'_>,
        out: &mut Out,
    ) -> Result<(), Error> {
        if self.skipped > 0 || is_skipped(name, start)? {
            self.skipped += 1;
            return Ok(());
        }
        match name {
            "t" => self.in_text = true,
            "tc" => self.cells += 1,
            // In DrawingML `tab` is an element of the text, too; tab stops are within `tabs`, which is skipped.
            "tab" | "ptab" => return out.text("\t"),
            "br" | "cr" if self.cells > 0 => out.space(),
            "br" | "cr" => out.line(),
            "noBreakHyphen" => return out.text("\u{2011}"),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str, out: &mut Out) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        match name {
            "t" => self.in_text = false,
            "p" if self.cells > 0 => out.space(),
            "p" => out.paragraph(),
            "tc" => {
                self.cells = self.cells.saturating_sub(1);
                out.tab();
            }
            "tr" if self.cells > 0 => out.space(),
            "tr" => out.line(),
            "tbl" if self.cells == 0 => out.paragraph(),
            _ => {}
        }
    }
}

/// `Fallback` repeats what its `Choice` says, for old readers; `tabs` are positions; a field of a slide's number or
/// date is made when it is shown.
fn is_skipped(name: &str, start: &quick_xml::events::BytesStart<'_>) -> Result<bool, Error> {
    Ok(match name {
        "Fallback" | "tabs" => true,
        "fld" => attribute(start, "type", false)?
            .is_some_and(|kind| kind == "slidenum" || kind.starts_with("datetime")),
        _ => false,
    })
}

/// The entry that a relation's target means, which is relative to its part's folder unless it begins with `/`.
fn resolve(folder: &str, target: &str) -> String {
    let mut path: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').filter(|step| !step.is_empty()).collect(),
    };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            step => path.push(step),
        }
    }
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn targets_are_relative_to_the_folder_of_their_part() {
        assert_eq!(resolve("ppt/slides", "../notesSlides/n1.xml"), "ppt/notesSlides/n1.xml");
        assert_eq!(resolve("word", "header1.xml"), "word/header1.xml");
        assert_eq!(resolve("word", "/word/./header1.xml"), "word/header1.xml");
        assert_eq!(resolve("", "../../etc/passwd"), "etc/passwd");
    }
}
