//! How many tokens a text makes, from the scripts that its characters belong to. Pure.
//!
//! Nobody who estimates has the model's tokenizer, and few have the text. Both Bedrock's guide (four characters a token,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html>) and Cohere's own figures for
//! its multilingual embeddings (<https://huggingface.co/Cohere/multilingual-22-12>, over 10 000 paragraphs of Wikipedia
//! each) tell what a script costs: en 4.8, de, es 4.6, it 4.5, fr 4.4, hi 3.8, ar 3.6, ko 2.0, ja 1.3, zh 1.1 characters
//! a token. Documents have tables, names and numbers that Wikipedia's prose has not, and these fall into more pieces, so
//! each figure below leans to the dear side of those.

use serde::{Deserialize, Serialize};

/// Characters a token.
const LATIN: f64 = 4.0;
/// Likewise, of Chinese characters, wherever they are used.
const HAN: f64 = 1.1;
/// Likewise. Japanese in all has 1.3; its Chinese characters are counted by [`HAN`].
const KANA: f64 = 1.4;
const HANGUL: f64 = 2.0;
/// Arabic, Cyrillic, Devanagari, Greek, Hebrew, Thai and the rest: below the lowest figure that is published.
const OTHER: f64 = 3.0;
/// Text of which nothing is known: between the scripts, as nobody knows which.
const UNKNOWN: f64 = 3.0;

/// Characters by script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripts {
    /// Latin letters, and what all scripts use: digits, spaces, signs.
    pub latin: u64,
    /// Chinese characters, with the punctuation and full-width forms of East Asia.
    pub han: u64,
    /// Hiragana, katakana and bopomofo.
    pub kana: u64,
    /// Korean syllables and letters.
    pub hangul: u64,
    /// Every other script.
    pub other: u64,
}

impl Scripts {
    /// Counts a text's characters.
    pub fn of(text: &str) -> Scripts {
        let mut scripts = Scripts::default();
        scripts.count(text);
        scripts
    }

    /// Counts a further text's characters.
    pub fn count(&mut self, text: &str) {
        for letter in text.chars() {
            *self.place(letter) += 1;
        }
    }

    fn place(&mut self, letter: char) -> &mut u64 {
        match letter as u32 {
            0x0000..=0x024f | 0x1e00..=0x1eff | 0x2000..=0x2bff => &mut self.latin,
            0x3040..=0x312f | 0x31a0..=0x31ff | 0xff66..=0xff9f => &mut self.kana,
            0x1100..=0x11ff | 0x3130..=0x318f | 0xa960..=0xa97f | 0xac00..=0xd7ff => {
                &mut self.hangul
            }
            0x2e80..=0x303f | 0x3190..=0x319f | 0x3200..=0x9fff | 0xf900..=0xfaff => &mut self.han,
            0xff00..=0xffef | 0x2_0000..=0x3_ffff => &mut self.han,
            _ => &mut self.other,
        }
    }

    /// Adds the other's counts.
    pub fn add(&mut self, other: &Scripts) {
        self.latin += other.latin;
        self.han += other.han;
        self.kana += other.kana;
        self.hangul += other.hangul;
        self.other += other.other;
    }

    /// Characters in all.
    pub fn total(&self) -> u64 {
        self.latin + self.han + self.kana + self.hangul + self.other
    }

    /// Whether another script than the Latin one occurs at all.
    pub fn beyond_latin(&self) -> bool {
        self.total() > self.latin
    }

    /// Characters a token, in text mixed like this; a middling figure where nothing was counted.
    pub fn chars_per_token(&self) -> f64 {
        let kinds = [
            (self.latin, LATIN),
            (self.han, HAN),
            (self.kana, KANA),
            (self.hangul, HANGUL),
            (self.other, OTHER),
        ];
        let tokens: f64 = kinds.iter().map(|(chars, each)| *chars as f64 / each).sum();
        if tokens > 0.0 { self.total() as f64 / tokens } else { UNKNOWN }
    }

    /// Tokens in so many characters of text mixed like this.
    pub fn tokens(&self, chars: f64) -> f64 {
        chars / self.chars_per_token()
    }
}

/// What the names say of a text that nobody has read: the scripts of their letters, as far as they are not Latin alone,
/// for documents in every language have Latin names.
pub fn scripts_of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Scripts> {
    let mut scripts = Scripts::default();
    for name in names {
        // What ends a file's name is a kind, not a word.
        let stem = match name.rsplit_once('.') {
            Some((stem, end)) if end.len() <= 4 && end.is_ascii() => stem,
            _ => name,
        };
        let letters: String = stem.chars().filter(|letter| letter.is_alphabetic()).collect();
        scripts.count(&letters);
    }
    scripts.beyond_latin().then_some(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_belongs_to_one_script() {
        let of = |text: &str| {
            let it = Scripts::of(text);
            [it.latin, it.han, it.kana, it.hangul, it.other]
        };
        assert_eq!(of("Zażółć, 12 – “gęślą”"), [20, 0, 0, 0, 0]);
        assert_eq!(of("漢字、。（全角）"), [0, 8, 0, 0, 0], "with East Asia's punctuation");
        assert_eq!(of("ひらがなカタカナー"), [0, 0, 9, 0, 0]);
        assert_eq!(of("한국어"), [0, 0, 0, 3, 0]);
        assert_eq!(of("привет עברית ไทย"), [2, 0, 0, 0, 14]);
        assert_eq!(of("日本語とEnglish"), [7, 3, 1, 0, 0]);
        assert_eq!(of(""), [0; 5]);
        assert_eq!(Scripts::of("a漢か한ж🙂").total(), 6);
        for letter in ('\0'..=char::MAX).step_by(97) {
            assert_eq!(Scripts::of(&letter.to_string()).total(), 1);
        }
    }

    #[test]
    fn each_script_has_its_own_tokens() {
        let tokens = |text: &str| Scripts::of(text).tokens(100.0).round();
        assert_eq!(tokens("abc"), 25.0);
        assert_eq!(tokens("漢"), 91.0);
        assert_eq!(tokens("か"), 71.0);
        assert_eq!(tokens("한"), 50.0);
        assert_eq!(tokens("ж"), 33.0);
        assert_eq!(tokens(""), 33.0, "nothing is known");
    }

    #[test]
    fn a_mixture_lies_between_its_parts_and_order_does_not_count() {
        let mixed = Scripts::of("aaaa漢漢");
        assert!((mixed.chars_per_token() - 6.0 / (1.0 + 2.0 / 1.1)).abs() < 1e-9);
        let mut added = Scripts::of("漢aa");
        added.add(&Scripts::of("a漢a"));
        assert_eq!(added, mixed);
        let (latin, han) =
            (Scripts::of("a").chars_per_token(), Scripts::of("漢").chars_per_token());
        assert!((han..latin).contains(&mixed.chars_per_token()));
    }

    /// The guide in five languages: prose with commands between, which cost as Latin letters do.
    #[test]
    fn real_documents_cost_by_their_language() {
        let guide = |text: &str| Scripts::of(text).chars_per_token();
        let [en, pl, pt, ja, ko] = [
            guide(include_str!("../../../vecferry-testkit/corpus/guide.en.md")),
            guide(include_str!("../../../vecferry-testkit/corpus/guide.pl.md")),
            guide(include_str!("../../../vecferry-testkit/corpus/guide.pt-BR.md")),
            guide(include_str!("../../../vecferry-testkit/corpus/guide.ja.md")),
            guide(include_str!("../../../vecferry-testkit/corpus/guide.ko.md")),
        ];
        for latin in [en, pl, pt] {
            assert!((3.9..=4.0).contains(&latin), "{latin}");
        }
        assert!((1.3..2.6).contains(&ja), "{ja}");
        assert!((2.0..3.4).contains(&ko), "{ko}");
    }

    #[test]
    fn names_tell_a_script_unless_they_are_latin() {
        let names = scripts_of_names(["社内規程", "FAQ 2024.pdf"]).unwrap();
        assert_eq!((names.han, names.latin), (4, 3));
        assert_eq!(scripts_of_names(["Handbook", "notes 1.txt"]), None);
        assert_eq!(scripts_of_names([]), None);
        assert!(scripts_of_names(["Правила.docx"]).unwrap().other == 7);
        assert!(scripts_of_names(["v1.2. 規程"]).is_some(), "a dot within a name");
    }
}
