//! Reads again what the first pass found to differ, while changes flow between the clusters: until each thing is
//! equal, proven different, or was written too often for either ([`super::reread`] says why that is sure).
//!
//! All things still open are read in the same rounds, those of a table by one query where a condition can name them.
//! Memory is a handful of digests per open bot.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{self, Scope, TableContent};
use super::moment::{Flow, Stuck};
use super::reading::{self, Answers, Job, Place, Reading as Read};
use super::reread::{Finding, Reading, Readings};
use super::say;
use super::vector::{self, VectorCounts, Vectors};
use super::verification::{Pairing, Verification, asked, into_digests};
use crate::copy::digest::{BotKey, Digest};
use crate::copy::part::{self, Part};
use crate::error::{Result, Side};

/// What is told while a round waits for apply.
const WAITING: &str = "what is under way";

/// A thing of a table that differed when both clusters were read at different moments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// The rows of a table that has no bots.
    Rows,
    /// The rows of one bot.
    Bot(BotKey),
    /// How sound the vectors are.
    Vectors,
}

/// A thing and the table it is in, by the table's place among the pairings.
pub(super) type Doubt = (usize, Thing);

/// What is there of a thing.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Rows(Digest),
    /// By vector column; `None` where the column holds no vectors on this side.
    Vectors(Vec<Option<VectorCounts>>),
}

/// What became of a doubt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settled {
    /// What was found out; why nothing was, when the receiver did not get far enough.
    pub(super) outcome: Result<Finding, String>,
    /// How often the thing was read again.
    pub(super) times: u32,
    /// The source's and the target's rows at the end.
    rows: Option<(Digest, Digest)>,
}

/// What became of all of them.
pub(super) type Settlement = BTreeMap<Doubt, Settled>;

/// What was read on each side.
#[derive(Default)]
struct Looked {
    source: BTreeMap<Doubt, Reading<Seen, Digest>>,
    target: BTreeMap<Doubt, Reading<Seen, Digest>>,
}

impl Looked {
    fn of(&mut self, side: Side) -> &mut BTreeMap<Doubt, Reading<Seen, Digest>> {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }
}

/// A doubt with what was read so far.
struct Open {
    doubt: Doubt,
    readings: Readings<Seen, Digest>,
}

impl Verification<'_> {
    /// Reads again until every doubt is settled.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when a side cannot be read.
    pub(super) async fn settle(&self, flow: &Flow, doubts: Vec<Doubt>) -> Result<Settlement> {
        let mut settled = Settlement::new();
        if doubts.is_empty() {
            return Ok(settled);
        }
        let limit = self.options.read_again.max(2);
        let mut moments = flow.begin().await?;
        let all: Vec<&Doubt> = doubts.iter().collect();
        let mut first = self.look(&[&moments.sender.place], &all).await?;
        let begin = |doubt: Doubt| {
            let reading = first.of(flow.sender).remove(&doubt)?;
            Some(Open { doubt, readings: Readings::begin(reading) })
        };
        let mut open: Vec<Open> = doubts.into_iter().filter_map(begin).collect();
        while !open.is_empty() {
            say(self.context, WAITING);
            let tables: BTreeSet<usize> = open.iter().map(|one| one.doubt.0).collect();
            let round =
                moments.next(tables.iter().map(|at| &self.pairings[*at].source.name)).await?;
            open = self.give_up(flow, open, &round.stuck, &mut settled);
            let all: Vec<&Doubt> = open.iter().map(|one| &one.doubt).collect();
            let places = [&round.receiver.place, &moments.sender.place];
            let mut seen = self.look(&places, &all).await?;
            let mut still = Vec::new();
            for mut one in open {
                let mut of = |side: Side| seen.of(side).remove(&one.doubt);
                if let (Some(receiver), Some(sender)) = (of(flow.receiver()), of(flow.sender)) {
                    one.readings.round(receiver, sender);
                }
                let alike = |sender: &Seen, receiver: &Seen| {
                    self.alike(one.doubt.0, in_order(flow, (sender, receiver)))
                };
                match one.readings.judge(limit, alike) {
                    Some(finding) => {
                        settled.insert(one.doubt.clone(), ended(flow, &one, Ok(finding)));
                    }
                    None => still.push(one),
                }
            }
            open = still;
        }
        Ok(settled)
    }

    /// Ends the doubts whose link did not get far enough.
    fn give_up(
        &self,
        flow: &Flow,
        open: Vec<Open>,
        stuck: &Stuck,
        settled: &mut Settlement,
    ) -> Vec<Open> {
        let mut left = Vec::new();
        for one in open {
            let link = flow.link(&self.pairings[one.doubt.0].source.name);
            match link.and_then(|link| stuck.get(&link.name)) {
                None => left.push(one),
                Some(why) => {
                    settled.insert(one.doubt.clone(), ended(flow, &one, Err(why.clone())));
                }
            }
        }
        left
    }

    fn alike(&self, subject: usize, (source, target): (&Seen, &Seen)) -> bool {
        match (source, target) {
            (Seen::Rows(source), Seen::Rows(target)) => source == target,
            (Seen::Vectors(source), Seen::Vectors(target)) => {
                let pairing = &self.pairings[subject];
                let columns = vector::columns(pairing.source, pairing.target).into_iter();
                columns.zip(source.iter().zip(target)).all(|((theirs, _), (source, target))| {
                    let source = source.as_ref().filter(|_| theirs.is_vector());
                    vector::compare(source, &target.unwrap_or_default()).is_empty()
                })
            }
            _ => false,
        }
    }

    /// Reads these things in these places, all at once.
    async fn look(&self, places: &[&Place], doubts: &[&Doubt]) -> Result<Looked> {
        let mut wanted: BTreeMap<usize, Vec<&Thing>> = BTreeMap::new();
        for (subject, thing) in doubts {
            wanted.entry(*subject).or_default().push(thing);
        }
        let mut sides = Vec::new();
        for place in places {
            let jobs = wanted
                .iter()
                .flat_map(|(subject, things)| self.jobs_again(place.side, *subject, things));
            sides.push((*place, jobs.collect()));
        }
        let (source, target) = reading::read(self.context, sides).await?;
        let mut seen = Looked::default();
        for place in places {
            let answers = match place.side {
                Side::Source => &source,
                Side::Target => &target,
            };
            for (subject, things) in &wanted {
                let found = self.understand(place.side, *subject, things, answers);
                seen.of(place.side).extend(found);
            }
        }
        Ok(seen)
    }

    /// The jobs that read these things of one table on one side.
    fn jobs_again(&self, side: Side, subject: usize, things: &[&Thing]) -> Vec<Job> {
        let pairing = &self.pairings[subject];
        let table = match side {
            Side::Source => pairing.source,
            Side::Target => pairing.target,
        };
        let valued = self.is_valued(pairing);
        let bots: Vec<BotKey> = things.iter().filter_map(|thing| thing.bot().cloned()).collect();
        let named = pairing.scope.of(&bots, valued).filter(|_| bots.len() == things.len());
        let version = self.view(side).catalog.inventory.server.version_num;
        // An index on the bot finds its rows faster than any range of pages.
        let parts = part::split(
            table,
            if named.is_some() { u64::MAX } else { self.policy.part_bytes },
            version,
        );
        let scope = named.as_ref().unwrap_or(&pairing.scope);
        let mut jobs = Vec::new();
        for part in parts {
            let mut add = |kind: Kind, what: Read| {
                jobs.push(Job { subject: kind.subject(subject), bytes: part.bytes, what });
            };
            add(Kind::Versions, Read::Digest(scope.versions_query(&part, valued)));
            if things.iter().any(|thing| **thing != Thing::Vectors) {
                add(Kind::Rows, self.rows_reading(scope, &part));
            }
            if things.contains(&&Thing::Vectors) {
                jobs.extend(self.vectors_reading(side, pairing, &part).map(|what| Job {
                    subject: Kind::Vectors.subject(subject),
                    bytes: part.bytes,
                    what,
                }));
            }
        }
        jobs
    }

    /// The reading of a part's rows, as the first pass does it.
    pub(super) fn rows_reading(&self, scope: &Scope, part: &Part) -> Read {
        if !self.options.quick && scope.obstacle.is_none() {
            return Read::Digest(scope.digest_query(part));
        }
        Read::Query { doing: format!("read {}", scope.table.plain()), sql: scope.count_query(part) }
    }

    fn is_valued(&self, pairing: &Pairing<'_>) -> bool {
        !self.options.quick && pairing.scope.obstacle.is_none()
    }

    /// What the answers say of these things of a table.
    fn understand(
        &self,
        side: Side,
        subject: usize,
        things: &[&Thing],
        answers: &Answers,
    ) -> Vec<(Doubt, Reading<Seen, Digest>)> {
        let pairing = &self.pairings[subject];
        let answer = |kind: Kind| answers.get(&kind.subject(subject)).cloned();
        let rows = into_digests(answer(Kind::Rows), &pairing.scope);
        let versions = answer(Kind::Versions).unwrap_or_default().digests;
        let vectors = answer(Kind::Vectors).unwrap_or_default();
        let reading = |thing: &Thing| match thing {
            Thing::Bot(bot) => Reading {
                content: Seen::Rows(rows.bots.get(bot).copied().unwrap_or_default()),
                versions: versions.bots.get(bot).copied().unwrap_or_default(),
            },
            Thing::Rows => Reading { content: Seen::Rows(rows.total), versions: versions.total },
            Thing::Vectors => {
                let asked = asked(side, pairing);
                let columns = vector::columns(pairing.source, pairing.target).into_iter();
                let counts = columns.map(|(_, ours)| {
                    let at = asked.iter().position(|one| one.name == ours.name)?;
                    Some(vector::add_up(&vectors.rows, at))
                });
                Reading { content: Seen::Vectors(counts.collect()), versions: versions.total }
            }
        };
        things.iter().map(|thing| ((subject, (*thing).clone()), reading(thing))).collect()
    }
}

impl Thing {
    fn bot(&self) -> Option<&BotKey> {
        match self {
            Thing::Bot(bot) => Some(bot),
            Thing::Rows | Thing::Vectors => None,
        }
    }
}

/// The kinds of answers about a table.
#[derive(Clone, Copy)]
enum Kind {
    Rows,
    Versions,
    Vectors,
}

impl Kind {
    fn subject(self, table: usize) -> usize {
        table * 3 + self as usize
    }
}

/// Source and target out of sender and receiver.
fn in_order<T>(flow: &Flow, (sender, receiver): (T, T)) -> (T, T) {
    match flow.sender {
        Side::Source => (sender, receiver),
        Side::Target => (receiver, sender),
    }
}

fn ended(flow: &Flow, one: &Open, outcome: Result<Finding, String>) -> Settled {
    let rows = one.readings.last().and_then(|pair| match in_order(flow, pair) {
        (Seen::Rows(source), Seen::Rows(target)) => Some((*source, *target)),
        _ => None,
    });
    let times = u32::try_from(one.readings.rounds()).unwrap_or(u32::MAX);
    Settled { outcome, times, rows }
}

/// Corrects what the first pass said of a table's rows and returns why it is not proven, if it is not. `keys` are
/// the bots that differed then, in the order of `bots_differing`; those proven different are left in it.
pub(super) fn correct_rows(
    table: &mut TableContent,
    subject: usize,
    keys: &mut Vec<BotKey>,
    settlement: &Settlement,
) -> Vec<String> {
    let mut reasons = Reasons::default();
    if let Some(settled) = settlement.get(&(subject, Thing::Rows)) {
        table.read_again = settled.times;
        table.matches = settled.outcome == Ok(Finding::Equal);
        table.proven = reasons.note(settled);
        return reasons.into_lines(&table.table, "its rows");
    }
    let mut kept = Vec::new();
    let mut left = Vec::new();
    for (key, mut bot) in keys.drain(..).zip(std::mem::take(&mut table.bots_differing)) {
        if let Some(settled) = settlement.get(&(subject, Thing::Bot(key.clone()))) {
            table.read_again = table.read_again.max(settled.times);
            table.bots_read_again += 1;
            bot.read_again = settled.times;
            bot.proven = reasons.note(settled);
            if settled.outcome == Ok(Finding::Equal) {
                continue;
            }
            if let Some((source, target)) = settled.rows {
                (bot.source_rows, bot.target_rows) = (source.rows, target.rows);
                bot.standing = content::standing(&source, &target).unwrap_or(bot.standing);
            }
        }
        if bot.proven {
            left.push(key);
        }
        kept.push(bot);
    }
    *keys = left;
    if table.bots_read_again > 0 {
        table.matches = kept.is_empty();
        table.proven = kept.is_empty() || kept.iter().any(|bot| bot.proven);
    }
    table.bots_differing = kept;
    reasons.into_lines(&table.table, "bots")
}

/// Corrects what the first pass said of a table's vectors, and returns why it is not proven, if it is not.
pub(super) fn correct_vectors(
    vectors: &mut Vectors,
    (subject, table): (usize, &str),
    settlement: &Settlement,
) -> Vec<String> {
    let mut reasons = Reasons::default();
    let Some(settled) = settlement.get(&(subject, Thing::Vectors)) else { return Vec::new() };
    let proven = reasons.note(settled);
    for column in vectors.columns.iter_mut().filter(|one| one.table == table && !one.matches) {
        column.proven = proven;
        if settled.outcome == Ok(Finding::Equal) {
            column.matches = true;
            column.differences.clear();
        }
    }
    vectors.matches = vectors.columns.iter().all(|column| column.matches);
    reasons.into_lines(table, "its vectors")
}

/// Why things could not be proven, with how many of them.
#[derive(Default)]
struct Reasons {
    changing: usize,
    times: u32,
    stuck: BTreeMap<String, usize>,
}

impl Reasons {
    /// Takes note of what is not proven; whether it is.
    fn note(&mut self, settled: &Settled) -> bool {
        match &settled.outcome {
            Ok(Finding::Equal | Finding::Different) => return true,
            Ok(Finding::Changing) => self.changing += 1,
            Err(why) => *self.stuck.entry(why.clone()).or_default() += 1,
        }
        self.times = self.times.max(settled.times);
        false
    }

    fn into_lines(self, table: &str, what: &str) -> Vec<String> {
        let said = |count: usize| match what {
            "bots" if count == 1 => "1 bot".to_owned(),
            "bots" => format!("{count} bots"),
            other => other.to_owned(),
        };
        let mut lines: Vec<String> = self
            .stuck
            .into_iter()
            .map(|(why, count)| format!("{table}: {} could not be compared: {why}", said(count)))
            .collect();
        if self.changing > 0 {
            lines.push(format!(
                "{table}: {} still changing: written to between all of {} readings, and the two clusters were never seen at the same state",
                said(self.changing),
                self.times
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::digest::Digests;
    use crate::verify::content::Standing;

    fn key(text: &str) -> BotKey {
        BotKey(Some(text.as_bytes().to_vec()))
    }

    fn digest(rows: u64, sum: u128) -> Digest {
        Digest { rows, sum }
    }

    /// A table of which four bots differed at first.
    fn table() -> (TableContent, Vec<BotKey>) {
        let names = ["a", "b", "c", "d"];
        let digests = |sum| {
            let bots = names.map(|name| (key(name), digest(2, sum)));
            Digests { bots: bots.into_iter().collect(), ..Digests::default() }
        };
        let differing = content::compare_bots(&digests(1), &digests(2));
        let (keys, bots_differing) = differing.into_iter().unzip();
        let table = TableContent {
            table: "public.items".into(),
            matches: false,
            proven: true,
            read_again: 0,
            bots_read_again: 0,
            columns: 3,
            bots: Some(4),
            source: None,
            target: None,
            obstacle: None,
            bots_differing,
            rows_differing: None,
        };
        (table, keys)
    }

    fn settled(outcome: Result<Finding, String>, times: u32) -> Settled {
        Settled { outcome, times, rows: Some((digest(0, 0), digest(3, 3))) }
    }

    fn settlement(outcomes: &[(&str, Result<Finding, String>)]) -> Settlement {
        let one = |(at, (name, outcome)): (usize, &(&str, Result<Finding, String>))| {
            let times = u32::try_from(at).unwrap() + 1;
            ((0, Thing::Bot(key(name))), settled(outcome.clone(), times))
        };
        outcomes.iter().enumerate().map(one).collect()
    }

    #[test]
    fn bots_that_turned_out_equal_are_taken_back() {
        let (mut table, mut keys) = table();
        let all = ["a", "b", "c", "d"].map(|name| (name, Ok(Finding::Equal)));
        let lines = correct_rows(&mut table, 0, &mut keys, &settlement(&all));
        assert!(table.matches && table.proven && table.bots_differing.is_empty());
        assert_eq!((table.read_again, table.bots_read_again), (4, 4));
        assert!(lines.is_empty() && keys.is_empty());
    }

    #[test]
    fn a_proven_difference_stands_beside_what_could_not_be_proven() {
        let (mut table, mut keys) = table();
        let lines = correct_rows(
            &mut table,
            0,
            &mut keys,
            &settlement(&[
                ("a", Ok(Finding::Equal)),
                ("b", Ok(Finding::Different)),
                ("c", Ok(Finding::Changing)),
                ("d", Err("apply is stopped".into())),
            ]),
        );
        assert!(!table.matches && table.proven);
        assert_eq!(keys, [key("b")]);
        let left: Vec<_> =
            table.bots_differing.iter().map(|bot| (bot.bot.as_str(), bot.proven)).collect();
        assert_eq!(left, [("b", true), ("c", false), ("d", false)]);
        assert_eq!(table.bots_differing[0].standing, Standing::Extra, "as it stands at the end");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn where_nothing_is_proven_the_table_neither_matches_nor_differs() {
        let (mut table, mut keys) = table();
        let all = ["a", "b", "c", "d"].map(|name| (name, Ok(Finding::Changing)));
        let lines = correct_rows(&mut table, 0, &mut keys, &settlement(&all));
        assert!(!table.matches && !table.proven && keys.is_empty());
        assert!(lines[0].starts_with("public.items: 4 bots still changing"), "{lines:?}");
        let (mut table, _) = self::table();
        table.bots_differing.clear();
        let only = Settlement::from([((0, Thing::Rows), settled(Ok(Finding::Different), 2))]);
        assert!(correct_rows(&mut table, 0, &mut Vec::new(), &only).is_empty());
        assert!(!table.matches && table.proven && table.read_again == 2);
    }
}
