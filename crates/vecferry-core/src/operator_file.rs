//! Files that an operator writes and names: bots, prices.

/// Where lines begin in a text, so that a mistake can name its line. The text is read once, however many places are
/// asked for: a file of bots has as many as it has values.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Place of each line feed, ascending.
    ends: Vec<usize>,
}

impl Lines {
    /// The lines of a text.
    pub(crate) fn of(text: &str) -> Lines {
        let bytes = text.bytes().enumerate();
        Lines { ends: bytes.filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The number of the line, from 1, in which the byte at this place stands; beyond the end, the last line. A line feed
    /// belongs to the line that it ends.
    pub(crate) fn number(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_line_that_counting_from_the_start_finds() {
        for text in ["", "\n", "one", "a\nbc\r\n\n\nd", "ż\nó\n", "\n\nlast"] {
            let lines = Lines::of(text);
            for at in 0..text.len() + 3 {
                let before = &text.as_bytes()[..at.min(text.len())];
                let counted = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(lines.number(at), counted, "{at} in {text:?}");
            }
        }
    }
}
