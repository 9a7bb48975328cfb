//! Documents of the Office formats, as small as their readers accept.

use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::Paper;

const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const WORD: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
const DRAWING: &str = "http://schemas.openxmlformats.org/drawingml/2006/main";
const SLIDES: &str = "http://schemas.openxmlformats.org/presentationml/2006/main";
const CELLS: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";

/// A ZIP archive of named entries.
pub fn zipped<N: Into<String>, B: AsRef<[u8]>>(
    entries: impl IntoIterator<Item = (N, B)>,
) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(name.into(), SimpleFileOptions::default()).expect("a new entry");
        archive.write_all(bytes.as_ref()).expect("writing to memory");
    }
    archive.finish().expect("writing to memory").into_inner()
}

/// A Word document of paragraphs.
pub fn docx(paragraphs: &[&str]) -> Vec<u8> {
    let body: String = paragraphs.iter().map(|text| paragraph(text)).collect();
    word(&body, &[])
}

/// A Word document with this body, and parts of a kind (`header`, `footnotes`) with these contents.
pub(super) fn word(body: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let part = |root: &str, content: &str| {
        format!("<?xml version=\"1.0\"?><w:{root} xmlns:w=\"{WORD}\">{content}</w:{root}>")
    };
    let relations = parts.iter().enumerate().map(|(number, (kind, _))| {
        (format!("rId{number}"), (*kind).to_owned(), format!("{kind}{number}.xml"))
    });
    let mut entries = package("word/document.xml");
    entries.push(("word/_rels/document.xml.rels".into(), relations_xml(relations)));
    entries
        .push(("word/document.xml".into(), part("document", &format!("<w:body>{body}</w:body>"))));
    for (number, (kind, content)) in parts.iter().enumerate() {
        entries.push((format!("word/{kind}{number}.xml"), part(kind, content)));
    }
    zipped(entries)
}

/// A presentation of one slide for each text. Its parts are numbered against the order in which they are shown.
pub fn pptx(slides: &[&str]) -> Vec<u8> {
    let text = |text: &str| slide(&format!("<a:p><a:r><a:t>{}</a:t></a:r></a:p>", escaped(text)));
    presentation(&slides.iter().map(|slide| (text(slide), None)).collect::<Vec<_>>())
}

/// A presentation of slides, each with its XML and that of its notes.
fn presentation(slides: &[(String, Option<String>)]) -> Vec<u8> {
    let file = |place: usize| slides.len() - place;
    let ids: String = (0..slides.len())
        .map(|place| format!("<p:sldId id=\"{}\" r:id=\"rId{place}\"/>", 256 + place))
        .collect();
    let relations = (0..slides.len()).map(|place| {
        (format!("rId{place}"), "slide".into(), format!("slides/slide{}.xml", file(place)))
    });
    let mut entries = package("ppt/presentation.xml");
    entries.push((
        "ppt/presentation.xml".into(),
        format!(
            "<p:presentation xmlns:p=\"{SLIDES}\" xmlns:r=\"{RELATIONS}\">\
             <p:sldIdLst>{ids}</p:sldIdLst></p:presentation>"
        ),
    ));
    entries.push(("ppt/_rels/presentation.xml.rels".into(), relations_xml(relations)));
    for (place, (slide, notes)) in slides.iter().enumerate() {
        let number = file(place);
        entries.push((format!("ppt/slides/slide{number}.xml"), slide.clone()));
        if let Some(notes) = notes {
            let target = format!("../notesSlides/notesSlide{number}.xml");
            let relation = ("rId1".into(), "notesSlide".into(), target);
            entries.push((
                format!("ppt/slides/_rels/slide{number}.xml.rels"),
                relations_xml([relation]),
            ));
            entries.push((format!("ppt/notesSlides/notesSlide{number}.xml"), notes.clone()));
        }
    }
    zipped(entries)
}

fn slide(paragraphs: &str) -> String {
    format!(
        "<p:sld xmlns:p=\"{SLIDES}\" xmlns:a=\"{DRAWING}\"><p:cSld><p:spTree><p:sp><p:txBody>\
         {paragraphs}</p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
    )
}

/// A workbook of one sheet, `Sheet1`. What reads as a number is one; empty cells are left out.
pub fn xlsx(rows: &[&[&str]]) -> Vec<u8> {
    let mut cells = String::new();
    for (row, values) in rows.iter().enumerate() {
        cells += &format!("<row r=\"{}\">", row + 1);
        for (column, value) in values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
            let place = format!("{}{}", char::from(b'A' + column as u8), row + 1);
            cells += &match value.parse::<f64>() {
                Ok(number) => format!("<c r=\"{place}\"><v>{number}</v></c>"),
                Err(_) => format!(
                    "<c r=\"{place}\" t=\"inlineStr\"><is><t>{}</t></is></c>",
                    escaped(value)
                ),
            };
        }
        cells += "</row>";
    }
    workbook(&cells)
}

/// A workbook of one sheet with these rows.
pub(super) fn workbook(rows: &str) -> Vec<u8> {
    let sheet = ("rId1".into(), "worksheet".into(), "worksheets/sheet1.xml".into());
    let styles = ("rId2".into(), "styles".into(), "styles.xml".into());
    let mut entries = package("xl/workbook.xml");
    entries.push((
        "xl/workbook.xml".into(),
        format!(
            "<workbook xmlns=\"{CELLS}\" xmlns:r=\"{RELATIONS}\"><sheets>\
             <sheet name=\"Sheet1\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>"
        ),
    ));
    entries.push(("xl/_rels/workbook.xml.rels".into(), relations_xml([sheet, styles])));
    // Style 1 is a date (numFmtId 14 is built in).
    let style = format!(
        "<styleSheet xmlns=\"{CELLS}\"><cellXfs count=\"2\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>"
    );
    entries.push(("xl/styles.xml".into(), style));
    entries.push((
        "xl/worksheets/sheet1.xml".into(),
        format!("<worksheet xmlns=\"{CELLS}\"><sheetData>{rows}</sheetData></worksheet>"),
    ));
    zipped(entries)
}

/// Documents with what the formats have besides paragraphs.
pub(super) fn good() -> Vec<Paper> {
    let cell = |text: &str| format!("<w:tc>{}</w:tc>", paragraph(text));
    let body = format!(
        "{}<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c &amp; &#x64;</w:t></w:r>\
         <w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>\
         <w:tbl><w:tr>{}{}</w:tr><w:tr><w:tc><w:p/></w:tc>{}</w:tr></w:tbl>{}",
        paragraph("First."),
        cell("1"),
        cell("2"),
        cell("4"),
        paragraph("Last."),
    );
    let (header, note) =
        (paragraph("Head"), format!("<w:footnote>{}</w:footnote>", paragraph("Note")));
    let rich = word(&body, &[("footnotes", &note), ("header", &header)]);
    let expected = "Head\n\nFirst.\n\na\tb\nc & d\n\n1\t2\n\t4\n\nLast.\n\nNote";
    let notes = slide(
        "<a:p><a:r><a:t>Say this.</a:t></a:r></a:p><a:p><a:fld type=\"slidenum\"><a:t>1</a:t></a:fld></a:p>",
    );
    let title = slide(
        "<a:p><a:r><a:t>Ti</a:t></a:r><a:r><a:t>tle</a:t></a:r><a:br/><a:r><a:t>Sub</a:t></a:r></a:p>",
    );
    let second = slide("<a:p><a:r><a:t>Second</a:t></a:r></a:p>");
    let talk = presentation(&[(title, Some(notes)), (second, None)]);
    let values = "<row r=\"2\"><c r=\"A2\" s=\"1\"><v>45292</v></c><c r=\"B2\" t=\"b\"><v>1</v></c>\
                  <c r=\"C2\"><f>1+1</f><v>2</v></c><c r=\"D2\"><f>2+2</f></c></row>\
                  <row r=\"9\"><c r=\"XFD9\" t=\"inlineStr\"><is><t>far\naway</t></is></c></row>";
    vec![
        Paper::new("rich.docx", rich, expected),
        Paper::new("talk.pptx", talk, "Title\nSub\n\nSay this.\n\nSecond"),
        Paper::new(
            "values.xlsx",
            workbook(values),
            format!("Sheet1\n2024-01-01\ttrue\t2\n{}far away", "\t".repeat(16)),
        ),
    ]
}

pub(super) fn paragraph(text: &str) -> String {
    format!("<w:p><w:r><w:t xml:space=\"preserve\">{}</w:t></w:r></w:p>", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// What every package begins with.
fn package(main: &str) -> Vec<(String, String)> {
    let relation = ("rId1".to_owned(), "officeDocument".to_owned(), main.to_owned());
    vec![
        ("[Content_Types].xml".to_owned(), format!("<Types xmlns=\"{PACKAGE}/content-types\"/>")),
        ("_rels/.rels".to_owned(), relations_xml([relation])),
    ]
}

fn relations_xml(relations: impl IntoIterator<Item = (String, String, String)>) -> String {
    let all: String = relations
        .into_iter()
        .map(|(id, kind, target)| {
            format!("<Relationship Id=\"{id}\" Type=\"{RELATIONS}/{kind}\" Target=\"{target}\"/>")
        })
        .collect();
    format!("<Relationships xmlns=\"{PACKAGE}/relationships\">{all}</Relationships>")
}
