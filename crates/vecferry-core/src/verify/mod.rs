//! Proof that the target holds what the source holds: structure, rows, vectors, and how well the index finds them.
//!
//! Both sides are read at the same time, each in one exported snapshot, so that a source in use is compared with
//! itself at one moment. While changes flow between the clusters ([`moment::Flow`]) the two snapshots never show the
//! same moment: what differs is then read again ([`settle`]) until it is equal or proven different ([`reread`]).
//! Bots that were embedded anew are not the source's ([`lineage`]); they are held against their record ([`mod@embedded`]).
//! Every judgement is a pure function over what was read; nothing here changes either cluster.

pub mod content;
pub mod embedded;
mod expression;
pub mod keys;
pub mod large_object;
mod lineage;
mod moment;
mod reading;
pub mod recall;
mod recorded;
mod reread;
mod rows;
mod settle;
mod snapshot;
pub mod structure;
pub mod vector;
mod verification;

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, Side};
use crate::policy::{Clusters, Policy};
use crate::report::{Event, Reporter};
use content::Content;
use embedded::Embedded;
use large_object::{LargeObjects, Reference};
use moment::Flow;
use reading::Context;
use recall::Recall;
use snapshot::View;
use structure::Structure;
use vector::Vectors;
use verification::Verification;

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
    /// While changes flow between the clusters: how often what differs is read again before it counts as still
    /// changing; at least 2.
    pub read_again: usize,
    /// While changes flow between the clusters: how long to wait for apply before each reading.
    pub apply_wait: Duration,
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
            read_again: 10,
            apply_wait: Duration::from_secs(120),
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

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Everything that was compared is the same.
    Matches,
    /// Something is not the same, whatever is under way.
    Differs,
    /// Nothing is known to differ, and not everything could be shown to be the same.
    NotProven,
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
    /// The same in one word, which tells a difference from what could not be proven.
    pub answer: Answer,
    /// Whether changes were flowing between the clusters, so that what differed at first was read again.
    pub following: bool,
    /// The cluster those changes come from; the other one lags.
    pub in_use: Option<Side>,
    /// How long was waited for apply, so that what is under way does not count as a difference.
    pub waited_seconds: f64,
    /// What could not be shown to be the same, and why.
    pub not_proven: Vec<String>,
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
    /// Bots that were embedded anew, or whose rows were removed; `None` where there are none.
    pub embedded: Option<Embedded>,
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
    // On the heap: what it holds on the way is large, and whoever calls it may be deep in a stack of 2 MiB.
    let run = Box::pin(run(clusters, policy, options, context));
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
    let flow = Flow::find(clusters, (&source, &target), options.apply_wait).await?;
    let flow = flow.as_ref();
    let mut structure = structure::compare_during(
        &source.catalog,
        &target.catalog,
        policy,
        flow.map(Flow::progress).unwrap_or_default(),
    );
    structure.seconds = begun.elapsed().as_secs_f64();
    let verification = Verification::new(&source, &target, policy, options, context);
    let mut notes = Vec::new();
    if flow.is_none() {
        notes.extend(moment::after_cutover(&target.session).await?);
        notes.extend(target.lineage.notes());
    }
    let reference = Reference::Source(&source.session);
    let mut large_objects = large_objects(context, &reference, &target, (policy, options)).await?;
    let (content, vectors, mut not_proven) = verification.rows(flow, &mut notes).await?;
    let embedded = embedded(context, &target, (policy, options), &mut not_proven).await?;
    let mut recall = if options.quick || options.recall_bots == 0 {
        None
    } else {
        say(context, "recall");
        measure_recall(clusters, (&source, &target), policy, (options, flow), &mut notes).await?
    };
    if flow.is_some() {
        excuse(large_objects.as_mut(), recall.as_mut(), &content, &mut notes);
    }
    let verdict = Verdict {
        version: 1,
        against: Against::Source,
        matches: false,
        answer: Answer::NotProven,
        following: flow.is_some(),
        in_use: flow.map(|flow| flow.sender),
        waited_seconds: flow.map_or(0.0, |flow| flow.waited().as_secs_f64()),
        not_proven,
        quick: options.quick,
        seconds: begun.elapsed().as_secs_f64(),
        structure: Some(structure),
        content,
        large_objects,
        vectors,
        embedded,
        recall,
        notes,
    };
    Ok(verdict.answered())
}

impl Verdict {
    /// With the answer to all that was found.
    fn answered(mut self) -> Verdict {
        self.answer = answer(&self);
        self.matches = self.answer == Answer::Matches;
        self
    }
}

/// What everything that was found comes to: one proven difference is enough, and equality takes proof of everything.
fn answer(found: &Verdict) -> Answer {
    let Verdict { structure, content, large_objects, vectors, recall, not_proven, .. } = found;
    let embedded = found.embedded.as_ref();
    let differs = structure.as_ref().is_some_and(|structure| !structure.matches)
        || content.tables.iter().any(|table| !table.matches && table.proven)
        || vectors.columns.iter().any(|column| !column.matches && column.proven)
        || large_objects.as_ref().is_some_and(|objects| !objects.matches)
        || embedded.is_some_and(Embedded::differs)
        || recall.as_ref().is_some_and(|recall| !recall.matches);
    if differs {
        Answer::Differs
    } else if content.matches && vectors.matches && not_proven.is_empty() {
        Answer::Matches
    } else {
        Answer::NotProven
    }
}

/// Measures recall; while changes flow, in snapshots of now: what was written since an old one fills the index with
/// rows that it does not show, which a search then passes over in vain.
async fn measure_recall(
    clusters: &Clusters,
    (source, target): (&View, &View),
    policy: &Policy,
    (options, flow): (&Options, Option<&Flow>),
    notes: &mut Vec<String>,
) -> Result<Option<Recall>> {
    if flow.is_none() {
        return recall::measure(Some(source), target, policy, options, notes).await;
    }
    let (source, target) = tokio::try_join!(
        View::open(&clusters.source, Side::Source),
        View::open(&clusters.target, Side::Target)
    )?;
    recall::measure(Some(&source), &target, policy, options, notes).await
}

/// What is no mismatch while changes flow: replication does not carry large objects, and two searches in rows that
/// are being written find what they find.
fn excuse(
    objects: Option<&mut LargeObjects>,
    recall: Option<&mut Recall>,
    content: &Content,
    notes: &mut Vec<String>,
) {
    if let Some(objects) = objects.filter(|objects| !objects.matches) {
        objects.matches = true;
        notes.push(format!(
            "large objects written since they were copied are not carried by replication: {} missing, {} changed; copy them before the cutover if they are needed",
            objects.missing, objects.changed
        ));
    }
    let in_use = content.tables.iter().any(|table| table.read_again > 0);
    if let Some(recall) = recall.filter(|recall| !recall.matches && in_use) {
        recall.matches = true;
        notes.push(
            "recall on the target is below the source's by more than the tolerance, which is not judged while the bots are written to"
                .into(),
        );
    }
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

/// Holds bots that were embedded anew against their record, and says which of them are still to be.
async fn embedded(
    context: Context<'_>,
    target: &View,
    (policy, options): (&Policy, &Options),
    not_proven: &mut Vec<String>,
) -> Result<Option<Embedded>> {
    if !target.lineage.embeddings.is_empty() {
        say(context, "embedded bots");
    }
    let embedded = embedded::compare(target, policy, options.vectors).await?;
    not_proven.extend(embedded.as_ref().and_then(Embedded::not_proven));
    Ok(embedded)
}

fn say(context: Context<'_>, what: &str) {
    context.reporter.event(&Event::Verifying { what: what.into(), bytes: 0, bytes_expected: 0 });
}
