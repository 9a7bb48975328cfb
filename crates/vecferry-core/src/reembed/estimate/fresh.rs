//! Text of a bot that its rows on the source do not tell of, because its documents have changed since: what a delta
//! learns while it compares. Plain counts, so that nobody asks the document store twice.

use serde::Serialize;

use super::chars_in_file;

/// Documents without rows, or with rows of an earlier content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fresh {
    /// Rows of the bot.
    pub rows: u64,
    /// Those of them whose document is gone, or is another one now.
    pub stale_rows: u64,
    /// Characters in the files whose size is known; see [`chars_in_file`].
    pub file_chars: u64,
    /// Files whose size is not known.
    pub unsized_files: u64,
    /// Web pages and videos.
    pub pages: u64,
    /// Sitemaps.
    pub sitemaps: u64,
}

impl Fresh {
    /// A file or object without rows, of this name and size in bytes.
    pub fn file(&mut self, name: &str, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => {
                self.file_chars = self.file_chars.saturating_add(chars_in_file(name, bytes));
            }
            None => self.unsized_files += 1,
        }
    }

    /// One that has so many rows of what it was.
    pub fn replaced(&mut self, rows: u64, name: &str, bytes: Option<u64>) {
        self.stale_rows += rows;
        self.file(name, bytes);
    }

    /// What is left of the characters in all the bot's rows: a row is taken to be as long as another.
    pub fn still_told(&self, chars: u64) -> u64 {
        let left = u128::from(self.rows.saturating_sub(self.stale_rows));
        let told = u128::from(chars) * left / u128::from(self.rows.max(1));
        u64::try_from(told).unwrap_or(chars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_what_is_gone_tell_nothing() {
        let mut fresh = Fresh { rows: 8, ..Fresh::default() };
        assert_eq!(fresh.still_told(4_001), 4_001);
        fresh.replaced(6, "s3://b/a.txt", Some(70));
        fresh.file("s3://b/b.pdf", Some(200));
        fresh.file("c", None);
        assert_eq!((fresh.file_chars, fresh.unsized_files), (70 + 30, 1));
        assert_eq!(fresh.still_told(4_000), 1_000);
        assert_eq!(Fresh::default().still_told(4_000), 0, "no rows, no text");
        assert_eq!(Fresh { rows: 2, ..Fresh::default() }.still_told(u64::MAX), u64::MAX);
    }
}
