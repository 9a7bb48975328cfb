//! Documents made in code: small ones of every format and of several languages, with the text that reading them must
//! give, and such as break a reader, with the reason for which they must be lost.
//!
//! Made rather than kept as files, so that what is in them can be read here, and what is wrong with them too.

mod hostile;
mod office;
mod pdf;

pub use hostile::hostile;
pub use office::{docx, pptx, xlsx, zipped};
pub use pdf::{pdf, pdf_of};

/// A document.
#[derive(Debug, Clone)]
pub struct Paper {
    /// File name.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// The text that it holds; for a hostile one the reason, in the words of `vecferry_embed`'s `Reason` as JSON
    /// has them: `too_large`.
    pub expected: String,
}

impl Paper {
    fn new(
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        expected: impl Into<String>,
    ) -> Paper {
        Paper { name: name.into(), bytes: bytes.into(), expected: expected.into() }
    }
}

/// Languages, with two sentences each. All in normalisation form C.
pub const LANGUAGES: [(&str, [&str; 2]); 5] = [
    ("pl", ["Zażółć gęślą jaźń.", "Umowa obowiązuje od 1 stycznia 2024 roku."]),
    ("ja", ["これは検索のための文書です。", "東京は日本の首都です。"]),
    ("ko", ["이 문서는 검색을 위한 것입니다.", "서울은 한국의 수도입니다."]),
    ("pt", ["Não há informação disponível.", "A reunião começa às nove horas."]),
    ("ar", ["هذه وثيقة للبحث.", "القاهرة عاصمة مصر."]),
];

/// Readable documents: each format in each language, and those with a point of their own.
pub fn good() -> Vec<Paper> {
    let mut papers = Vec::new();
    for (language, [one, two]) in LANGUAGES {
        let mut add = |extension: &str, bytes: Vec<u8>, expected: String| {
            papers.push(Paper::new(format!("{language}.{extension}"), bytes, expected));
        };
        let apart = format!("{one}\n\n{two}");
        add("docx", docx(&[one, two]), apart.clone());
        add("pptx", pptx(&[one, two]), apart.clone());
        add("xlsx", xlsx(&[&[one, two], &["", "7.5"]]), format!("Sheet1\n{one}\t{two}\n\t7.5"));
        add("html", html(one, two), apart);
        add("txt", format!("{one}\r\n{two}\r\n").into(), format!("{one}\n{two}\n"));
        add("md", format!("# {one}\n\n- {two}\n").into(), format!("# {one}\n\n- {two}\n"));
        add("csv", format!("a,b\n\"{one}\",{two}\n").into(), format!("a,b\n\"{one}\",{two}\n"));
        // Right-to-left text lies in a PDF as it is seen; what readers make of it is a chapter of its own.
        if language != "ar" {
            add("pdf", pdf(&[one, two]), format!("{one}\n\n{two}"));
        }
    }
    papers.extend(office::good());
    papers.extend(plain());
    papers.extend(misnamed());
    papers
}

/// Texts in other charsets, as they are saved by programs that say nothing about it.
fn plain() -> Vec<Paper> {
    let polish = "Zażółć gęślą jaźń";
    let utf16 = |mark: &[u8]| -> Vec<u8> {
        mark.iter().copied().chain(polish.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    };
    // Polish in windows-1250; "ż ó ł ć ę ś ą ź ń" are bf f3 b3 e6 ea 9c b9 9f f1.
    let windows = b"Za\xbf\xf3\xb3\xe6 g\xea\x9cl\xb9 ja\x9f\xf1".to_vec();
    // Longer than the two control characters in it would let a short file pass for text.
    let words = " and a few words more".repeat(5);
    let decomposed = format!("Z\u{307}o\u{301}\u{142}w{words}\0\u{1}");
    let page = [b"<html><meta charset=windows-1250><p>".as_slice(), &windows].concat();
    vec![
        Paper::new("utf16.txt", utf16(b"\xff\xfe"), polish),
        Paper::new("windows-1250.txt", windows, polish),
        Paper::new("windows-1250.html", page, polish),
        Paper::new("mark.txt", "\u{feff}mark", "mark"),
        Paper::new("decomposed.txt", decomposed, format!("Żółw{words}")),
        Paper::new("data.json", "{\"a\": [1]}", "{\"a\": [1]}"),
        Paper::new("table.tsv", "a\tb\n1\t2\n", "a\tb\n1\t2\n"),
        Paper::new("main.rs", "fn main() {}\n", "fn main() {}\n"),
        Paper::new(
            "feed.xml",
            "<?xml version=\"1.0\"?><a>b</a>",
            "<?xml version=\"1.0\"?><a>b</a>",
        ),
    ]
}

/// Documents that are not what they are called.
fn misnamed() -> Vec<Paper> {
    vec![
        Paper::new("pdf-in-truth.txt", pdf(&["Really a PDF."]), "Really a PDF."),
        Paper::new("html-in-truth.docx", html("Really", "a page."), "Really\n\na page."),
        Paper::new("docx-in-truth.html", docx(&["Really Word."]), "Really Word."),
        Paper::new("text-in-truth.pdf", "Only text.", "Only text."),
        Paper::new("no-extension", xlsx(&[&["cell"]]), "Sheet1\ncell"),
    ]
}

/// A page with what is no text of it around two paragraphs.
fn html(one: &str, two: &str) -> Vec<u8> {
    format!(
        "<!doctype html><html><head><title>t</title><style>p {{ color: red }}</style>\
         <script>var planted = '<p>no</p>';</script></head><body><nav><a href='/'>Home</a></nav>\
         <p>{one}</p><div hidden>no</div><noscript>no</noscript>\n<p><a href='https://x.example/'>{two}</a></p>\
         <button>no</button></body></html>"
    )
    .into_bytes()
}
