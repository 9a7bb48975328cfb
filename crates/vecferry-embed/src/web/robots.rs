//! robots.txt (RFC 9309): which paths of a site our agent may read. Pure; `permission` fetches and keeps the rules.
//!
//! Own code, because the crates that read it have not moved for years and bring old parsers with them; the format is
//! small and its hazards (pathological wildcards, megabytes of rules) are ours to bound anyway.

/// Bytes of a robots.txt that are read; what is beyond does not count. RFC 9309, 2.5, asks for 500 KiB at least.
pub(crate) const READ_BYTES: usize = 500 * 1024;

/// The rules of one site for one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// Parts between the stars, normalized.
    parts: Vec<String>,
    /// Whether it ended in `$`.
    anchored: bool,
    /// Length as written, by which the most specific rule wins.
    length: usize,
}

impl Rules {
    /// Reads a file for an agent's product token (`vecferry`): its own groups, or else those of `*`.
    pub(crate) fn read(text: &str, agent: &str) -> Rules {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let mut named = false;
        // Whom the rules that follow are for, and whether such a rule has been seen since the last name.
        let (mut for_us, mut for_all, mut in_rules) = (false, false, true);
        for line in text.trim_start_matches('\u{feff}').split(['\r', '\n']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            match key.as_str() {
                "user-agent" => {
                    if in_rules {
                        (for_us, for_all, in_rules) = (false, false, false);
                    }
                    for_all |= value == "*";
                    if token(value).eq_ignore_ascii_case(agent) {
                        (for_us, named) = (true, true);
                    }
                }
                "allow" | "disallow" => {
                    in_rules = true;
                    let Some(rule) = Rule::read(key == "allow", value) else { continue };
                    if for_us {
                        own.push(rule.clone());
                    }
                    if for_all {
                        others.push(rule);
                    }
                }
                // Sitemaps, delays and inventions belong to no group and end none.
                _ => {}
            }
        }
        Rules { rules: if named { own } else { others } }
    }

    /// Whether a path with its query may be read: by the longest rule that matches, and by `allow` between equals.
    pub(crate) fn allow(&self, path: &str) -> bool {
        if path == "/robots.txt" {
            return true;
        }
        let path = normalize(path, false);
        let matching = self.rules.iter().filter(|rule| rule.matches(&path));
        matching.max_by_key(|rule| (rule.length, rule.allow)).is_none_or(|rule| rule.allow)
    }
}

impl Rule {
    /// `None` for an empty pattern, which forbids and allows nothing.
    fn read(allow: bool, pattern: &str) -> Option<Rule> {
        if pattern.is_empty() {
            return None;
        }
        let (body, anchored) = match pattern.strip_suffix('$') {
            Some(body) => (body, true),
            None => (pattern, false),
        };
        let parts = body.split('*').map(|part| normalize(part, true)).collect();
        Some(Rule { allow, parts, anchored, length: pattern.len() })
    }

    /// Leftmost matches suffice for the parts in the middle, so that no pattern makes us try again and again.
    fn matches(&self, path: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else { return true };
        let Some(mut left) = path.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = rest.split_last() else {
            return !self.anchored || left.is_empty();
        };
        for part in middle {
            match left.find(part.as_str()) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        if self.anchored { left.ends_with(last.as_str()) } else { left.contains(last.as_str()) }
    }
}

/// The product token that a name begins with: letters, `_` and `-` (RFC 9309, 2.2.1).
pub(crate) fn token(name: &str) -> &str {
    let end = name.find(|c: char| !(c.is_ascii_alphabetic() || matches!(c, '_' | '-')));
    &name[..end.unwrap_or(name.len())]
}

/// One spelling for each octet (RFC 9309, 2.2.2): what need not be escaped is not, all else is, in upper case. Stars
/// and dollars are operators in a pattern, so that those of a path are escaped, which is how a pattern names them.
fn normalize(text: &str, is_pattern: bool) -> String {
    let bytes = text.as_bytes();
    let mut normal = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let escaped = (byte == b'%').then(|| escape(bytes.get(at + 1..at + 3)?)).flatten();
        at += if escaped.is_some() { 3 } else { 1 };
        let (byte, was_escaped) = (escaped.unwrap_or(byte), escaped.is_some());
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_star = byte == b'*' && is_pattern;
        let plain = byte.is_ascii() && (is_star || !matches!(byte, b'*' | b'$'));
        let literal = plain && !was_escaped;
        if unreserved || literal {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
    }
    normal
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let &[high, low] = digits else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str, path: &str) -> bool {
        Rules::read(text, "vecferry").allow(path)
    }

    #[test]
    fn no_rules_allow_everything_and_robots_txt_is_always_readable() {
        for text in [
            "",
            "\u{feff}",
            "nonsense",
            "Disallow: /",
            "User-agent: *\nDisallow:",
            "<html>not found</html>",
        ] {
            assert!(allowed(text, "/a?b"), "{text}");
        }
        assert!(allowed("User-agent: *\nDisallow: /", "/robots.txt"));
        assert!(!allowed("User-agent: *\nDisallow: /", "/"));
    }

    #[test]
    fn our_own_group_replaces_that_for_everyone() {
        let text = "User-agent: *\nDisallow: /\n\nUser-agent: VecFerry/1.0\nDisallow: /private\n";
        assert!(allowed(text, "/open") && !allowed(text, "/private/x"));
        let free = "user-agent: vecferry\nallow: /\nUser-agent: *\nDisallow: /";
        assert!(allowed(free, "/x"));
        // Named without any rule: nothing is forbidden to us.
        assert!(allowed("User-agent: *\nDisallow: /\nUser-agent: vecferry", "/x"));
        // Another agent whose name begins as ours does is another agent.
        assert!(allowed("User-agent: vecferrybot\nDisallow: /", "/x"));
    }

    #[test]
    fn groups_of_one_agent_are_one_and_names_in_a_row_share_their_rules() {
        let text = "User-agent: a\nUser-agent: vecferry\nCrawl-delay: 5\nUser-agent: b\nDisallow: /one\n\
                    User-agent: c\nDisallow: /three\n\nUser-agent: vecferry\nDisallow: /two # why\n";
        assert!(!allowed(text, "/one") && !allowed(text, "/two"));
        assert!(allowed(text, "/three"));
    }

    #[test]
    fn the_longest_match_wins_and_allow_wins_between_equals() {
        let text = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\nAllow: /same\nDisallow: /same";
        assert!(!allowed(text, "/a") && !allowed(text, "/a/x"));
        assert!(allowed(text, "/a/b") && !allowed(text, "/a/b/c/d"));
        assert!(allowed(text, "/same"));
        // Order does not matter.
        let turned = "User-agent: *\nAllow: /page\nDisallow: /*.htm";
        assert!(!allowed(turned, "/page.htm") && allowed(turned, "/page"));
    }

    #[test]
    fn stars_match_anything_and_a_dollar_ends_the_path() {
        let one = |pattern: &str, path: &str| {
            !allowed(&format!("User-agent: *\nDisallow: {pattern}"), path)
        };
        assert!(
            one("/*.pdf$", "/a/b.pdf")
                && !one("/*.pdf$", "/a/b.pdf?x")
                && !one("/*.pdf$", "/a.pdfx")
        );
        assert!(one("/*.pdf", "/a.pdf?x") && one("*", "/") && one("/a*b*c", "/a1b2c3"));
        assert!(!one("/a*b*c", "/acb") && one("/a**b", "/ab") && one("/a*$", "/abc"));
        assert!(one("/fish$", "/fish") && !one("/fish$", "/fish/") && !one("/Fish", "/fish"));
        assert!(one("/*?", "/a?b") && !one("/*?", "/a") && one("/a$b", "/a$b"));
        assert!(one("/ab*ab$", "/abab") && !one("/ab*ab$", "/ab"));
        assert!(!one("a", "/a"));
    }

    #[test]
    fn spellings_of_one_octet_are_one() {
        let one = |pattern: &str, path: &str| {
            !allowed(&format!("User-agent: *\nDisallow: {pattern}"), path)
        };
        assert!(one("/ツ", "/%E3%83%84") && one("/%e3%83%84", "/%E3%83%84"));
        assert!(one("/%62%61%7A", "/baz") && one("/baz", "/%62%61%7a"));
        assert!(!one("/a%2Fb", "/a/b") && one("/a%2fb", "/a%2Fb"));
        assert!(
            one("/%2A", "/*")
                && !one("/%2A", "/x")
                && one("/p%24", "/p$")
                && one("/50%", "/50%off")
        );
    }

    #[test]
    fn a_pattern_of_a_thousand_stars_is_answered_at_once() {
        let text = format!("User-agent: *\nDisallow: /{}x$", "*a".repeat(1000));
        assert!(allowed(&text, &format!("/{}", "a".repeat(5000))));
    }

    #[test]
    fn any_line_end_and_any_case_of_keys_will_do() {
        for end in ["\n", "\r", "\r\n"] {
            let text = format!(" USER-AGENT : * {end}\tdisallow : /x  {end}");
            assert!(!allowed(&text, "/x/y"), "{end:?}");
        }
    }

    #[test]
    fn a_product_token_ends_where_the_version_begins() {
        assert_eq!(token("vecferry/0.1.0 (+https://x)"), "vecferry");
        assert_eq!(token("my-bot_x 2"), "my-bot_x");
        assert_eq!(token("*"), "");
    }
}
