//! Whether the target proves a bot. Pure.
//!
//! Rows say by which transaction they were written (`xmin`). A worker of any make replaces a bot's rows in one
//! transaction, so a bot is proven when all its rows were written by one transaction, that one was not there before the
//! launch, every document has rows, and each of its embeddings is there, has the right length and is not all zeros
//! (which by cosine is near nothing: no search finds that row). vecferry's own worker also leaves a row in
//! `vecferry.bot_result`, in the same transaction, which says whose attempt it was and which documents were given up by
//! policy. No clock is involved, and no exit code.

use serde::Deserialize;

use super::store::Yield;
use crate::bot::{Bot, DocumentAddress};

/// What the target holds of one bot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// One entry per transaction that wrote rows of the bot.
    pub writers: Vec<Writer>,
    /// The last swap or failure that vecferry's own worker recorded in this migration.
    pub result: Option<BotResult>,
}

impl Evidence {
    /// The transactions, as they are recorded before a launch.
    pub fn transactions(&self) -> Vec<String> {
        self.writers.iter().map(|writer| writer.transaction.clone()).collect()
    }
}

/// Rows of one bot that one transaction wrote.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Writer {
    /// Its id, `xmin` as text.
    pub transaction: String,
    /// Rows.
    pub rows: u64,
    /// Rows without an embedding, with one of zeros only, or with one of another length.
    pub faulty: u64,
    /// What their source column holds, without repetitions.
    pub sources: Vec<String>,
}

/// A row of `vecferry.bot_result`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BotResult {
    /// Token of the attempt that wrote it.
    pub token: String,
    /// Whether the bot's rows are that attempt's.
    pub swapped: bool,
    /// Rows of the bot after the swap, or written by it.
    pub rows: u64,
    /// Documents that gave rows.
    pub documents: u32,
    /// Rows whose vector was taken from the source.
    pub reused: u64,
    /// Tokens paid for.
    pub tokens: u64,
    /// Documents that gave no rows.
    pub lost: Vec<LostDocument>,
}

/// A document that gave no rows, and why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LostDocument {
    /// What the source column would hold.
    pub source: String,
    /// Kind.
    pub reason: String,
    /// Facts.
    #[serde(default)]
    pub detail: String,
}

/// What the target says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody can look, or nobody looked before the launch.
    Unseen,
    /// The bot is embedded.
    Proven(Yield),
    /// No transaction since the launch has left a row.
    Untouched,
    /// Rows of several transactions stand beside each other.
    Doubled {
        /// How many transactions.
        transactions: usize,
    },
    /// Embeddings are missing, zeros only, or of another length.
    Faulty {
        /// In that many rows.
        rows: u64,
    },
    /// Documents without rows, as the registry writes their addresses.
    Incomplete {
        /// Which.
        missing: Vec<String>,
        /// What there is besides.
        got: Yield,
    },
}

/// Judges what is there, given the transactions seen before the launch and the tokens of our attempts for this bot.
pub fn judge(evidence: &Evidence, seen: Option<&[String]>, tokens: &[&str], bot: &Bot) -> Verdict {
    let result = evidence.result.as_ref();
    let ours = result.filter(|it| it.swapped && tokens.contains(&it.token.as_str()));
    let total: u64 = evidence.writers.iter().map(|writer| writer.rows).sum();
    let got = Yield {
        rows: Some(total),
        tokens: ours.map(|it| it.tokens),
        reused: ours.map(|it| it.reused),
    };
    let Some(seen) = seen else {
        // Only a result that names the attempt can speak for itself.
        let sound = matches!(evidence.writers.as_slice(), [alone] if alone.faulty == 0);
        let agrees = ours.is_some_and(|it| it.rows == total) && sound;
        return if agrees { Verdict::Proven(got) } else { Verdict::Unseen };
    };
    let (old, new): (Vec<&Writer>, Vec<&Writer>) =
        evidence.writers.iter().partition(|writer| seen.contains(&writer.transaction));
    let Some(fresh) = new.first() else { return Verdict::Untouched };
    // Rows of documents that were given up may stay as they were; which they are, nobody knows where a whole folder or
    // sitemap was lost, but none of them is among those that were embedded.
    let kept = |writer: &Writer| {
        let embedded = |source: &String| fresh.sources.contains(source);
        ours.is_some_and(|it| !it.lost.is_empty()) && !writer.sources.iter().any(embedded)
    };
    if new.len() > 1 || old.iter().any(|writer| !kept(writer)) {
        return Verdict::Doubled { transactions: evidence.writers.len() };
    }
    // Rows that were kept are as they were before the attempt.
    if fresh.faulty > 0 {
        return Verdict::Faulty { rows: fresh.faulty };
    }
    if ours.is_some_and(|it| it.rows == total || it.rows == fresh.rows) {
        return Verdict::Proven(got);
    }
    let missing = missing(bot, &evidence.writers);
    if missing.is_empty() { Verdict::Proven(got) } else { Verdict::Incomplete { missing, got } }
}

/// Documents of the bot that no row's source column names.
fn missing(bot: &Bot, writers: &[Writer]) -> Vec<String> {
    let sources = || writers.iter().flat_map(|writer| &writer.sources).map(String::as_str);
    let there = |address: &DocumentAddress| {
        match address {
        // Bedrock Chat keeps files under this key of its document bucket.
        DocumentAddress::File(name) => {
            let key = format!("/{}/{}/documents/{name}", bot.key.owner, bot.key.id);
            sources().any(|source| source.ends_with(&key) || source == name)
        }
        DocumentAddress::S3(prefix) if prefix.ends_with('/') => {
            sources().any(|source| source.starts_with(prefix.as_str()))
        }
        DocumentAddress::S3(address) => sources().any(|source| source == address),
        DocumentAddress::Page(page) => sources().any(|source| same_page(source, page)),
        // Its pages are not known here: at least one that is not a document of its own.
        DocumentAddress::Sitemap(_) => sources().any(|source| {
            let page = |other: &DocumentAddress| {
                matches!(other, DocumentAddress::Page(page) if same_page(source, page))
            };
            source.starts_with("http") && !bot.documents.iter().any(page)
        }),
        DocumentAddress::Video(id) => sources().any(|source| source.ends_with(id.as_str())),
        DocumentAddress::Folder(path) => {
            let path = path.display().to_string();
            sources().any(|source| source.starts_with(&path))
        }
    }
    };
    bot.documents.iter().filter(|address| !there(address)).map(ToString::to_string).collect()
}

fn same_page(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::{BotKey, Splitting};

    fn bot(documents: Vec<DocumentAddress>) -> Bot {
        Bot {
            key: BotKey { owner: "ann".into(), id: "b".into() },
            title: "t".into(),
            documents,
            splitting: Splitting::default(),
            sync: None,
        }
    }

    fn pages(pages: &[&str]) -> Bot {
        bot(pages.iter().map(|page| DocumentAddress::Page((*page).into())).collect())
    }

    fn writer(transaction: &str, rows: u64, sources: &[&str]) -> Writer {
        let sources = sources.iter().map(|source| (*source).into()).collect();
        Writer { transaction: transaction.into(), rows, faulty: 0, sources }
    }

    fn evidence(writers: Vec<Writer>) -> Evidence {
        Evidence { writers, result: None }
    }

    fn result(token: &str, rows: u64, lost: &[&str]) -> Option<BotResult> {
        let lost = lost.iter().map(|source| LostDocument {
            source: (*source).into(),
            reason: "missing".into(),
            detail: String::new(),
        });
        let lost = lost.collect();
        let token = token.into();
        Some(BotResult { token, swapped: true, rows, documents: 1, reused: 1, tokens: 9, lost })
    }

    fn judged(evidence: &Evidence, seen: &[&str], bot: &Bot) -> Verdict {
        let seen: Vec<String> = seen.iter().map(|id| (*id).into()).collect();
        judge(evidence, Some(&seen), &["t1", "t2"], bot)
    }

    fn rows(rows: u64) -> Verdict {
        Verdict::Proven(Yield { rows: Some(rows), ..Yield::default() })
    }

    #[test]
    fn one_new_transaction_with_rows_of_every_document_is_a_proof() {
        let bot = pages(&["https://a", "https://b"]);
        let both = writer("8", 5, &["https://a/", "https://b"]);
        assert_eq!(judged(&evidence(vec![both.clone()]), &[], &bot), rows(5));
        assert_eq!(judged(&evidence(vec![both.clone()]), &["7"], &bot), rows(5));
        assert_eq!(judged(&evidence(vec![both]), &["8"], &bot), Verdict::Untouched);
        assert_eq!(judged(&evidence(vec![]), &["8"], &bot), Verdict::Untouched);
        let one = writer("8", 5, &["https://a"]);
        let missing = vec!["https://b".to_owned()];
        let got = Yield { rows: Some(5), ..Yield::default() };
        assert_eq!(judged(&evidence(vec![one]), &[], &bot), Verdict::Incomplete { missing, got });
    }

    #[test]
    fn rows_of_two_transactions_are_no_proof_whoever_wrote_them() {
        let bot = pages(&["https://a"]);
        let two = evidence(vec![writer("8", 5, &["https://a"]), writer("9", 5, &["https://a"])]);
        for seen in [&[][..], &["8"], &["9"]] {
            assert_eq!(judged(&two, seen, &bot), Verdict::Doubled { transactions: 2 }, "{seen:?}");
        }
        let own = Evidence { result: result("t1", 5, &[]), ..two.clone() };
        assert_eq!(judged(&own, &["8"], &bot), Verdict::Doubled { transactions: 2 });
        assert_eq!(judged(&two, &["8", "9"], &bot), Verdict::Untouched);
    }

    #[test]
    fn an_embedding_that_is_missing_or_too_short_is_a_fault_where_it_is_new() {
        let faulty = Writer { faulty: 2, ..writer("8", 5, &["https://a"]) };
        let told = Evidence { writers: vec![faulty], result: result("t1", 5, &[]) };
        assert_eq!(judged(&told, &[], &pages(&["https://a"])), Verdict::Faulty { rows: 2 });
        // keep-old: what was kept is no fault of the attempt.
        let kept = Writer { faulty: 1, ..writer("7", 1, &["https://b"]) };
        let told = Evidence {
            writers: vec![writer("8", 5, &["https://a"]), kept],
            result: result("t1", 5, &["https://b"]),
        };
        let both = pages(&["https://a", "https://b"]);
        assert!(matches!(judged(&told, &["7"], &both), Verdict::Proven(_)));
    }

    #[test]
    fn our_workers_result_speaks_for_documents_that_were_given_up() {
        let bot = pages(&["https://a", "https://b"]);
        let fresh = writer("8", 5, &["https://a"]);
        let got =
            |rows| Verdict::Proven(Yield { rows: Some(rows), tokens: Some(9), reused: Some(1) });
        let accepted =
            Evidence { writers: vec![fresh.clone()], result: result("t2", 5, &["https://b"]) };
        assert_eq!(judged(&accepted, &["7"], &bot), got(5));
        // keep-old: the lost document's rows stay as they were.
        let old = writer("7", 3, &["https://b"]);
        for rows in [5, 8] {
            let kept = Evidence {
                writers: vec![fresh.clone(), old.clone()],
                result: result("t1", rows, &["https://b"]),
            };
            assert_eq!(judged(&kept, &["7"], &bot), got(8));
        }
        let stray = Evidence { writers: vec![fresh, old], result: result("t1", 5, &[]) };
        assert_eq!(judged(&stray, &["7"], &bot), Verdict::Doubled { transactions: 2 });
    }

    #[test]
    fn a_result_of_somebody_else_or_of_a_failure_proves_nothing() {
        let bot = pages(&["https://a", "https://b"]);
        let writers = vec![writer("8", 5, &["https://a"])];
        for spoil in [
            (|it: &mut BotResult| it.token = "stranger".into()) as fn(&mut BotResult),
            |it| it.swapped = false,
            |it| it.rows = 4,
        ] {
            let mut one = result("t1", 5, &[]);
            one.iter_mut().for_each(spoil);
            let told = Evidence { writers: writers.clone(), result: one };
            let verdict = judged(&told, &[], &bot);
            assert!(
                matches!(&verdict, Verdict::Incomplete { missing, .. } if *missing == ["https://b"])
            );
        }
    }

    #[test]
    fn without_a_look_before_the_launch_only_a_result_of_ours_proves() {
        let bot = pages(&["https://a"]);
        let mut told = Evidence {
            writers: vec![writer("8", 5, &["https://a"])],
            result: result("t1", 5, &[]),
        };
        assert!(matches!(judge(&told, None, &["t1"], &bot), Verdict::Proven(_)));
        assert_eq!(judge(&told, None, &["t3"], &bot), Verdict::Unseen);
        told.result = None;
        assert_eq!(judge(&told, None, &["t1"], &bot), Verdict::Unseen);
    }

    #[test]
    fn every_kind_of_address_is_found_in_the_source_column() {
        for (address, source, stranger) in [
            (
                DocumentAddress::File("x.pdf".into()),
                "s3://bucket/ann/b/documents/x.pdf",
                "s3://bucket/ann/c/documents/x.pdf",
            ),
            (DocumentAddress::S3("s3://k/p/".into()), "s3://k/p/q.md", "s3://k/q.md"),
            (DocumentAddress::S3("s3://k/q.md".into()), "s3://k/q.md", "s3://k/q.mdx"),
            (DocumentAddress::Page("https://a/x".into()), "https://a/x", "https://a/y"),
            (DocumentAddress::Sitemap("https://a/s.xml".into()), "https://a/1", "s3://k/1"),
            (DocumentAddress::Video("dQw4w9WgXcQ".into()), "dQw4w9WgXcQ", "aQw4w9WgXcQ"),
            (DocumentAddress::Folder("/srv/x".into()), "/srv/x/a.md", "/srv/y/a.md"),
        ] {
            let bot = bot(vec![address.clone()]);
            assert!(missing(&bot, &[writer("8", 1, &[source])]).is_empty(), "{address:?}");
            let absent = missing(&bot, &[writer("8", 1, &[stranger])]);
            assert_eq!(absent, [address.to_string()]);
        }
        let both = bot(vec![
            DocumentAddress::Page("https://a/1".into()),
            DocumentAddress::Sitemap("https://a/s.xml".into()),
        ]);
        assert_eq!(missing(&both, &[writer("8", 1, &["https://a/1"])]), ["https://a/s.xml"]);
    }
}
