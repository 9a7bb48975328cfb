//! The documents behind a bot's addresses, one after the other: what is staged already is skipped, the rest queued.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::Sender;
use vecferry_core::bot::Bot;

use super::ledger::{Event, Head};
use crate::document::{Document, DocumentSource, Found, Lost, Reason};
use crate::stage::{Kept, LostDocument};

/// A document to be read.
pub(super) struct Job {
    /// What its chunks refer to.
    pub head: Arc<Head>,
    /// The document.
    pub document: Document,
}

/// Where the finder's findings go.
pub(super) struct Findings {
    /// Documents to be read.
    pub jobs: Sender<Job>,
    /// What happened to the others.
    pub events: Sender<Event>,
}

/// Whoever takes the findings has stopped; it knows why.
pub(super) struct Abandoned;

/// Finds documents.
pub(super) struct Finder<'a> {
    bot: &'a Bot,
    source: &'a dyn DocumentSource,
    kept: HashMap<String, Kept>,
    /// Most characters of the source column.
    source_chars: Option<usize>,
    /// Sources met so far. The one thing that grows with the number of documents: some 100 bytes each.
    seen: HashSet<String>,
    next: u32,
}

impl<'a> Finder<'a> {
    /// A finder that skips what is kept.
    pub(super) fn new(
        bot: &'a Bot,
        source: &'a dyn DocumentSource,
        kept: HashMap<String, Kept>,
        source_chars: Option<usize>,
    ) -> Finder<'a> {
        Finder { bot, source, kept, source_chars, seen: HashSet::new(), next: 0 }
    }

    /// Goes through all addresses. Kept documents that the bot no longer has are reported as outdated.
    pub(super) async fn run(mut self, findings: Findings) -> Result<(), Abandoned> {
        for address in &self.bot.documents {
            let found = self.source.find(self.bot, address).await.unwrap_or_else(|lost| Found {
                documents: Vec::new(),
                lost: vec![(address.to_string(), lost)],
            });
            for (source, lost) in found.lost {
                let lost = Event::NotFound(LostDocument { source, lost });
                findings.events.send(lost).await.map_err(|_| Abandoned)?;
            }
            for document in found.documents {
                self.take(document, &findings).await?;
            }
        }
        for source in std::mem::take(&mut self.kept).into_keys() {
            findings.events.send(Event::Outdated(source)).await.map_err(|_| Abandoned)?;
        }
        Ok(())
    }

    async fn take(&mut self, document: Document, findings: &Findings) -> Result<(), Abandoned> {
        if !self.seen.insert(document.source.clone()) {
            return Ok(());
        }
        let kept = self.kept.remove(&document.source);
        let event = match kept {
            Some(kept) if is_same(kept.version.as_deref(), document.version.as_deref()) => {
                return findings.events.send(Event::Kept(kept.chunks)).await.map_err(|_| Abandoned);
            }
            Some(_) => Some(Event::Outdated(document.source.clone())),
            None => None,
        };
        let head = Arc::new(Head {
            number: self.next,
            source: document.source.clone(),
            version: document.version.clone(),
            lost: AtomicBool::new(false),
        });
        self.next += 1;
        // Before the job, so that old rows are gone before new ones come.
        if let Some(event) = event {
            findings.events.send(event).await.map_err(|_| Abandoned)?;
        }
        if let Err(lost) = storable(&document.source, self.source_chars) {
            return findings.events.send(Event::Lost(head, lost)).await.map_err(|_| Abandoned);
        }
        findings.jobs.send(Job { head, document }).await.map_err(|_| Abandoned)
    }
}

/// Whether a document staged by an earlier run of this migration is still the same. One whose version nobody knows is
/// taken as it was when the migration read it: pages without an ETag would otherwise never be resumed.
fn is_same(staged: Option<&str>, now: Option<&str>) -> bool {
    match (staged, now) {
        (Some(staged), Some(now)) => staged == now,
        _ => true,
    }
}

/// Whether the source column can hold this.
fn storable(source: &str, most: Option<usize>) -> Result<(), Lost> {
    let chars = source.chars().count();
    match most {
        _ if source.contains('\0') => {
            Err(Lost::new(Reason::Refused, "its address has a NUL character"))
        }
        Some(most) if chars > most => Err(Lost::new(
            Reason::TooLarge,
            format!("its address has {chars} characters and the source column takes {most}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_document_is_kept_unless_its_version_is_known_to_differ() {
        for (staged, now, same) in [
            (Some("1"), Some("1"), true),
            (Some("1"), Some("2"), false),
            (None, Some("2"), true),
            (Some("1"), None, true),
            (None, None, true),
        ] {
            assert_eq!(is_same(staged, now), same, "{staged:?} {now:?}");
        }
    }

    #[test]
    fn an_address_that_the_column_cannot_hold_is_told_before_it_is_fetched() {
        assert!(storable("https://e.com/ä", Some(15)).is_ok());
        assert_eq!(storable("https://e.com/äb", Some(15)).unwrap_err().reason, Reason::TooLarge);
        assert!(storable(&"x".repeat(5000), None).is_ok());
        assert_eq!(storable("a\0b", None).unwrap_err().reason, Reason::Refused);
    }
}
