//! What a re-embedding will take, before anything is paid: documents, chunks, tokens, money, hours. Pure arithmetic over
//! what is known of each bot; what had to be guessed is said.

use serde::Serialize;

use super::price::{FARGATE_GB_HOUR, FARGATE_VCPU_HOUR};
use crate::bot::{Bot, DocumentAddress, Splitting};

/// Characters that a web page is taken for, when nobody has read it: the median article page holds about 10 000, and a
/// guess that is too high costs less than one that is too low.
const PAGE_CHARS: u64 = 20_000;

/// Pages that a sitemap is taken for.
const SITEMAP_PAGES: u64 = 50;

/// Characters of a file whose size is not known.
const FILE_CHARS: u64 = 50_000;

/// Characters a token, for text that nobody has read: Latin script has about four, Chinese, Japanese and Korean about
/// one; three leans to the dear side for the former.
const CHARS_PER_TOKEN: f64 = 3.0;

/// Seconds that a task takes besides embedding: a container starts in 30 to 60 s on Fargate
/// (Bedrock Chat's image has some GB), and a process here in none worth counting.
const TASK_START_SECONDS: f64 = 60.0;

/// Tokens a second that one worker embeds when no limit is known: eight calls of 96 chunks of 250 tokens at once, each
/// taking about a second with a full batch.
const TOKENS_PER_SECOND: f64 = 100_000.0;

/// What is known of one bot's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BotSize {
    /// Characters of its rows on the source, overlaps counted as often as they occur; `None` when nobody looked.
    pub source_chars: Option<u64>,
    /// Characters in its files, of those whose size is known; see [`chars_in_file`].
    pub file_chars: u64,
    /// How many files these are.
    pub files: u64,
}

/// Characters of text that a file of this name and size, in bytes, is taken to hold. PDF and office formats are mostly
/// layout and pictures; the shares lean to the dear side.
pub fn chars_in_file(name: &str, bytes: u64) -> u64 {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let percent = match extension.as_deref() {
        Some("pdf") => 15,
        Some("docx") => 30,
        Some("pptx") => 5,
        Some("xlsx" | "xls" | "ods") => 60,
        Some("html" | "htm") => 40,
        _ => 100,
    };
    bytes.saturating_mul(percent) / 100
}

/// How tasks run, as far as it bounds time and money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Tasks at the same time.
    pub in_flight: usize,
    /// Launches per second.
    pub launches_per_second: f64,
    /// Tokens per minute that the model allows, over all tasks.
    pub tokens_per_minute: Option<u64>,
    /// vCPUs and GB of a Fargate task; `None` for workers on this machine.
    pub fargate: Option<(f64, f64)>,
}

/// The estimate.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Bots.
    pub bots: u64,
    /// Document addresses.
    pub documents: u64,
    /// Chunks.
    pub chunks: u64,
    /// Tokens.
    pub tokens: u64,
    /// USD for the tokens; `None` when the model's price is not known.
    pub embedding_usd: Option<f64>,
    /// USD for the tasks; `None` for workers on this machine.
    pub tasks_usd: Option<f64>,
    /// Hours from the first launch to the last proof.
    pub hours: f64,
    /// Bots whose rows on the source say how much text they have.
    pub measured: u64,
    /// What was guessed, in words, one line each.
    pub guesses: Vec<String>,
}

impl Estimate {
    /// USD in all, as far as prices are known.
    pub fn usd(&self) -> Option<f64> {
        self.embedding_usd.map(|embedding| embedding + self.tasks_usd.unwrap_or(0.0))
    }
}

/// Estimates a run over these bots. `price` is USD for a million tokens.
pub fn estimate(bots: &[(&Bot, BotSize)], pace: &Pace, price: Option<f64>) -> Estimate {
    let mut guessed = Guessed::default();
    let (mut chunks, mut tokens) = (0_u64, 0_u64);
    for (bot, size) in bots {
        let chars = chars(bot, size, &mut guessed);
        chunks += chunks_of(chars, bot.splitting);
        // Rows of the source hold the overlaps already; other text will be repeated by as much.
        let repeated = if size.source_chars.is_some() { 1.0 } else { repeated(bot.splitting) };
        tokens += (chars as f64 * repeated / CHARS_PER_TOKEN).ceil() as u64;
    }
    let (hours, task_hours) = hours(bots.len(), tokens, pace);
    Estimate {
        bots: bots.len() as u64,
        documents: bots.iter().map(|(bot, _)| bot.documents.len() as u64).sum(),
        chunks,
        tokens,
        embedding_usd: price.map(|price| tokens as f64 / 1e6 * price),
        tasks_usd: pace.fargate.map(|(vcpus, gigabytes)| {
            task_hours * (vcpus * FARGATE_VCPU_HOUR + gigabytes * FARGATE_GB_HOUR)
        }),
        hours,
        measured: bots.iter().filter(|(_, size)| size.source_chars.is_some()).count() as u64,
        guesses: guessed.words(),
    }
}

/// How often text is counted because chunks overlap.
fn repeated(splitting: Splitting) -> f64 {
    let step = splitting.chunk_chars.saturating_sub(splitting.overlap_chars).max(1);
    (splitting.chunk_chars as f64 / step as f64).min(10.0)
}

fn chunks_of(chars: u64, splitting: Splitting) -> u64 {
    let step = splitting.chunk_chars.saturating_sub(splitting.overlap_chars).max(1) as u64;
    chars.div_ceil(step)
}

/// What had to be guessed.
#[derive(Debug, Default)]
struct Guessed {
    pages: u64,
    sitemaps: u64,
    files: u64,
}

impl Guessed {
    fn words(&self) -> Vec<String> {
        [
            (self.pages, format!("web pages and videos count as {PAGE_CHARS} characters each")),
            (self.sitemaps, format!("sitemaps count as {SITEMAP_PAGES} pages each")),
            (self.files, format!("files of unknown size count as {FILE_CHARS} characters each")),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, words)| format!("{words} ({number} of them)"))
        .collect()
    }
}

fn chars(bot: &Bot, size: &BotSize, guessed: &mut Guessed) -> u64 {
    if let Some(chars) = size.source_chars {
        return chars;
    }
    let mut unknown = 0_u64;
    let mut chars = size.file_chars;
    for address in &bot.documents {
        match address {
            DocumentAddress::Page(_) | DocumentAddress::Video(_) => {
                guessed.pages += 1;
                chars += PAGE_CHARS;
            }
            DocumentAddress::Sitemap(_) => {
                guessed.sitemaps += 1;
                chars += PAGE_CHARS * SITEMAP_PAGES;
            }
            DocumentAddress::File(_) | DocumentAddress::S3(_) | DocumentAddress::Folder(_) => {
                unknown += 1;
            }
        }
    }
    let unknown = unknown.saturating_sub(size.files);
    guessed.files += unknown;
    chars + unknown * FILE_CHARS
}

/// Hours of the run, and hours of all tasks together.
fn hours(bots: usize, tokens: u64, pace: &Pace) -> (f64, f64) {
    let bots = bots as f64;
    let at_once = bots.min(pace.in_flight.max(1) as f64);
    let limited = pace.tokens_per_minute.map_or(f64::INFINITY, |limit| limit as f64 / 60.0);
    let embedding = tokens as f64 / (TOKENS_PER_SECOND * at_once.max(1.0)).min(limited);
    let starts = if pace.fargate.is_some() { TASK_START_SECONDS } else { 0.0 };
    let waves = bots / at_once.max(1.0) * starts;
    let launching = bots / pace.launches_per_second.max(0.001);
    let seconds = (embedding + waves).max(launching);
    let tasks = bots * starts + embedding * at_once;
    (seconds / 3600.0, tasks / 3600.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::BotKey;

    fn bot(documents: Vec<DocumentAddress>) -> Bot {
        Bot {
            key: BotKey { owner: "o".into(), id: "b".into() },
            title: "t".into(),
            documents,
            splitting: Splitting::default(),
            sync: None,
        }
    }

    const PACE: Pace = Pace {
        in_flight: 10,
        launches_per_second: 10.0,
        tokens_per_minute: Some(300_000),
        fargate: Some((2.0, 4.0)),
    };

    #[test]
    fn rows_on_the_source_say_exactly_how_much_text_there_is() {
        let bot = bot(vec![DocumentAddress::Page("https://a".into())]);
        let size = BotSize { source_chars: Some(3_000_000), ..BotSize::default() };
        let estimate = estimate(&[(&bot, size)], &PACE, Some(0.10));
        assert_eq!((estimate.tokens, estimate.measured), (1_000_000, 1));
        assert_eq!(estimate.guesses, Vec::<String>::new());
        assert!((estimate.embedding_usd.unwrap() - 0.10).abs() < 1e-9);
        // A million tokens at 300 000 a minute.
        assert!((estimate.hours - (200.0 + 60.0) / 3600.0).abs() < 0.01, "{}", estimate.hours);
        assert!(estimate.usd().unwrap() > 0.10);
    }

    #[test]
    fn what_nobody_has_read_is_guessed_and_said() {
        let documents = vec![
            DocumentAddress::Page("https://a".into()),
            DocumentAddress::Sitemap("https://a/sitemap.xml".into()),
            DocumentAddress::File("a.txt".into()),
            DocumentAddress::File("b.txt".into()),
        ];
        let bot = bot(documents);
        let size = BotSize { source_chars: None, file_chars: 6_000, files: 1 };
        let estimate = estimate(&[(&bot, size)], &PACE, None);
        let chars = 20_000 + 50 * 20_000 + 6_000 + 50_000;
        assert_eq!(estimate.tokens, (chars as f64 * 1.25 / 3.0).ceil() as u64);
        assert_eq!(estimate.chunks, (chars as u64).div_ceil(800));
        assert_eq!(estimate.guesses.len(), 3);
        assert_eq!(estimate.usd(), None);
    }

    #[test]
    fn a_pdf_holds_less_text_than_its_bytes() {
        assert_eq!(chars_in_file("a.PDF", 1_000), 150);
        assert_eq!(chars_in_file("notes", 1_000), 1_000);
    }

    #[test]
    fn launches_bound_the_hours_of_many_small_bots() {
        let bot = bot(vec![]);
        let bots = vec![(&bot, BotSize { source_chars: Some(30), ..BotSize::default() }); 36_000];
        let pace = Pace { in_flight: 5_000, fargate: None, ..PACE };
        let estimate = estimate(&bots, &pace, None);
        assert!((estimate.hours - 1.0).abs() < 0.01, "{}", estimate.hours);
        assert_eq!(estimate.tasks_usd, None);
    }
}
