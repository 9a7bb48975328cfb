//! Proof that the target holds what the source holds: structure, rows, vectors, and how well the index finds them.
//!
//! Both sides are read at the same time, each in one exported snapshot, so that a source in use is compared with
//! itself at one moment. Every judgement is a pure function over what was read; nothing here changes either cluster.

pub mod content;
mod expression;
pub mod keys;
pub mod large_object;
mod reading;
pub mod recall;
mod recorded;
mod rows;
mod snapshot;
pub mod structure;
pub mod vector;

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::copy::digest::{BotKey, Digests};
use crate::copy::part;
use crate::error::{Error, Result, Side};
use crate::inventory::Table;
use crate::policy::{Clusters, Policy};
use crate::report::{Event, Reporter};
use content::{Content, Scope, TableContent};
use keys::Search;
use large_object::{LargeObjects, Reference};
use reading::{Answer, Answers, Context, Job, Reading};
use recall::Recall;
use snapshot::View;
use structure::Structure;
use vector::{VectorColumn, Vectors};

pub use recorded::verify_recorded;

/// How thoroughly to verify.
#[derive(Debug, Clone)]
pub struct Options {
    /// Structure, counts and vectors only: no digests, no recall.
    pub quick: bool,
    /// Whether every vector is looked at. Left out where writes wait for the answer.
    pub vectors: bool,
    /// Keys shown of the rows that differ, per table.
    pub differences: usize,
    /// Searches per bot whose recall is measured.
    pub recall_queries: usize,
    /// Bots whose recall is measured: the largest, some between and the smallest. 0 measures none.
    pub recall_bots: usize,
    /// No further bot is begun after this time.
    pub recall_time: Duration,
    /// How much lower than the source's the target's recall may be, 0 to 1.
    pub recall_tolerance: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            quick: false,
            vectors: true,
            differences: 10,
            recall_queries: 5,
            recall_bots: 20,
            recall_time: Duration::from_secs(30),
            recall_tolerance: 0.05,
        }
    }
}

/// What the target was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The source as it is now.
    Source,
    /// The digests recorded while the rows were copied: see [`verify_recorded`].
    Record,
}

/// The answer, with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Version of this shape.
    pub version: u32,
    /// What the target was compared with.
    pub against: Against,
    /// Whether everything that was compared matches.
    pub matches: bool,
    /// Whether digests and recall were left out.
    pub quick: bool,
    /// How long it took.
    pub seconds: f64,
    /// Tables, columns, indexes and so on; `None` against the record, which does not tell.
    pub structure: Option<Structure>,
    /// Rows.
    pub content: Content,
    /// Large objects; `None` when only some tables were to be compared.
    pub large_objects: Option<LargeObjects>,
    /// Vectors.
    pub vectors: Vectors,
    /// How well the index finds; `None` when it was not measured.
    pub recall: Option<Recall>,
    /// What is worth knowing and no mismatch.
    pub notes: Vec<String>,
}

/// Compares the target with the source. Reads only.
///
/// # Errors
/// [`Error::Postgres`] when a side cannot be read, [`Error::Interrupted`] when cancelled. A mismatch is no error.
pub async fn verify(
    clusters: &Clusters,
    policy: &Policy,
    options: &Options,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Verdict> {
    let context = Context { reporter, cancel, jobs: policy.jobs };
    let run = run(clusters, policy, options, context);
    cancel.run_until_cancelled(run).await.unwrap_or(Err(Error::Interrupted))
}

async fn run(
    clusters: &Clusters,
    policy: &Policy,
    options: &Options,
    context: Context<'_>,
) -> Result<Verdict> {
    let begun = Instant::now();
    say(context, "structure");
    let (source, target) = tokio::try_join!(
        View::open(&clusters.source, Side::Source),
        View::open(&clusters.target, Side::Target)
    )?;
    let mut structure = structure::compare(&source.catalog, &target.catalog, policy);
    structure.seconds = begun.elapsed().as_secs_f64();
    let verification = Verification::new(&source, &target, policy, options, context);
    let mut notes = Vec::new();
    let content = verification.content(&mut notes).await?;
    let reference = Reference::Source(&source.session);
    let large_objects = large_objects(context, &reference, &target, (policy, options)).await?;
    let vectors = match options.vectors {
        true => verification.vectors().await?,
        false => Vectors { matches: true, ..Vectors::default() },
    };
    let recall = if options.quick || options.recall_bots == 0 {
        None
    } else {
        say(context, "recall");
        recall::measure(Some(&source), &target, policy, options, &mut notes).await?
    };
    Ok(Verdict {
        version: 1,
        against: Against::Source,
        matches: structure.matches
            && content.matches
            && large_objects.as_ref().is_none_or(|objects| objects.matches)
            && vectors.matches
            && recall.as_ref().is_none_or(|recall| recall.matches),
        quick: options.quick,
        seconds: begun.elapsed().as_secs_f64(),
        structure: Some(structure),
        content,
        large_objects,
        vectors,
        recall,
        notes,
    })
}

/// Compares large objects, unless only some tables are to be compared.
async fn large_objects(
    context: Context<'_>,
    reference: &Reference<'_>,
    target: &View,
    (policy, options): (&Policy, &Options),
) -> Result<Option<LargeObjects>> {
    if !policy.selects_everything() {
        return Ok(None);
    }
    say(context, "large objects");
    large_object::compare(reference, &target.session, !options.quick).await.map(Some)
}

fn say(context: Context<'_>, what: &str) {
    context.reporter.event(&Event::Verifying { what: what.into(), bytes: 0, bytes_expected: 0 });
}

/// A table that both sides have.
struct Pairing<'a> {
    source: &'a Table,
    target: &'a Table,
    scope: Scope,
}

/// What the sections that read rows share.
struct Verification<'a> {
    source: &'a View,
    target: &'a View,
    policy: &'a Policy,
    options: &'a Options,
    context: Context<'a>,
    pairings: Vec<Pairing<'a>>,
    /// Tables that hold rows on the source and do not exist on the target.
    absent: Vec<&'a Table>,
}

impl<'a> Verification<'a> {
    fn new(
        source: &'a View,
        target: &'a View,
        policy: &'a Policy,
        options: &'a Options,
        context: Context<'a>,
    ) -> Self {
        let (mut pairings, mut absent) = (Vec::new(), Vec::new());
        let selected = source.catalog.inventory.tables.iter();
        for table in selected.filter(|table| table.holds_rows() && policy.selects(table)) {
            let twin = target.catalog.inventory.table(&table.name);
            let Some(twin) = twin.filter(|twin| twin.holds_rows()) else {
                absent.push(table);
                continue;
            };
            let preserved = target.preserved.get(&table.name);
            let scope = Scope::new(table, twin, &policy.knowledge, preserved);
            pairings.push(Pairing { source: table, target: twin, scope });
        }
        Verification { source, target, policy, options, context, pairings, absent }
    }

    /// Jobs of one side: what `reading` says for each part of each table.
    fn jobs(
        &self,
        side: Side,
        reading: impl Fn(&Pairing<'_>, &part::Part) -> Option<Reading>,
    ) -> Vec<Job> {
        let view = self.view(side);
        let version = view.catalog.inventory.server.version_num;
        let mut jobs = Vec::new();
        for (subject, pairing) in self.pairings.iter().enumerate() {
            let table = match side {
                Side::Source => pairing.source,
                Side::Target => pairing.target,
            };
            for part in part::split(table, self.policy.part_bytes, version) {
                if let Some(what) = reading(pairing, &part) {
                    jobs.push(Job { subject, bytes: part.bytes, what });
                }
            }
        }
        jobs
    }

    fn view(&self, side: Side) -> &'a View {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }

    async fn read_both(
        &self,
        reading: impl Fn(Side, &Pairing<'_>, &part::Part) -> Option<Reading>,
    ) -> Result<(Answers, Answers)> {
        let jobs =
            |side| self.jobs(side, |pairing: &Pairing<'_>, part| reading(side, pairing, part));
        let source = (&self.source.place, jobs(Side::Source));
        let target = (&self.target.place, jobs(Side::Target));
        reading::read(self.context, vec![source, target]).await
    }

    /// Compares rows: by digest, or by number when quick or when the target lacks a column.
    async fn content(&self, notes: &mut Vec<String>) -> Result<Content> {
        let begun = Instant::now();
        let digests = !self.options.quick;
        let (mut source, mut target) = self
            .read_both(|_, pairing, part| {
                Some(if digests && pairing.scope.obstacle.is_none() {
                    Reading::Digest(pairing.scope.digest_query(part))
                } else {
                    let sql = pairing.scope.count_query(part);
                    Reading::Query { doing: format!("read {}", pairing.scope.table.plain()), sql }
                })
            })
            .await?;
        let mut content = Content { digests, ..Content::default() };
        for (subject, pairing) in self.pairings.iter().enumerate() {
            let theirs = into_digests(source.remove(&subject), &pairing.scope);
            let ours = into_digests(target.remove(&subject), &pairing.scope);
            content.rows += theirs.total.rows;
            content.source_bytes += theirs.bytes;
            content.target_bytes += ours.bytes;
            let mut table = content::compare(&pairing.scope, digests, (&theirs, &ours));
            if !table.matches && digests && table.obstacle.is_none() {
                self.name_rows(pairing, (&theirs, &ours), &mut table, notes).await?;
            }
            content.tables.push(table);
        }
        content.tables.extend(self.absent.iter().map(|table| content::absent(&table.name, None)));
        content.tables.sort_by(|one, other| one.table.cmp(&other.table));
        content.matches = content.tables.iter().all(|table| table.matches);
        content.seconds = begun.elapsed().as_secs_f64();
        Ok(content)
    }

    /// Finds the rows behind a difference. Rows that differ in generated columns alone are the target's own doing: a
    /// newer server may compute them otherwise, and what they are computed from is the same.
    async fn name_rows(
        &self,
        pairing: &Pairing<'_>,
        (theirs, ours): (&Digests, &Digests),
        table: &mut TableContent,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        say(self.context, &table.table);
        let bots: Vec<BotKey> =
            content::compare_bots(theirs, ours).into_iter().map(|(key, _)| key).collect();
        let scope = &pairing.scope;
        let bots = scope.bot.as_ref().and_then(|bot| content::of_bots(bot, scope.format, &bots));
        let search = Search { scope, source: pairing.source, bots, show: self.options.differences };
        let found = keys::find(&self.source.place, &self.target.place, &search).await?;
        if found.changed > 0
            && found.missing + found.extra == 0
            && found.changed == found.derived
            && found.obstacle.is_none()
        {
            table.matches = true;
            notes.push(format!(
                "table {}: {} rows differ in generated columns only, which the target computes itself",
                table.table, found.changed
            ));
        }
        table.rows_differing = Some(found);
        Ok(())
    }

    /// Counts flawed vectors on both sides.
    async fn vectors(&self) -> Result<Vectors> {
        let begun = Instant::now();
        let (source, target) = self
            .read_both(|side, pairing, part| {
                let columns = asked(side, pairing);
                let schema = &self.view(side).catalog.inventory.extension("vector")?.schema;
                let sql = vector::query(&pairing.scope, part, &columns, schema);
                let doing = format!("read vectors of {}", pairing.scope.table.plain());
                (!columns.is_empty()).then_some(Reading::Query { doing, sql })
            })
            .await?;
        let mut vectors = Vectors::default();
        for (subject, pairing) in self.pairings.iter().enumerate() {
            for (theirs, ours) in vector::columns(pairing.source, pairing.target) {
                let counts = |side, answers: &Answers| {
                    let at =
                        asked(side, pairing).iter().position(|asked| asked.name == ours.name)?;
                    Some(vector::add_up(&answers.get(&subject)?.rows, at))
                };
                let source = counts(Side::Source, &source).filter(|_| theirs.is_vector());
                let target = counts(Side::Target, &target).unwrap_or_default();
                let differences = vector::compare(source.as_ref(), &target);
                vectors.vectors += target.rows - target.nulls;
                vectors.columns.push(VectorColumn {
                    table: pairing.scope.table.plain(),
                    column: ours.name.clone(),
                    matches: differences.is_empty(),
                    source,
                    target,
                    differences,
                });
            }
        }
        vectors.matches = vectors.columns.iter().all(|column| column.matches);
        vectors.seconds = begun.elapsed().as_secs_f64();
        Ok(vectors)
    }
}

/// The vector columns asked about on a side, in the query's order.
fn asked<'a>(side: Side, pairing: &Pairing<'a>) -> Vec<&'a crate::inventory::Column> {
    let columns = vector::columns(pairing.source, pairing.target).into_iter();
    match side {
        Side::Source => columns.map(|pair| pair.0).filter(|column| column.is_vector()).collect(),
        Side::Target => columns.map(|pair| pair.1).collect(),
    }
}

/// An answer to either reading as digests.
fn into_digests(answer: Option<Answer>, scope: &Scope) -> Digests {
    let answer = answer.unwrap_or_default();
    let mut digests = content::counted(&answer.rows, scope.bot.is_some());
    digests += answer.digests;
    digests
}
