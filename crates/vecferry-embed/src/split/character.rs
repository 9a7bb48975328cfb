//! What a character is to the application's splitter, which runs on Python: its `str.isspace`, the `\d` and `\w` of
//! its regular expressions. They differ from Rust's in a few code points, and every difference would move a cut.

use unicode_segmentation::GraphemeCursor;

/// Python's `str.isspace`, which is also its `\s`: Unicode's white space and the four ASCII separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `string.whitespace`: ASCII only, and unlike Rust's `is_ascii_whitespace` with the vertical tab.
pub(super) fn is_ascii_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// `[^\W\d]`: a letter, a number that is no decimal digit, or the underscore. Rust also counts vowel signs among
/// letters; they do not stand alone.
pub(super) fn is_letter(c: char) -> bool {
    c == '_' || (c.is_alphanumeric() && !is_decimal(c))
}

/// `\d`: a decimal digit of any script (general category Nd).
pub(super) fn is_decimal(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    let after = ZEROS.partition_point(|zero| *zero <= c);
    after > 0 && u32::from(c) - u32::from(ZEROS[after - 1]) < 10
}

/// The zeros of Unicode 14; the nine other digits of each script follow its zero.
const ZEROS: [char; 66] = [
    '\u{30}',
    '\u{660}',
    '\u{6f0}',
    '\u{7c0}',
    '\u{966}',
    '\u{9e6}',
    '\u{a66}',
    '\u{ae6}',
    '\u{b66}',
    '\u{be6}',
    '\u{c66}',
    '\u{ce6}',
    '\u{d66}',
    '\u{de6}',
    '\u{e50}',
    '\u{ed0}',
    '\u{f20}',
    '\u{1040}',
    '\u{1090}',
    '\u{17e0}',
    '\u{1810}',
    '\u{1946}',
    '\u{19d0}',
    '\u{1a80}',
    '\u{1a90}',
    '\u{1b50}',
    '\u{1bb0}',
    '\u{1c40}',
    '\u{1c50}',
    '\u{a620}',
    '\u{a8d0}',
    '\u{a900}',
    '\u{a9d0}',
    '\u{a9f0}',
    '\u{aa50}',
    '\u{abf0}',
    '\u{ff10}',
    '\u{104a0}',
    '\u{10d30}',
    '\u{11066}',
    '\u{110f0}',
    '\u{11136}',
    '\u{111d0}',
    '\u{112f0}',
    '\u{11450}',
    '\u{114d0}',
    '\u{11650}',
    '\u{116c0}',
    '\u{11730}',
    '\u{118e0}',
    '\u{11950}',
    '\u{11c50}',
    '\u{11d50}',
    '\u{11da0}',
    '\u{16a60}',
    '\u{16ac0}',
    '\u{16b50}',
    '\u{1d7ce}',
    '\u{1d7d8}',
    '\u{1d7e2}',
    '\u{1d7ec}',
    '\u{1d7f6}',
    '\u{1e140}',
    '\u{1e2f0}',
    '\u{1e950}',
    '\u{1fbf0}',
];

/// Whether `text` may be cut at the byte `at`: not inside a character, nor inside what a reader takes for one (an
/// extended grapheme cluster, UAX #29). `text` starts with a whole cluster.
pub(super) fn is_cut(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    if at == 0 || at == bytes.len() {
        return true;
    }
    if bytes[at - 1].is_ascii() && bytes[at].is_ascii() {
        return !(bytes[at - 1] == b'\r' && bytes[at] == b'\n');
    }
    // The whole text is there, so the cursor can never ask for more of it.
    text.is_char_boundary(at)
        && GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(false)
}

/// `text` without the white space at both ends, but never with half a cluster: an accent may sit on a space.
pub(super) fn trimmed(text: &str) -> &str {
    let kept = text.trim_matches(is_space);
    if kept.is_empty() {
        return kept;
    }
    let lead = text.len() - text.trim_start_matches(is_space).len();
    let start = (0..=lead).rev().find(|at| is_cut(text, *at)).unwrap_or(0);
    let end = (lead + kept.len()..=text.len()).find(|at| is_cut(text, *at)).unwrap_or(text.len());
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_what_python_takes_for_it() {
        let spaces: Vec<u32> =
            (0..=0x3100).filter(|c| char::from_u32(*c).is_some_and(is_space)).collect();
        let mut expected: Vec<u32> = (0x9..=0xd).chain(0x1c..=0x20).chain([0x85, 0xa0]).collect();
        expected.push(0x1680);
        expected.extend(0x2000..=0x200a);
        expected.extend([0x2028, 0x2029, 0x202f, 0x205f, 0x3000]);
        assert_eq!(spaces, expected);
    }

    #[test]
    fn digits_of_every_script_are_decimal_and_fractions_are_not() {
        for digit in ['0', '9', '٣', '९', '7', '\u{1d7ff}'] {
            assert!(is_decimal(digit) && !is_letter(digit), "{digit}");
        }
        for other in ['½', '²', '一', 'Ⅳ', '/', ':', 'é', '_'] {
            assert!(!is_decimal(other), "{other}");
        }
        assert!(['a', 'Ł', '日', '½', '_'].into_iter().all(is_letter));
        assert!(!['.', '-', ' '].into_iter().any(is_letter));
    }

    #[test]
    fn a_cut_is_never_inside_a_cluster() {
        assert!(!is_cut("a\r\nb", 2));
        assert!(is_cut("a\r\nb", 1) && is_cut("a\r\nb", 3));
        assert!(!is_cut("e\u{301}", 1));
        assert!(!is_cut("👩\u{200d}💻", 4) && !is_cut("👩\u{200d}💻", 7));
        assert!(!is_cut("é", 1));
    }

    #[test]
    fn trimming_leaves_an_accent_its_space() {
        assert_eq!(trimmed(" \u{1c} ab\r\n"), "ab");
        assert_eq!(trimmed("  \u{301}a "), " \u{301}a");
        assert_eq!(trimmed("a\u{600} "), "a\u{600} ");
        assert_eq!(trimmed(" \n\u{3000}"), "");
    }
}
