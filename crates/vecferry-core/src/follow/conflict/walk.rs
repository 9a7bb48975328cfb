//! From messages to a verdict: keeps track of tables and transactions, and judges changes a batch at a time, so that the
//! target is asked hundreds of keys by one query.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::cause::Cause;
use super::counterpart::Counterpart;
use super::judge::{At, Change, Effects, Verdict};
use super::subscription::Subscription;
use super::{MOST_CHANGES, Sides, lookup};
use crate::error::{Error, Result};
use crate::follow::pgoutput::{Message, Relation, decode};
use crate::pg::Lsn;

/// Changes judged together: enough to make round trips cheap, few enough that the first conflict is found at once.
const BATCH: usize = 500;

/// The transaction that is being read.
#[derive(Clone, Copy)]
struct Transaction {
    lsn: Lsn,
    /// Applied already, or left out by the operator.
    passed_over: bool,
    /// Whether it has changed anything so far.
    changes: bool,
}

/// Goes through changes in order.
pub(super) struct Walk<'a> {
    sides: &'a Sides,
    subscription: &'a Subscription,
    relations: HashMap<u32, Relation>,
    tables: HashMap<u32, Arc<Counterpart>>,
    transaction: Option<Transaction>,
    /// Transactions with changes that are over, and the first of them all.
    transactions: u64,
    first: Option<Lsn>,
    batch: Vec<Change>,
    taken: u64,
    effects: Effects,
    examined: u64,
    absent: u64,
    cause: Option<(Cause, At)>,
    too_long: Option<i32>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(sides: &'a Sides, subscription: &'a Subscription) -> Self {
        Walk {
            sides,
            subscription,
            relations: HashMap::new(),
            tables: HashMap::new(),
            transaction: None,
            transactions: 0,
            first: None,
            batch: Vec::new(),
            taken: 0,
            effects: Effects::default(),
            examined: 0,
            absent: 0,
            cause: None,
            too_long: None,
        }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be asked, [`Error::Bug`] when the message is not understood.
    pub(super) async fn take(&mut self, bytes: Bytes) -> Result<()> {
        let message = decode(bytes)
            .map_err(|wrong| Error::Bug { what: format!("a change is not understood: {wrong}") })?;
        match message {
            Message::Begin { final_lsn, .. } => self.begin(final_lsn),
            Message::Commit { .. } => self.commit(),
            Message::Relation(relation) => {
                // What is waiting belongs to the definition that is replaced.
                self.judge().await?;
                self.tables.remove(&relation.oid);
                self.relations.insert(relation.oid, relation);
            }
            Message::Insert { .. } | Message::Update { .. } | Message::Delete { .. } => {
                self.change(message).await?;
            }
            Message::Truncate { relations } => self.truncate(&relations).await?,
            Message::Origin { .. } | Message::Type { .. } | Message::Message { .. } => {}
        }
        let refused = self.batch.last().is_some_and(Change::is_refused);
        if refused || self.batch.len() >= BATCH || self.taken >= MOST_CHANGES {
            self.judge().await?;
        }
        Ok(())
    }

    /// Takes note of a message of so many bytes that was not fetched. What follows cannot be judged without it.
    pub(super) async fn take_too_long(&mut self, bytes: i32) -> Result<()> {
        self.judge().await?;
        // In a transaction that is passed over it does not matter.
        if self.transaction.is_some_and(|transaction| !transaction.passed_over) {
            self.too_long = Some(bytes);
        }
        Ok(())
    }

    /// Judges what is still waiting.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.judge().await
    }

    /// Whether no further message is wanted.
    pub(super) fn has_ended(&self) -> bool {
        self.cause.is_some() || self.too_long.is_some() || self.taken >= MOST_CHANGES
    }

    /// The transaction of the cause and how many come before; without a cause, the next to be applied.
    pub(super) fn found_at(&self) -> (Option<Lsn>, u64) {
        match &self.cause {
            Some((_, (lsn, before))) => (Some(*lsn), *before),
            None => (self.first, 0),
        }
    }

    pub(super) fn examined(&self) -> u64 {
        self.examined
    }

    pub(super) fn absent(&self) -> u64 {
        self.absent
    }

    pub(super) fn into_cause(self) -> Option<Cause> {
        self.cause.map(|(cause, _)| cause)
    }

    /// What there is to say when no change is refused.
    pub(super) fn unexplained(&self) -> String {
        let examined = self.examined;
        match (self.too_long, examined) {
            (Some(bytes), _) => format!(
                "the change after the first {examined} is {bytes} bytes long, too long to be looked at"
            ),
            (None, 0) => "no change waits to be applied that has committed on the source".into(),
            (None, _) if self.taken >= MOST_CHANGES => format!(
                "the target would take the first {examined} changes that wait, and no more were looked at"
            ),
            (None, _) => {
                format!(
                    "the target would take all {examined} changes that wait, as far as keys and columns tell"
                )
            }
        }
    }

    /// As the server decides: what commits before the position it has recorded was applied. The position to skip is
    /// for the next transaction only.
    fn begin(&mut self, lsn: Lsn) {
        let applied = lsn < self.subscription.applied.unwrap_or_default();
        let left_out = self.first.is_none() && lsn == self.subscription.skipped;
        let passed_over = applied || left_out;
        self.transaction = Some(Transaction { lsn, passed_over, changes: false });
    }

    fn commit(&mut self) {
        let changes = self.transaction.take().is_some_and(|transaction| transaction.changes);
        self.transactions += u64::from(changes);
    }

    /// Where a change stands; `None` when its transaction is passed over.
    fn place(&mut self) -> Option<At> {
        let transaction = self.transaction.as_mut().filter(|at| !at.passed_over)?;
        transaction.changes = true;
        self.first.get_or_insert(transaction.lsn);
        Some((transaction.lsn, self.transactions))
    }

    async fn change(&mut self, message: Message) -> Result<()> {
        let Some(at) = self.place() else { return Ok(()) };
        let change = match message {
            Message::Insert { relation, new } => {
                Change::insert(at, &self.table(relation).await?, &new)
            }
            Message::Update { relation, old, new } => {
                Change::update(at, &self.table(relation).await?, old.as_ref(), &new)
            }
            Message::Delete { relation, old } => {
                Change::delete(at, &self.table(relation).await?, &old)
            }
            _ => return Ok(()),
        };
        self.push(change);
        Ok(())
    }

    async fn truncate(&mut self, relations: &[u32]) -> Result<()> {
        let Some(at) = self.place() else { return Ok(()) };
        for relation in relations {
            let table = self.table(*relation).await?;
            self.push(Change::truncate(at, &table));
        }
        Ok(())
    }

    fn push(&mut self, change: Change) {
        self.taken += 1;
        self.batch.push(change);
    }

    async fn table(&mut self, oid: u32) -> Result<Arc<Counterpart>> {
        if let Some(table) = self.tables.get(&oid) {
            return Ok(Arc::clone(table));
        }
        let relation = self.relations.get(&oid).ok_or_else(|| Error::Bug {
            what: format!("a change of table {oid} came before its description"),
        })?;
        let table = Counterpart::read(self.sides, self.subscription.oid, relation).await?;
        let table = Arc::new(table);
        self.tables.insert(oid, Arc::clone(&table));
        Ok(table)
    }

    /// Judges the changes that wait, up to the first that is refused.
    async fn judge(&mut self) -> Result<()> {
        if self.cause.is_some() || self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        lookup::answer(&self.sides.target, &mut batch).await?;
        for change in &batch {
            self.examined += 1;
            match self.effects.judge(change) {
                Verdict::Applied => {}
                Verdict::Absent => self.absent += 1,
                Verdict::Refused(cause) => {
                    self.cause = Some((cause, (change.lsn, change.transactions_before)));
                    break;
                }
            }
        }
        Ok(())
    }
}
