//! PDF files written by hand: every object and its place in the cross-reference table.

use std::fmt::Write;

/// A PDF of one page for each text.
pub fn pdf(pages: &[&str]) -> Vec<u8> {
    let letters = letters(pages);
    let mut objects = vec!["<< /Type /Catalog /Pages 2 0 R >>".to_owned()];
    let kids: String = (0..pages.len()).map(|page| format!("{} 0 R ", 6 + 2 * page)).collect();
    objects.push(format!("<< /Type /Pages /Count {} /Kids [{kids}] >>", pages.len()));
    // A font of two-byte codes that is nowhere embedded; what the codes mean is said by /ToUnicode.
    objects.push(
        "<< /Type /Font /Subtype /Type0 /BaseFont /Paper /Encoding /Identity-H /DescendantFonts [4 0 R] /ToUnicode 5 0 R >>"
            .to_owned(),
    );
    objects.push(
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Paper /DW 500 /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
            .to_owned(),
    );
    objects.push(stream(&to_unicode(&letters)));
    for (page, text) in pages.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 900 842] /Contents {} 0 R /Resources << /Font << /F 3 0 R >> >> >>",
            7 + 2 * page
        ));
        let codes: String = text
            .chars()
            .filter_map(|letter| letters.iter().position(|known| *known == letter))
            .fold(String::new(), |codes, code| codes + &format!("{:04x}", code + 1));
        objects.push(stream(&format!("BT /F 12 Tf 72 720 Td <{codes}> Tj ET")));
    }
    pdf_of(&objects, "")
}

/// A PDF of these objects, numbered from 1, the first of which is the catalog; and more in its trailer.
pub fn pdf_of(objects: &[String], trailer: &str) -> Vec<u8> {
    let mut file = "%PDF-1.7\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in objects.iter().enumerate() {
        writeln!(table, "{:010} 00000 n ", file.len()).expect("writing to memory");
        write!(file, "{} 0 obj\n{object}\nendobj\n", number + 1).expect("writing to memory");
    }
    let start = file.len();
    let size = objects.len() + 1;
    (file
        + &table
        + &format!(
            "trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n"
        ))
        .into_bytes()
}

pub(super) fn stream(content: &str) -> String {
    format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len())
}

/// Every letter of the pages once. Its place is its code less one.
fn letters(pages: &[&str]) -> Vec<char> {
    let mut letters: Vec<char> = pages.iter().flat_map(|page| page.chars()).collect();
    letters.sort_unstable();
    letters.dedup();
    letters
}

fn to_unicode(letters: &[char]) -> String {
    let mut map =
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CMapName /Paper def\n\
                   1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n"
            .to_owned();
    // A list may be of no more than 100 entries.
    for (part, letters) in letters.chunks(100).enumerate() {
        writeln!(map, "{} beginbfchar", letters.len()).expect("writing to memory");
        for (place, letter) in letters.iter().enumerate() {
            let utf16: String =
                letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("{unit:04x}")).collect();
            writeln!(map, "<{:04x}> <{utf16}>", part * 100 + place + 1).expect("writing to memory");
        }
        map += "endbfchar\n";
    }
    map + "endcmap\nend\nend\n"
}
