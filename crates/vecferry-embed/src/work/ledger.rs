//! Which document is how far: turns chunks that arrive in any order into batches in which documents begin, end and are
//! lost. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::document::{Lost, Reason};
use crate::stage::{Batch, Begun, Chunk, LostDocument};

/// A document at work; shared by its chunks.
#[derive(Debug)]
pub(super) struct Head {
    /// The worker's number for it.
    pub number: u32,
    /// What the source column will hold.
    pub source: String,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// Set when it gives no rows, so that nobody goes on with it.
    pub lost: AtomicBool,
}

impl Head {
    /// Whether work on it is in vain.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A chunk on its way.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    /// Its document.
    pub head: Arc<Head>,
    /// Place in the document.
    pub ordinal: u32,
    /// Its text, which is staged with the vector.
    pub text: String,
}

/// What happens to documents besides chunks.
#[derive(Debug)]
pub(super) enum Event {
    /// A document kept from an earlier run, with its chunks.
    Kept(u32),
    /// A document of an earlier run is made anew.
    Outdated(String),
    /// All chunks of a document are on their way; this many.
    Ended(Arc<Head>, u32),
    /// A document is lost.
    Lost(Arc<Head>, Lost),
    /// Something behind an address could not be found.
    NotFound(LostDocument),
}

/// A document between its first chunk and its last.
#[derive(Debug, Default)]
struct Open {
    arrived: u32,
    expected: Option<u32>,
}

/// The state of all documents.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<u32, Open>,
    batch: Batch,
    /// Documents of earlier runs that are made anew.
    outdated: Vec<String>,
    /// Documents staged, kept ones included.
    pub documents: u32,
    /// Their chunks.
    pub chunks: u64,
    /// What was lost.
    pub lost: Vec<LostDocument>,
    /// How many of them are addresses.
    pub lost_addresses: usize,
}

impl Ledger {
    /// Takes an event.
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Kept(chunks) => {
                self.documents += 1;
                self.chunks += u64::from(chunks);
            }
            Event::Outdated(source) => self.outdated.push(source),
            Event::Ended(head, 0) => {
                self.lose(&head, Lost::new(Reason::NoText, "nothing but white space"));
            }
            Event::Ended(head, chunks) if !head.is_lost() => {
                self.open(&head).expected = Some(chunks);
                self.close_if_whole(&head);
            }
            Event::Ended(..) => {}
            Event::Lost(head, lost) => self.lose(&head, lost),
            Event::NotFound(lost) => {
                self.lost.push(lost);
                self.lost_addresses += 1;
            }
        }
    }

    /// Takes a chunk with its vector, or with the model's reason to refuse it, which costs its document.
    pub(super) fn arrived(&mut self, tag: Tag, vector: Result<Vec<f32>, String>) {
        let Tag { head, ordinal, text: content } = tag;
        if head.is_lost() {
            return;
        }
        match vector {
            Ok(vector) => {
                self.open(&head).arrived += 1;
                self.batch.chunks.push(Chunk { document: head.number, ordinal, content, vector });
                self.close_if_whole(&head);
            }
            Err(why) => {
                let detail = format!("chunk {}: {why}", ordinal + 1);
                self.lose(&head, Lost::new(Reason::Unembeddable, detail));
            }
        }
    }

    /// What waits to be written.
    pub(super) fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// Documents whose old staged rows have to go before anything else is written.
    pub(super) fn take_outdated(&mut self) -> Vec<String> {
        std::mem::take(&mut self.outdated)
    }

    fn open(&mut self, head: &Head) -> &mut Open {
        let begun = &mut self.batch.begun;
        self.open.entry(head.number).or_insert_with(|| {
            begun.push(Begun {
                number: head.number,
                source: head.source.clone(),
                version: head.version.clone(),
            });
            Open::default()
        })
    }

    fn close_if_whole(&mut self, head: &Head) {
        let Some(open) = self.open.get(&head.number) else { return };
        if open.expected == Some(open.arrived) {
            self.batch.finished.push((head.number, open.arrived));
            self.documents += 1;
            self.chunks += u64::from(open.arrived);
            self.open.remove(&head.number);
        }
    }

    /// Once per document: chunks may be refused by the dozen.
    fn lose(&mut self, head: &Head, lost: Lost) {
        if head.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        self.open.remove(&head.number);
        let number = head.number;
        self.batch.begun.retain(|begun| begun.number != number);
        self.batch.chunks.retain(|chunk| chunk.document != number);
        self.batch.lost.push((head.source.clone(), lost.clone()));
        self.lost.push(LostDocument { source: head.source.clone(), lost });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u32) -> Arc<Head> {
        let source = format!("s{number}");
        Arc::new(Head { number, source, version: None, lost: AtomicBool::new(false) })
    }

    fn chunk(head: &Arc<Head>, ordinal: u32) -> Tag {
        Tag { head: Arc::clone(head), ordinal, text: format!("text {ordinal}") }
    }

    #[test]
    fn a_document_is_finished_with_its_last_chunk_in_whatever_order_they_come() {
        for ended_at in 0..4 {
            let (mut ledger, one) = (Ledger::default(), head(1));
            for (step, ordinal) in [2, 0, 1].into_iter().enumerate() {
                if ended_at == step {
                    ledger.event(Event::Ended(Arc::clone(&one), 3));
                }
                assert!(ledger.batch.finished.is_empty());
                ledger.arrived(chunk(&one, ordinal), Ok(vec![1.0]));
            }
            if ended_at == 3 {
                assert!(ledger.batch.finished.is_empty());
                ledger.event(Event::Ended(Arc::clone(&one), 3));
            }
            let batch = ledger.take_batch();
            assert_eq!((batch.begun.len(), batch.chunks.len()), (1, 3));
            assert_eq!(batch.finished, [(1, 3)]);
            assert_eq!((ledger.documents, ledger.chunks), (1, 3));
        }
    }

    #[test]
    fn a_document_begins_once_however_many_batches_it_takes() {
        let (mut ledger, one) = (Ledger::default(), head(1));
        ledger.arrived(chunk(&one, 0), Ok(vec![1.0]));
        assert_eq!(ledger.take_batch().begun.len(), 1);
        ledger.arrived(chunk(&one, 1), Ok(vec![1.0]));
        let batch = ledger.take_batch();
        assert_eq!((batch.begun.len(), batch.chunks.len()), (0, 1));
        assert!(ledger.take_batch().is_empty());
    }

    #[test]
    fn a_refused_chunk_costs_its_document_and_no_other() {
        let (mut ledger, one, two) = (Ledger::default(), head(1), head(2));
        ledger.arrived(chunk(&one, 0), Ok(vec![1.0]));
        ledger.arrived(chunk(&two, 0), Ok(vec![1.0]));
        ledger.arrived(chunk(&one, 1), Err("too long".into()));
        ledger.arrived(chunk(&one, 2), Err("too long".into()));
        ledger.arrived(chunk(&one, 3), Ok(vec![1.0]));
        ledger.event(Event::Ended(Arc::clone(&one), 4));
        ledger.event(Event::Ended(Arc::clone(&two), 1));
        let batch = ledger.take_batch();
        assert_eq!(batch.begun.iter().map(|begun| begun.number).collect::<Vec<_>>(), [2]);
        assert_eq!(batch.chunks.len(), 1);
        assert_eq!(batch.finished, [(2, 1)]);
        assert_eq!(batch.lost.len(), 1);
        assert_eq!(ledger.lost.len(), 1);
        assert_eq!(ledger.lost[0].lost, Lost::new(Reason::Unembeddable, "chunk 2: too long"));
        assert!(one.is_lost() && !two.is_lost());
    }

    #[test]
    fn a_document_without_chunks_is_lost_and_a_kept_one_counts() {
        let (mut ledger, one) = (Ledger::default(), head(1));
        ledger.event(Event::Ended(one, 0));
        ledger.event(Event::Kept(7));
        ledger.event(Event::Outdated("old".into()));
        let lost = Lost::new(Reason::Unreachable, "status 500");
        ledger.event(Event::NotFound(LostDocument { source: "sitemap".into(), lost }));
        assert_eq!(ledger.lost[0].lost.reason, Reason::NoText);
        assert_eq!((ledger.documents, ledger.chunks), (1, 7));
        assert_eq!((ledger.lost.len(), ledger.lost_addresses), (2, 1));
        assert_eq!(ledger.take_outdated(), ["old"]);
        assert!(ledger.take_outdated().is_empty());
    }
}
