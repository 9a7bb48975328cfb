//! Cuts an expression into words. Pure.

use super::super::refusal::Refusal;

/// A word of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// `#name`.
    Name(String),
    /// `:value`.
    Value(String),
    /// A keyword, a function, or an attribute's own name.
    Bare(String),
    /// `(`, `)`, `,`, `=`.
    Sign(char),
}

/// All words, in order.
///
/// # Errors
/// A character that begins no word.
pub(super) fn words(text: &str) -> Result<Vec<Word>, Refusal> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let begun = if matches!(first, '#' | ':') { 1 } else { 0 };
        let of_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let more = rest.bytes().skip(begun).take_while(|byte| of_word(*byte)).count();
        let (word, length) = match first {
            '(' | ')' | ',' | '=' => (Word::Sign(first), 1),
            _ if more == 0 => {
                let message = format!("Invalid expression: Syntax error; token: {first:?}");
                return Err(Refusal::invalid(message));
            }
            '#' => (Word::Name(rest[..begun + more].to_owned()), begun + more),
            ':' => (Word::Value(rest[..begun + more].to_owned()), begun + more),
            _ => (Word::Bare(rest[..more].to_owned()), more),
        };
        words.push(word);
        rest = rest[length..].trim_start();
    }
    Ok(words)
}
