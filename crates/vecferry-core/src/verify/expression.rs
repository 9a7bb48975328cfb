//! When two expressions, as servers write them back, mean the same. Pure.
//!
//! A dump that is restored does not always give the text it was made from: `a = ANY ((ARRAY['x'::varchar])::text[])`
//! comes back as `a = ANY (ARRAY[('x'::varchar)::text])`, because the second parse sees the first one's casts. Texts
//! that agree once casts and the parentheses they need are gone are therefore called [`Likeness::Rewritten`].

/// How alike two expressions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// The same text.
    Same,
    /// The same but for casts and redundant parentheses.
    Rewritten,
    /// Not the same.
    Different,
}

/// Compares two texts of `pg_get_expr` and its like.
pub(super) fn likeness(one: &str, other: &str) -> Likeness {
    if one == other {
        Likeness::Same
    } else if bare(one) == bare(other) {
        Likeness::Rewritten
    } else {
        Likeness::Different
    }
}

/// The tokens without casts and redundant parentheses.
fn bare(text: &str) -> Vec<&str> {
    let mut tokens = without_casts(&tokens(text));
    while let Some(pair) = redundant_pair(&tokens) {
        tokens.remove(pair.1);
        tokens.remove(pair.0);
    }
    tokens
}

/// Literals, names (with their quotes), numbers and single signs; blanks are dropped.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => quoted_length(rest, first),
            ':' if rest.starts_with("::") => 2,
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

/// Length of the quoted token at the front; a doubled quote is part of it.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut from = 1;
    while let Some(at) = text[from..].find(quote) {
        from += at + 1;
        if !text[from..].starts_with(quote) {
            return from;
        }
        from += 1;
    }
    text.len()
}

/// Words that continue a type's name after its first: `character varying`, `timestamp with time zone`.
const TYPE_WORDS: &[&str] = &["varying", "precision", "with", "without", "time", "zone"];

fn without_casts<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "::" {
            at = end_of_type(tokens, at + 1);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// The index after the type name that begins at `at`.
fn end_of_type(tokens: &[&str], mut at: usize) -> usize {
    let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
    at += 1;
    loop {
        if token(at) == "." {
            at += 2;
        } else if TYPE_WORDS.contains(&token(at)) {
            at += 1;
        } else if token(at) == "(" && token(at + 1).starts_with(|c: char| c.is_ascii_digit()) {
            while at < tokens.len() && token(at) != ")" {
                at += 1;
            }
            at += 1;
        } else if token(at) == "[" && token(at + 1) == "]" {
            at += 2;
        } else {
            return at.min(tokens.len());
        }
    }
}

/// A pair of parentheses that changes nothing: around one token that is no argument, or directly within another pair.
fn redundant_pair(tokens: &[&str]) -> Option<(usize, usize)> {
    let mut open = Vec::new();
    let mut previous: Option<(usize, usize)> = None;
    for (at, token) in tokens.iter().enumerate() {
        if *token == "(" {
            open.push(at);
        } else if *token == ")" {
            let Some(from) = open.pop() else { continue };
            let called = from > 0 && tokens[from - 1].starts_with(is_name_start);
            if !called && (at == from + 2 || (from == 0 && at + 1 == tokens.len())) {
                return Some((from, at));
            }
            if let Some(inner) = previous
                && inner.0 == from + 1
                && inner.1 + 1 == at
            {
                return Some(inner);
            }
            previous = Some((from, at));
        }
    }
    None
}

fn is_name_start(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '_' | '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_rewrites_is_recognised() {
        for (before, after) in [
            (
                "CHECK (((s)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))",
                "CHECK (((s)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
            ),
            ("'x'::text", "'x'::character varying(10)"),
            ("('now'::text)::timestamp(3) without time zone", "'now'::timestamp without time zone"),
            ("('{}'::public.mood[])", "'{}'::\"Other\".mood[]"),
            ("((a + b))", "(a + b)"),
            ("(0)::numeric(10,2)", "0"),
        ] {
            assert_eq!(likeness(before, after), Likeness::Rewritten, "{before} / {after}");
        }
        assert_eq!(likeness("a", "a"), Likeness::Same);
    }

    #[test]
    fn real_differences_stay_differences() {
        for (one, other) in [
            ("CHECK ((a > 0))", "CHECK ((a > 1))"),
            ("(a OR b) AND c", "a OR (b AND c)"),
            ("'a  b'::text", "'a b'::text"),
            ("'it''s'", "'it'''"),
            ("lower(a)", "upper(a)"),
            ("f(a)", "f a"),
            ("\"A\"", "a"),
            ("a", ""),
            ("nextval('public.s'::regclass)", "nextval('public.t'::regclass)"),
        ] {
            assert_eq!(likeness(one, other), Likeness::Different, "{one} / {other}");
        }
    }

    #[test]
    fn malformed_texts_are_compared_without_a_panic() {
        for text in ["(", ")", "'", "a::", "::", "x::numeric(1", "((a)", "\"", "a::b."] {
            assert_eq!(likeness(text, "!"), Likeness::Different, "{text}");
        }
    }
}
