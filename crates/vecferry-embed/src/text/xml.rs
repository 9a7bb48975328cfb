//! XML as office documents use it: elements, attributes, text; no document type, no entities but the five of XML
//! itself, and no nesting that a document written by a program would not have.

use std::io::{BufReader, Read};

use quick_xml::encoding::DecodingReader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::archive;
use super::error::Error;

/// Deepest nesting. Word allows tables in tables in text boxes; a hundred levels is already absurd.
const DEPTH: usize = 1024;

/// A piece of an XML document. Names are local: producers choose prefixes as they like.
pub(super) enum Node<'a> {
    /// An element begins.
    Open(&'a str, &'a BytesStart<'a>),
    /// An element ends.
    Close(&'a str),
    /// Text, unescaped. May come in several pieces.
    Text(&'a str),
}

/// Goes through an XML document.
///
/// # Errors
/// `Broken` for XML that is not well-formed, has a document type or nests too deeply; what `each` returns.
pub(super) fn walk(
    reader: impl Read,
    mut each: impl FnMut(Node<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = Reader::from_reader(DecodingReader::new(BufReader::new(reader)));
    let mut buffer = Vec::new();
    let mut depth = 0_usize;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(lost)? {
            Event::Start(start) => {
                depth += 1;
                if depth > DEPTH {
                    return Err(Error::broken(format!("XML nested over {DEPTH} deep")));
                }
                each(Node::Open(start.local_name().into_inner(), &start))?;
            }
            Event::Empty(start) => {
                each(Node::Open(start.local_name().into_inner(), &start))?;
                each(Node::Close(start.local_name().into_inner()))?;
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                each(Node::Close(end.local_name().into_inner()))?;
            }
            Event::Text(text) => each(Node::Text(&text.xml10_content()))?,
            Event::CData(text) => each(Node::Text(&text.xml10_content()))?,
            Event::GeneralRef(reference) => {
                let mut bytes = [0; 4];
                each(Node::Text(resolve(&reference)?.encode_utf8(&mut bytes)))?;
            }
            // Only a document type can define entities, and no office format has one.
            Event::DocType(_) => return Err(Error::broken("XML with a document type")),
            Event::Eof if depth > 0 => return Err(Error::broken("XML that ends too early")),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// Value of an attribute by its local name; `prefixed` says which of `id` and `r:id` is meant.
pub(super) fn attribute(
    start: &BytesStart<'_>,
    local: &str,
    prefixed: bool,
) -> Result<Option<String>, Error> {
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| Error::broken("XML with a malformed attribute"))?;
        let (name, prefix) = attribute.key.decompose();
        if name.into_inner() == local && prefix.is_some() == prefixed {
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| Error::broken("XML with a malformed attribute"))?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, Error> {
    let unknown = || Error::broken("XML with an undefined entity");
    if let Some(character) = reference.resolve_char_ref().map_err(|_| unknown())? {
        return Ok(character);
    }
    match reference.xml10_content().as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(unknown()),
    }
}

/// quick-xml's message may quote the document, so it goes no further.
fn lost(error: quick_xml::Error) -> Error {
    match error {
        quick_xml::Error::Io(error) => match archive::is_overfull(&error) {
            true => archive::overfull(),
            false => Error::broken("damaged packed data"),
        },
        _ => Error::broken("XML that is not well-formed"),
    }
}
