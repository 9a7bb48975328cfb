//! What a re-embedding will take, before anything is paid: documents, chunks, tokens, money, hours. Pure arithmetic over
//! what is known of each bot; what had to be guessed is said, and widens the range that is given.

mod fresh;

use serde::{Deserialize, Serialize};

pub use fresh::Fresh;

use super::script::{Scripts, scripts_of_names};
use crate::bot::{Bot, DocumentAddress, Splitting};
use crate::price::{Item, Prices};

/// Characters that a web page is taken for, when nobody has read it: the median article page holds about 10 000, and a
/// guess that is too high costs less than one that is too low.
const PAGE_CHARS: u64 = 20_000;

/// Pages that a sitemap is taken for.
const SITEMAP_PAGES: u64 = 50;

/// Characters of a file whose size is not known.
const FILE_CHARS: u64 = 50_000;

/// Seconds that a task takes besides embedding: a container starts in 30 to 60 s on Fargate
/// (Bedrock Chat's image has some GB), and a process here in none worth counting.
const TASK_START_SECONDS: f64 = 60.0;

/// Tokens a second that one worker embeds when no limit is known: eight calls of 96 chunks of 250 tokens at once, each
/// taking about a second with a full batch.
const TOKENS_PER_SECOND: f64 = 100_000.0;

/// How far the tokens may be from what is expected: of rows that were counted (published figures of one script differ
/// that much), of files of which only the size is known, of what was guessed altogether.
const COUNTED: (f64, f64) = (0.8, 1.2);
const SIZED: (f64, f64) = (0.4, 2.0);
const GUESSED: (f64, f64) = (0.2, 3.0);

/// What is known of one bot's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BotSize {
    /// Characters of its rows on the source, overlaps counted as often as they occur; `None` when nobody looked.
    pub source_chars: Option<u64>,
    /// Scripts of a sample of these; `None` when nobody looked.
    pub scripts: Option<Scripts>,
    /// Characters in its files, of those whose size is known; see [`chars_in_file`].
    pub file_chars: u64,
    /// How many files these are.
    pub files: u64,
    /// What has changed since the source was taken, where somebody compared: `source_chars` are then those of the rows
    /// that still hold, and this is all that comes to them.
    pub fresh: Option<Fresh>,
}

impl BotSize {
    /// With what a comparison has learnt of the bot. It is of no use where it was made with rows that the source does
    /// not have.
    #[must_use]
    pub fn with(self, fresh: Option<Fresh>) -> BotSize {
        let Some(fresh) = fresh else { return self };
        match self.source_chars {
            Some(chars) => {
                let told = Some(fresh.still_told(chars));
                BotSize { source_chars: told, fresh: Some(fresh), ..self }
            }
            None if fresh.rows == 0 => BotSize { fresh: Some(fresh), ..self },
            None => self,
        }
    }
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

/// On what terms bots are embedded.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// How tasks run.
    pub pace: &'a Pace,
    /// USD for a million tokens, when the model's price is known.
    pub usd_per_million_tokens: Option<f64>,
    /// What everything else costs.
    pub prices: &'a Prices,
    /// Whether unchanged chunks take their vectors from the source: then a bot whose rows are there may cost nothing.
    pub reuses: bool,
}

/// A Fargate task and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fargate {
    /// vCPUs of a task.
    pub vcpus: f64,
    /// GB of a task's memory.
    pub gigabytes: f64,
    /// USD for a vCPU and hour.
    pub vcpu_hour_usd: f64,
    /// USD for a GB and hour.
    pub gb_hour_usd: f64,
}

impl Fargate {
    /// USD for so many hours of tasks.
    pub fn usd(&self, task_hours: f64) -> f64 {
        task_hours * (self.vcpus * self.vcpu_hour_usd + self.gigabytes * self.gb_hour_usd)
    }
}

/// What it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens.
    pub tokens: u64,
    /// USD for the tokens; `None` when the model's price is not known.
    pub embedding_usd: Option<f64>,
    /// Hours of all tasks together.
    pub task_hours: f64,
    /// Hours of Fargate's vCPUs; 0 for workers on this machine.
    pub vcpu_hours: f64,
    /// Hours of Fargate's GBs; 0 for workers on this machine.
    pub gb_hours: f64,
    /// USD for the tasks; `None` for workers on this machine.
    pub tasks_usd: Option<f64>,
    /// Hours from the first launch to the last proof.
    pub hours: f64,
}

impl Amount {
    /// USD in all, as far as prices are known.
    pub fn usd(&self) -> Option<f64> {
        self.embedding_usd.map(|embedding| embedding + self.tasks_usd.unwrap_or(0.0))
    }
}

/// The estimate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bots.
    pub bots: u64,
    /// Document addresses.
    pub documents: u64,
    /// Chunks.
    pub chunks: u64,
    /// What is expected.
    #[serde(flatten)]
    pub expected: Amount,
    /// The least and the most that it may take, by what is known of the texts.
    pub low: Amount,
    /// See `low`.
    pub high: Amount,
    /// USD for a million tokens; `None` when it is not known.
    pub usd_per_million_tokens: Option<f64>,
    /// The tasks on Fargate; `None` for workers on this machine.
    pub fargate: Option<Fargate>,
    /// Bots whose rows on the source say how much text they have.
    pub measured: u64,
    /// What was guessed, in words, one line each.
    pub guesses: Vec<String>,
}

impl Estimate {
    /// USD in all, as far as prices are known.
    pub fn usd(&self) -> Option<f64> {
        self.expected.usd()
    }
}

impl Amount {
    /// Both, one after the other.
    fn plus(&self, other: &Amount) -> Amount {
        let both = |one: Option<f64>, other: Option<f64>| Some(one? + other?);
        Amount {
            tokens: self.tokens + other.tokens,
            embedding_usd: both(self.embedding_usd, other.embedding_usd),
            task_hours: self.task_hours + other.task_hours,
            vcpu_hours: self.vcpu_hours + other.vcpu_hours,
            gb_hours: self.gb_hours + other.gb_hours,
            tasks_usd: both(self.tasks_usd, other.tasks_usd),
            hours: self.hours + other.hours,
        }
    }
}

impl Estimate {
    /// This, and what further bots take that come to a run which was finished; at the newer prices.
    pub fn plus(&self, later: &Estimate) -> Estimate {
        let mut guesses = self.guesses.clone();
        guesses.extend(later.guesses.iter().filter(|guess| !self.guesses.contains(guess)).cloned());
        Estimate {
            bots: self.bots + later.bots,
            documents: self.documents + later.documents,
            chunks: self.chunks + later.chunks,
            expected: self.expected.plus(&later.expected),
            low: self.low.plus(&later.low),
            high: self.high.plus(&later.high),
            usd_per_million_tokens: later.usd_per_million_tokens,
            fargate: later.fargate,
            measured: self.measured + later.measured,
            guesses,
        }
    }
}

/// Estimates a run over these bots.
pub fn estimate(bots: &[(&Bot, BotSize)], terms: &Terms<'_>) -> Estimate {
    let mut guessed = Guessed::default();
    let (mut chunks, mut tokens) = (0_u64, Tokens::default());
    for (bot, size) in bots {
        let text = text(bot, size, &mut guessed);
        chunks += chunks_of(text.chars(), bot.splitting);
        tokens.add(bot, &text, terms.reuses);
    }
    let fargate = terms.pace.fargate.map(|(vcpus, gigabytes)| Fargate {
        vcpus,
        gigabytes,
        vcpu_hour_usd: terms.prices.usd(Item::FargateVcpuHour),
        gb_hour_usd: terms.prices.usd(Item::FargateGbHour),
    });
    let amount = |tokens: f64| amount(bots.len(), tokens.ceil() as u64, terms, fargate.as_ref());
    Estimate {
        bots: bots.len() as u64,
        documents: bots.iter().map(|(bot, _)| bot.documents.len() as u64).sum(),
        chunks,
        expected: amount(tokens.expected),
        low: amount(tokens.low),
        high: amount(tokens.high),
        usd_per_million_tokens: terms.usd_per_million_tokens,
        fargate,
        measured: bots.iter().filter(|(_, size)| size.source_chars.is_some()).count() as u64,
        guesses: guessed.words(),
    }
}

/// What so many tokens take.
fn amount(bots: usize, tokens: u64, terms: &Terms<'_>, fargate: Option<&Fargate>) -> Amount {
    let (hours, task_hours) = hours(bots, tokens, terms.pace);
    let of = |each: fn(&Fargate) -> f64| fargate.map_or(0.0, |task| each(task) * task_hours);
    Amount {
        tokens,
        embedding_usd: terms.usd_per_million_tokens.map(|price| tokens as f64 / 1e6 * price),
        task_hours,
        vcpu_hours: of(|task| task.vcpus),
        gb_hours: of(|task| task.gigabytes),
        tasks_usd: fargate.map(|task| task.usd(task_hours)),
        hours,
    }
}

/// Tokens of all bots.
#[derive(Debug, Default)]
struct Tokens {
    expected: f64,
    low: f64,
    high: f64,
}

impl Tokens {
    fn add(&mut self, bot: &Bot, text: &Text, reuses: bool) {
        // Rows of the source hold the overlaps already; other text will be repeated by as much.
        let repeated = repeated(bot.splitting);
        let of = |chars: u64, times: f64| text.scripts.tokens(chars as f64 * times);
        let counted = of(text.counted, 1.0);
        let (sized, guessed) = (of(text.sized, repeated), of(text.guessed, repeated));
        self.expected += counted + sized + guessed;
        let least = if reuses { 0.0 } else { counted * COUNTED.0 };
        self.low += least + sized * SIZED.0 + guessed * GUESSED.0;
        self.high += counted * COUNTED.1 + sized * SIZED.1 + guessed * GUESSED.1;
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
    /// Bots whose script is that of their names, and bots of whose script nothing is known.
    named: u64,
    unread: u64,
}

impl Guessed {
    /// Characters that so many documents of unknown size count as.
    fn add(&mut self, pages: u64, sitemaps: u64, files: u64) -> u64 {
        self.pages += pages;
        self.sitemaps += sitemaps;
        self.files += files;
        (pages + sitemaps * SITEMAP_PAGES) * PAGE_CHARS + files * FILE_CHARS
    }

    fn words(&self) -> Vec<String> {
        let unread = Scripts::default().chars_per_token();
        [
            (self.pages, format!("web pages and videos count as {PAGE_CHARS} characters each")),
            (self.sitemaps, format!("sitemaps count as {SITEMAP_PAGES} pages each")),
            (self.files, format!("files of unknown size count as {FILE_CHARS} characters each")),
            (self.named, "bots count as written in the script of their title and files".into()),
            (
                self.unread,
                format!("bots whose script is not known count {unread} characters a token"),
            ),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, words)| format!("{words} ({number} of them)"))
        .collect()
    }
}

/// A bot's text.
struct Text {
    /// Characters of rows.
    counted: u64,
    /// Characters that sizes of files tell.
    sized: u64,
    /// Characters that somebody had to make up.
    guessed: u64,
    scripts: Scripts,
}

impl Text {
    fn chars(&self) -> u64 {
        self.counted + self.sized + self.guessed
    }
}

fn text(bot: &Bot, size: &BotSize, guessed: &mut Guessed) -> Text {
    let scripts = scripts(bot, size, guessed);
    let counted = size.source_chars.unwrap_or_default();
    if let Some(fresh) = size.fresh {
        let guessed = guessed.add(fresh.pages, fresh.sitemaps, fresh.unsized_files);
        return Text { counted, sized: fresh.file_chars, guessed, scripts };
    }
    if size.source_chars.is_some() {
        return Text { counted, sized: 0, guessed: 0, scripts };
    }
    let (mut pages, mut sitemaps, mut unknown) = (0, 0, 0_u64);
    for address in &bot.documents {
        match address {
            DocumentAddress::Page(_) | DocumentAddress::Video(_) => pages += 1,
            DocumentAddress::Sitemap(_) => sitemaps += 1,
            DocumentAddress::File(_) | DocumentAddress::S3(_) | DocumentAddress::Folder(_) => {
                unknown += 1;
            }
        }
    }
    let guessed = guessed.add(pages, sitemaps, unknown.saturating_sub(size.files));
    Text { counted: 0, sized: size.file_chars, guessed, scripts }
}

fn scripts(bot: &Bot, size: &BotSize, guessed: &mut Guessed) -> Scripts {
    if let Some(scripts) = size.scripts.filter(|scripts| scripts.total() > 0) {
        return scripts;
    }
    let files = bot.documents.iter().filter_map(|address| match address {
        DocumentAddress::File(name) => Some(name.as_str()),
        _ => None,
    });
    match scripts_of_names(files.chain([bot.title.as_str()])) {
        Some(scripts) => {
            guessed.named += 1;
            scripts
        }
        None => {
            guessed.unread += 1;
            Scripts::default()
        }
    }
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
mod tests;
