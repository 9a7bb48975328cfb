//! What a service says about a refused text, without the text: some servers quote their input in their errors.

/// Longest quotation that may be chance.
const QUOTED: usize = 16;

/// Longest message kept, in characters.
const LONGEST: usize = 300;

/// First line of a service's message, cut to a length for a report; replaced as a whole when it quotes one of the texts.
pub fn without_texts(message: &str, texts: &[String]) -> String {
    let line =
        message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    let letters: Vec<char> = line.chars().take(LONGEST).collect();
    let line: String = letters.iter().collect();
    let quotes = letters.windows(QUOTED).any(|window| {
        let window: String = window.iter().collect();
        texts.iter().any(|text| text.contains(&window))
    });
    let short = |text: &String| (QUOTED / 2..QUOTED).contains(&text.chars().count());
    if quotes || texts.iter().any(|text| short(text) && line.contains(text.as_str())) {
        return "the service's message quotes the text and is withheld".to_owned();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_first_line_and_never_a_text() {
        let texts = ["the contract of Mrs Example".to_owned(), "short one".to_owned()];
        let said = |message: &str| without_texts(message, &texts);
        assert_eq!(said("  \nmaxLength: 2048\nmore"), "maxLength: 2048");
        assert_eq!(said(""), "no reason given");
        assert!(said("bad input 'contract of Mrs Example'").ends_with("is withheld"));
        assert!(said("bad input: short one").ends_with("is withheld"));
        assert_eq!(said(&"x".repeat(1000)).len(), LONGEST);
    }
}
