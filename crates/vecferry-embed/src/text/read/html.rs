//! HTML by html2text, after taking out of the tree what a reader of the page does not read.

use html2text::render::TrivialDecorator;
use html2text::{Element, Handle, config};

use super::{Out, Source};
use crate::document::Reason;
use crate::text::charset::{self, Clues};
use crate::text::error::Error;

/// Elements whose content is no text of the page: programs, styles, graphics, navigation, controls.
const NOISE: [&str; 17] = [
    "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "audio",
    "video", "nav", "button", "select", "input", "textarea", "datalist", "dialog",
];

/// Columns to fill: no line is ever broken, for a sentence is better left whole. html2text pads nothing up to it.
const WIDTH: usize = 1 << 20;

pub(super) fn read(mut source: Source<'_>, out: &mut Out) -> Result<(), Error> {
    if source.bytes > source.limits.html {
        let most = source.limits.html;
        return Err(Error::lost(Reason::TooLarge, format!("HTML of over {most} bytes")));
    }
    let given = source.hints.charset.as_deref();
    let clues = Clues { head: &source.head, given, html: true };
    let encoding = charset::detect(&mut source.file, &clues)?;
    let mut page = String::with_capacity(source.bytes as usize);
    charset::decode(&mut source.file, encoding, |piece| {
        page.push_str(piece);
        Ok(())
    })?;
    let text = render(&page)?;
    drop(page);
    text.lines().try_for_each(|line| {
        out.text(&tidy(line))?;
        out.text("\n")
    })
}

fn render(page: &str) -> Result<String, Error> {
    let unreadable = |_| Error::broken("HTML that cannot be laid out");
    // Neither brackets around links nor signs before headings and list items.
    let config =
        config::with_decorator(TrivialDecorator::new()).no_table_borders().no_link_wrapping();
    let dom = config.parse_html(page.as_bytes()).map_err(unreadable)?;
    sweep(&dom.document);
    let tree = config.dom_to_render_tree(&dom).map_err(unreadable)?;
    config.render_to_string(tree, WIDTH).map_err(unreadable)
}

/// Takes noise out of a tree. A loop over a list of its own: pages nest deeper than a stack.
fn sweep(document: &Handle) {
    let mut open = vec![document.clone()];
    while let Some(node) = open.pop() {
        node.children.borrow_mut().retain(|child| !is_noise(child));
        open.extend(node.children.borrow().iter().cloned());
    }
}

fn is_noise(node: &Handle) -> bool {
    let Element { name, attrs, .. } = &node.data else { return false };
    let attribute = |name: &str, value: Option<&str>| {
        attrs.borrow().iter().any(|attribute| {
            &*attribute.name.local == name && value.is_none_or(|value| &*attribute.value == value)
        })
    };
    NOISE.contains(&&*name.local)
        || attribute("hidden", None)
        || attribute("aria-hidden", Some("true"))
        || attribute("role", Some("navigation"))
}

/// A line without the padding of columns that tables are laid out with. Indentation stays: code has it.
fn tidy(line: &str) -> String {
    let body = line.trim_start();
    let mut tidied = line[..line.len() - body.len()].to_owned();
    for (place, word) in body.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if place > 0 {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    tidied.truncate(tidied.trim_end().len());
    tidied
}
