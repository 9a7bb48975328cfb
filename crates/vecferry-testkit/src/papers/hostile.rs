//! Documents that break readers: damaged, encrypted, endless, or swelling when they are opened.

use super::office::{paragraph, word, workbook, zipped};
use super::pdf::{pdf, pdf_of, stream};
use super::{Paper, docx, pptx, xlsx};

/// Documents that must be lost, each for the expected reason.
pub fn hostile() -> Vec<Paper> {
    [damaged(), locked(), unknown(), empty(), swelling(), nested()].concat()
}

fn damaged() -> Vec<Paper> {
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let text = ["Some text that is long enough.", "And more."];
    let mut flipped = docx(&text);
    // Into the packed data of the first entries, behind the first local header.
    flipped[60..300].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let catalog = "<< /Type /Catalog /Pages 2 0 R >>".to_owned();
    let unclosed = word("<w:p><w:r><w:t>text", &[]);
    vec![
        Paper::new("cut.pdf", half(pdf(&text)), "broken"),
        Paper::new("cut.docx", half(docx(&text)), "broken"),
        Paper::new("cut.pptx", half(pptx(&text)), "broken"),
        Paper::new("cut.xlsx", half(xlsx(&[&text])), "broken"),
        Paper::new("flipped.docx", flipped, "broken"),
        Paper::new("unclosed.docx", unclosed, "broken"),
        Paper::new("no-slide.pptx", without(&pptx(&text), "ppt/slides/slide1.xml"), "broken"),
        Paper::new(
            "no-pages.pdf",
            pdf_of(&[catalog, "<< /Type /Pages /Count 0 /Kids [] >>".into()], ""),
            "broken",
        ),
        Paper::new("garbage.pdf", b"%PDF-1.7\ngarbage\nstartxref\n7\n%%EOF".as_slice(), "broken"),
    ]
}

/// A ZIP archive without one of its entries.
fn without(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive =
        zip::ZipArchive::new(std::io::Cursor::new(archive)).expect("an archive of ours");
    let mut kept = Vec::new();
    for place in 0..archive.len() {
        let mut entry = archive.by_index(place).expect("an entry of ours");
        let found = entry.name().expect("a name of ours").into_owned();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).expect("reading from memory");
        if found != name {
            kept.push((found, bytes));
        }
    }
    zipped(kept)
}

fn locked() -> Vec<Paper> {
    // A key that no password leads to: what it encrypts never matters.
    let pages = "<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_owned();
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>".to_owned();
    let content = stream("\u{1}\u{2}\u{3}");
    let (o, u) = ("1f".repeat(32), "2e".repeat(32));
    let lock = format!("<< /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <{o}> /U <{u}> >>");
    let objects = ["<< /Type /Catalog /Pages 2 0 R >>".into(), pages, page, content, lock];
    let id = "0f".repeat(16);
    let trailer = format!("/Encrypt 5 0 R /ID [<{id}> <{id}>]");
    vec![
        Paper::new("locked.pdf", pdf_of(&objects, &trailer), "encrypted"),
        Paper::new("locked.docx", compound("EncryptedPackage"), "encrypted"),
    ]
}

fn unknown() -> Vec<Paper> {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
    // A linear congruential generator: the same junk everywhere.
    let mut state = 1_u32;
    let junk: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(4096)
    .collect();
    vec![
        Paper::new("png-in-truth.pdf", png.as_slice(), "unsupported"),
        Paper::new("junk.txt", junk, "unsupported"),
        Paper::new("old.doc", compound("WordDocument"), "unsupported"),
        Paper::new("pictures.zip", zipped([("a.png", png)]), "unsupported"),
        Paper::new("letter.rtf", "{\\rtf1\\ansi text}", "unsupported"),
    ]
}

fn empty() -> Vec<Paper> {
    vec![
        Paper::new("empty.txt", "", "no_text"),
        Paper::new("empty.pdf", "", "no_text"),
        Paper::new("blank.md", " \n\t\r\n\u{3000}", "no_text"),
        Paper::new("blank.docx", docx(&["", " "]), "no_text"),
        Paper::new("blank.xlsx", xlsx(&[&[""]]), "no_text"),
        Paper::new("blank.html", "<html><script>1</script><body> </body></html>", "no_text"),
        // What a scanner makes: a page with a picture only.
        Paper::new("scan.pdf", pdf(&[""]), "no_text"),
    ]
}

/// Small files of which much comes out.
fn swelling() -> Vec<Paper> {
    let spaces = " ".repeat(64 << 20);
    let bomb = word(&format!("<w:p><w:r><w:t>x{spaces}</w:t></w:r></w:p>"), &[]);
    let sheet_bomb = workbook(&format!("<row r=\"1\">{spaces}</row>"));
    let entities: String = (1..10)
        .map(|level| format!("<!ENTITY e{level} \"{}\">", format!("&e{};", level - 1).repeat(10)))
        .collect();
    let laughs = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE w [<!ENTITY e0 \"ha\">{entities}]><w:document xmlns:w=\"w\">\
         <w:body><w:p><w:r><w:t>&e9;</w:t></w:r></w:p></w:body></w:document>"
    );
    let wide = format!("<html><p>{}", "<b>word</b> ".repeat(3 << 20));
    vec![
        Paper::new("bomb.docx", bomb, "too_large"),
        Paper::new("bomb.xlsx", sheet_bomb, "too_large"),
        Paper::new("laughs.docx", zipped([("word/document.xml", laughs)]), "broken"),
        Paper::new("one-line.html", wide, "too_large"),
    ]
}

/// Files that lead a reader deep or round and round.
fn nested() -> Vec<Paper> {
    let deep = format!("{}{}{}", "<w:p>".repeat(50_000), paragraph("x"), "</w:p>".repeat(50_000));
    let catalog = "<< /Type /Catalog /Pages 2 0 R >>".to_owned();
    let looped = [
        "<< /Type /Pages /Count 3 /Kids [3 0 R] >>",
        "<< /Type /Pages /Count 2 /Parent 2 0 R /Kids [2 0 R] >>",
    ];
    let claimed = "<< /Type /Pages /Count 2000000000 /Kids [] >>".to_owned();
    vec![
        Paper::new("deep.docx", word(&deep, &[]), "broken"),
        Paper::new(
            "loop.pdf",
            pdf_of(&[catalog.clone(), looped[0].to_owned(), looped[1].to_owned()], ""),
            "broken",
        ),
        Paper::new("claims.pdf", pdf_of(&[catalog, claimed], ""), "broken"),
    ]
}

/// An OLE2 compound file (MS-CFB) with one stream's name in its directory, and nothing in it.
fn compound(stream: &str) -> Vec<u8> {
    const END: u32 = 0xFFFF_FFFE;
    const FREE: u32 = 0xFFFF_FFFF;
    let mut file = vec![0_u8; 3 * 512];
    file[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    // Minor and major version, byte order, sectors of 2^9 bytes, mini sectors of 2^6, one sector of table.
    put(24, &[0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0]);
    put(44, &1_u32.to_le_bytes());
    // The directory is sector 1; no mini table, no further list of table sectors.
    put(48, &1_u32.to_le_bytes());
    put(56, &4096_u32.to_le_bytes());
    put(60, &END.to_le_bytes());
    put(68, &END.to_le_bytes());
    // The table is sector 0.
    (0..109)
        .for_each(|place| put(76 + 4 * place, &if place == 0 { 0 } else { FREE }.to_le_bytes()));
    (0..128).for_each(|place| put(512 + 4 * place, &FREE.to_le_bytes()));
    put(512, &0xFFFF_FFFD_u32.to_le_bytes());
    put(516, &END.to_le_bytes());
    for (place, (name, kind)) in [("Root Entry", 5), (stream, 2)].into_iter().enumerate() {
        let entry = 1024 + 128 * place;
        let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        put(entry, &name);
        put(entry + 64, &(name.len() as u16).to_le_bytes());
        put(entry + 66, &[kind, 1]);
    }
    file
}
