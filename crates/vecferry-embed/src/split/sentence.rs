//! Where sentences end: the Punkt rules (Kiss and Strunk, 2006) as NLTK 3.9 applies them **without a trained model**.
//!
//! That is what the application's worker does: llama-index-core 0.10 makes its sentence tokenizer with no parameters,
//! so it knows no abbreviations, no collocations and no frequent sentence starters, whatever the language. `Dr. Smith`
//! is cut, and so must it be here. What is left of Punkt needs no tables: initials, numbers, ellipses, and closing
//! quotes that belong to the sentence before them.
//!
//! Everything is local: whether a full stop ends a sentence depends on the word around it and the token after it. So
//! the search can start again at any break and finds what it would have found going on, and a text that is still being
//! read is settled up to its last few words ([`settled`]).

use super::character::{is_ascii_space, is_decimal, is_letter, is_space};

/// The byte where the second sentence of `text` begins. White space between two sentences belongs to the first.
pub(super) fn first_break(text: &str) -> Option<usize> {
    let mut pending: Option<(End, usize)> = None;
    let mut from = 0;
    while let Some(end) = next_end(text, from) {
        from = end.at + 1;
        let (last, word) = pending.as_ref().map_or((0, 0), |(last, word)| (last.at, *word));
        let space = text.as_bytes()[last..end.at].iter().rposition(|byte| is_ascii_space(*byte));
        // A space that the text begins with does not count: the original cannot tell its index from none.
        let word = space.filter(|index| *index > 0).map_or(word, |index| last + index + 1);
        // Ends without a space between them (`?!`, `.)`) are one; the last of them speaks for all.
        if let Some((before, its_word)) = pending
            && before.at <= word
            && let Some(start) = start_after(text, &before, its_word)
        {
            return Some(start);
        }
        pending = Some((end, word));
    }
    pending.and_then(|(end, word)| start_after(text, &end, word))
}

/// The last byte of an unfinished text up to which [`first_break`] would not change its mind, whatever follows. Two
/// whole words and the beginning of a third after a break settle it: the token after the full stop is complete, no
/// later end joins it, and closing quotes and the white space after them are all there.
pub(super) fn settled(text: &str) -> usize {
    let bytes = text.as_bytes();
    let back = |mut at: usize, space: bool| {
        while at > 0 && is_ascii_space(bytes[at - 1]) == space {
            at -= 1;
        }
        at
    };
    let third = back(back(bytes.len(), true), false);
    let second = back(back(third, true), false);
    back(back(second, true), false)
}

/// A character that may end a sentence, with something after it.
struct End {
    /// Byte of the character.
    at: usize,
    /// Where the next sentence would begin: the next token's first byte, or the punctuation right behind.
    next: usize,
}

/// The next `.`, `?` or `!` that is followed by punctuation, or by white space and a token.
fn next_end(text: &str, from: usize) -> Option<End> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += bytes[at..].iter().position(|byte| matches!(byte, b'.' | b'?' | b'!'))?;
        let after = &text[at + 1..];
        if after.starts_with(ends_any_word) {
            return Some(End { at, next: at + 1 });
        }
        let token = after.trim_start_matches(is_space);
        if token.len() < after.len() && !token.is_empty() {
            return Some(End { at, next: text.len() - token.len() });
        }
        at += 1;
    }
}

/// Where the next sentence begins, if `end`, in the word that begins at `word`, ends one.
fn start_after(text: &str, end: &End, word: usize) -> Option<usize> {
    let rest = &text[end.next..];
    let token = if end.next == end.at + 1 { 1 } else { rest.find(is_space).unwrap_or(rest.len()) };
    if !has_break(&text[word..end.next + token]) {
        return None;
    }
    // Closing quotes and brackets belong to the sentence before, if white space or a dash follows them.
    let beyond = rest.trim_start_matches(['"', '\'', ')', ']', '}']);
    let next = beyond.trim_start_matches(is_space);
    if beyond.len() < rest.len()
        && (next.len() < beyond.len() || next.starts_with("--") || next.is_empty())
    {
        return (!next.is_empty()).then(|| text.len() - next.len());
    }
    Some(end.next)
}

/// Whether any token but the last ends a sentence.
fn has_break(context: &str) -> bool {
    let mut tokens = context.split('\n').flat_map(Words).peekable();
    while let Some(token) = tokens.next() {
        if tokens.peek().is_some_and(|next| ends_sentence(token, next)) {
            return true;
        }
    }
    false
}

/// Whether `token` ends a sentence, when `next` comes after it.
fn ends_sentence(token: &str, next: &str) -> bool {
    if token == "?" || token == "!" {
        return true;
    }
    // Two full stops and more are an ellipsis, which ends nothing unless a model knows the next word.
    if !token.ends_with('.') || token.ends_with("..") {
        return false;
    }
    let mut first = next.chars();
    let Some(c) = first.next() else { return true };
    let punctuation = first.next().is_none() && matches!(c, ';' | ':' | ',' | '.' | '!' | '?');
    let goes_on = punctuation || c.is_lowercase();
    // `J. S. Bach` and `3. of May` go on; an initial also before a capital, for no model says otherwise.
    if is_initial(token) { !goes_on && !c.is_uppercase() } else { !(is_number(token) && goes_on) }
}

/// One letter and a full stop.
fn is_initial(token: &str) -> bool {
    let mut chars = token.chars();
    chars.next().is_some_and(is_letter) && chars.as_str() == "."
}

/// Digits with commas, full stops and hyphens, perhaps signed.
fn is_number(token: &str) -> bool {
    let token = token.strip_prefix('-').unwrap_or(token);
    let token = token.strip_prefix(['.', ',']).unwrap_or(token);
    token.starts_with(is_decimal)
        && token.chars().all(|c| is_decimal(c) || matches!(c, ',' | '.' | '-'))
}

/// The tokens of one line.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.0.trim_start_matches(is_space);
        let first = line.chars().next()?;
        let length = dashes_or_dots(line).unwrap_or_else(|| {
            let mut length = first.len_utf8();
            if starts_a_word(first) {
                while let Some(c) = line[length..].chars().next()
                    && !ends_word(&line[length..])
                {
                    length += c.len_utf8();
                }
            }
            length
        });
        let (word, rest) = line.split_at(length);
        self.0 = rest;
        Some(word)
    }
}

fn starts_a_word(c: char) -> bool {
    !matches!(
        c,
        '(' | '"'
            | '`'
            | '{'
            | '['
            | ':'
            | ';'
            | '&'
            | '#'
            | '*'
            | '@'
            | ')'
            | '}'
            | ']'
            | '-'
            | ','
    )
}

/// Punctuation that is never part of a word.
fn ends_any_word(c: char) -> bool {
    matches!(c, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '!' | '?')
}

/// Whether a word ends before `rest`.
fn ends_word(rest: &str) -> bool {
    let stops = |rest: &str| {
        rest.starts_with(|c| is_space(c) || ends_any_word(c)) || dashes_or_dots(rest).is_some()
    };
    stops(rest) || rest.strip_prefix(',').is_some_and(|rest| rest.is_empty() || stops(rest))
}

/// Length of a token of several characters that `text` begins with: `--`, `..`, or `. . .` with at least three dots.
fn dashes_or_dots(text: &str) -> Option<usize> {
    for mark in ['-', '.'] {
        let run = text.len() - text.trim_start_matches(mark).len();
        if run > 1 {
            return Some(run);
        }
    }
    let (mut at, mut dots, mut length) = (0, 0, None);
    while text[at..].starts_with('.') {
        dots += 1;
        length = (dots > 2).then_some(at + 1);
        match text[at + 1..].chars().next() {
            Some(space) if is_space(space) => at += 1 + space.len_utf8(),
            _ => break,
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        let mut rest = text;
        let mut found = Vec::new();
        while let Some(at) = first_break(rest) {
            let (sentence, next) = rest.split_at(at);
            found.push(sentence);
            rest = next;
        }
        found.push(rest);
        found
    }

    #[test]
    fn full_stops_question_marks_and_exclamation_marks_end_sentences() {
        assert_eq!(sentences("One. Two? Three!  Four"), ["One. ", "Two? ", "Three!  ", "Four"]);
        assert_eq!(sentences("One.Two?Three"), ["One.Two?Three"]);
        assert_eq!(sentences(""), [""]);
    }

    #[test]
    fn no_abbreviation_is_known_but_initials_and_numbers_are() {
        assert_eq!(sentences("Ask Dr. Smith now."), ["Ask Dr. ", "Smith now."]);
        assert_eq!(sentences("by J. S. Bach and"), ["by J. S. Bach and"]);
        assert_eq!(sentences("am 3. mai"), ["am 3. mai"]);
        assert_eq!(sentences("In 1999. Then"), ["In 1999. ", "Then"]);
        assert_eq!(sentences("A. 日本"), ["A. ", "日本"]);
    }

    #[test]
    fn an_ellipsis_ends_nothing() {
        assert_eq!(sentences("Well... Then"), ["Well... Then"]);
        assert_eq!(sentences("Well?.. Then"), ["Well?.. ", "Then"]);
    }

    #[test]
    fn closing_quotes_belong_to_the_sentence_before() {
        assert_eq!(
            sentences("(So it is.) And \"why?\" He"),
            ["(So it is.) ", "And \"why?\" ", "He"]
        );
        assert_eq!(sentences("(So it is.)"), ["(So it is.)"]);
        assert_eq!(sentences("It is.)--No"), ["It is.)", "--No"]);
    }

    #[test]
    fn several_marks_are_one_end() {
        assert_eq!(sentences("Bad acting!!! I promise."), ["Bad acting!!! ", "I promise."]);
        assert_eq!(sentences("What?! No"), ["What?! ", "No"]);
    }

    #[test]
    fn two_words_and_a_third_settle_what_was_before() {
        assert_eq!(settled("One. Two three fo"), 5);
        assert_eq!(settled("One two thr"), 0);
        assert_eq!(settled("nospaces"), 0);
        assert_eq!(settled(""), 0);
        assert_eq!(settled("a b c d  "), 2);
    }
}
