//! Proof without the source: the target's rows against the digests that were recorded while they were copied.
//!
//! The source may be gone (a temporary cluster, deleted after the move) and is never contacted. The digests are sums
//! over rows, so the target is read in parts that suit the target. What takes the source cannot be told: structure,
//! and which rows of a bot differ.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::content::{self, Content, Scope, Sum, TableContent};
use super::large_object::Reference;
use super::lineage::{self, Lineage};
use super::reading::{self, Answers, Context, Job, Reading};
use super::snapshot::View;
use super::vector::{self, VectorColumn, Vectors};
use super::verification::into_digests;
use super::{Against, Answer, Options, Verdict, embedded, large_objects, recall, say};
use crate::copy::digest::{Digest, Digests};
use crate::copy::part::{self, Part};
use crate::error::{Error, Result, Side};
use crate::inventory::{Column, Table};
use crate::pg::{Dsn, QualifiedName};
use crate::phase::{Phase, Route};
use crate::policy::Policy;
use crate::report::Reporter;
use crate::store::{MigrationRecord, RelationRecord};

/// Tables named in a note; the rest is counted.
const NAMED: usize = 5;

/// Compares the target with what `migrate` recorded on it. Reads only the target.
///
/// # Errors
/// [`Error::Refused`] when the target holds no record of a finished migration, [`Error::Postgres`] when it cannot be
/// read, [`Error::Interrupted`] when cancelled. A mismatch is no error.
pub async fn verify_recorded(
    target: &Dsn,
    policy: &Policy,
    options: &Options,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Verdict> {
    let context = Context { reporter, cancel, jobs: policy.jobs };
    // On the heap, as in `verify`.
    let run = Box::pin(run(target, policy, options, context));
    cancel.run_until_cancelled(run).await.unwrap_or(Err(Error::Interrupted))
}

async fn run(
    target: &Dsn,
    policy: &Policy,
    options: &Options,
    context: Context<'_>,
) -> Result<Verdict> {
    let begun = Instant::now();
    say(context, "record");
    let target = View::open(target, Side::Target).await?;
    let base = comparable(&target.lineage)?;
    let verification = Verification::read(&target, base, policy, options, context).await?;
    let mut notes = verification.limits(base);
    notes.extend(target.lineage.notes());
    let content = verification.content().await?;
    let large_objects = match base {
        Some(record) => {
            let reference = Reference::Record { session: &target.session, migration: &record.id };
            large_objects(context, &reference, &target, (policy, options)).await?
        }
        None => None,
    };
    let vectors = verification.vectors().await?;
    let mut not_proven = Vec::new();
    let embedded = embedded(context, &target, (policy, options), &mut not_proven).await?;
    if base.is_none() && embedded.is_none() {
        return Err(nothing());
    }
    if !content.matches {
        notes.push("which rows differ cannot be told without the source".into());
    }
    let recall = if options.quick || options.recall_bots == 0 {
        None
    } else {
        say(context, "recall");
        recall::measure(None, &target, policy, options, &mut notes).await?
    };
    let verdict = Verdict {
        version: 1,
        against: Against::Record,
        matches: false,
        answer: Answer::NotProven,
        following: false,
        in_use: None,
        waited_seconds: 0.0,
        not_proven,
        quick: options.quick,
        seconds: begun.elapsed().as_secs_f64(),
        structure: None,
        content,
        large_objects,
        vectors,
        embedded,
        recall,
        notes,
    };
    Ok(verdict.answered())
}

/// The migration whose copied rows are compared; `None` where bots were embedded and nothing was copied.
fn comparable(lineage: &Lineage) -> Result<Option<&MigrationRecord>> {
    match &lineage.base {
        Some(record) if is_comparable(record.route, record.phase) => Ok(Some(record)),
        None if !lineage.embeddings.is_empty() => Ok(None),
        other => Err(refusal(other.as_ref())),
    }
}

/// Whether the record tells all that the target should hold: everything is copied, and nothing was applied since.
fn is_comparable(route: Route, phase: Phase) -> bool {
    match route {
        Route::Copy => phase == Phase::Done,
        // What was copied is all there; bots that are embedded anew are left out.
        Route::Delta => route.is_past(Phase::Analyze, phase),
        // Nothing was copied, and it is nobody's base.
        Route::Reembed => false,
        Route::FollowApplyLast | Route::FollowApplyFirst => {
            route.is_past(Phase::Sequences, phase) && !route.is_past(Phase::Subscribe, phase)
        }
    }
}

fn refusal(record: Option<&MigrationRecord>) -> Error {
    let (what, hint) = match record {
        None => (
            "the target holds no record of a migration to compare with".to_owned(),
            "compare with the source: `vecferry verify` without --recorded (cleanup removes the record)",
        ),
        Some(record) if record.route.is_past(Phase::Subscribe, record.phase) => (
            "the target follows its source or did: it holds more than was recorded while rows were copied".to_owned(),
            "compare with the source: `vecferry verify` without --recorded, which waits for what is under way",
        ),
        Some(record) => (
            format!(
                "the migration on the target is not finished (phase {}), so its record is not complete",
                record.phase
            ),
            "run `vecferry migrate` to its end first; `vecferry status` shows where it stopped",
        ),
    };
    Error::Refused { side: Side::Target, what, hint: Some(hint.into()) }
}

fn nothing() -> Error {
    Error::Refused {
        side: Side::Target,
        what: "nothing was copied to the target, and no bot of the knowledge table is recorded as embedded"
            .into(),
        hint: Some("`vecferry status` shows how far the migration is".into()),
    }
}

/// A table of the record that the target has.
struct Subject<'a> {
    target: &'a Table,
    scope: Scope,
    recorded: Digests,
}

struct Verification<'a> {
    target: &'a View,
    policy: &'a Policy,
    options: &'a Options,
    context: Context<'a>,
    subjects: Vec<Subject<'a>>,
    /// Tables of the record that the target does not have, with the rows they should hold.
    absent: Vec<(QualifiedName, Digest)>,
    /// Tables of the target that hold rows and are not in the record.
    unknown: Vec<String>,
}

impl<'a> Verification<'a> {
    /// Reads the record of the migration that copied rows; there is nothing to compare without one.
    async fn read(
        target: &'a View,
        record: Option<&MigrationRecord>,
        policy: &'a Policy,
        options: &'a Options,
        context: Context<'a>,
    ) -> Result<Self> {
        let inventory = &target.catalog.inventory;
        let (mut subjects, mut absent, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        let Some(record) = record else {
            return Ok(Verification {
                target,
                policy,
                options,
                context,
                subjects,
                absent,
                unknown,
            });
        };
        let records = RelationRecord::all(&target.session, &record.id).await?;
        let known = |name: &QualifiedName| records.iter().any(|one| one.relation.name == *name);
        let rest = inventory.tables.iter().filter(|table| table.holds_rows());
        let rest = rest.filter(|table| policy.selects(table) && !known(&table.name));
        unknown.extend(rest.map(|table| table.name.plain()));
        for one in &records {
            let name = &one.relation.name;
            let table = inventory.table(name).filter(|table| table.holds_rows());
            if !table.map_or_else(|| selects_name(policy, name), |table| policy.selects(table)) {
                continue;
            }
            let mut recorded = one.digests(&target.session, &record.id).await?;
            if one.relation.bot.is_some() && !adds_up(&recorded) {
                return Err(contradiction(name));
            }
            let left_out = target.preserved.get(name);
            match table {
                None => absent.push((name.clone(), recorded.total)),
                Some(table) => {
                    let scope = Scope::recorded(&one.relation, table, left_out);
                    if !target.lineage.embeddings.is_empty() {
                        lineage::leave_out(&mut recorded, &scope, left_out)?;
                    }
                    subjects.push(Subject { target: table, scope, recorded });
                }
            }
        }
        Ok(Verification { target, policy, options, context, subjects, absent, unknown })
    }

    /// What the answer does not cover.
    fn limits(&self, record: Option<&MigrationRecord>) -> Vec<String> {
        let Some(record) = record else {
            return vec![
                "nothing was copied: only bots that were embedded are looked at".to_owned(),
            ];
        };
        let finished = record.finished_at.as_deref().unwrap_or(&record.updated_at);
        let mut notes = vec![
            format!(
                "compared with what migration {} copied until {finished}, not with the source: what was written there since is not known",
                record.id
            ),
            "structure, sequences and generated columns were not compared: only the source tells"
                .to_owned(),
        ];
        if !self.unknown.is_empty() {
            let named = self.unknown.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = match self.unknown.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            notes.push(format!("not in the record, and not compared: {named}{more}"));
        }
        notes
    }

    async fn ask(
        &self,
        reading: impl Fn(&Subject<'_>, &Part) -> Option<Reading>,
    ) -> Result<Answers> {
        let version = self.target.catalog.inventory.server.version_num;
        let mut jobs = Vec::new();
        for (number, subject) in self.subjects.iter().enumerate() {
            for part in part::split(subject.target, self.policy.part_bytes, version) {
                if let Some(what) = reading(subject, &part) {
                    jobs.push(Job { subject: number, bytes: part.bytes, what });
                }
            }
        }
        let (_, answers) = reading::read(self.context, vec![(&self.target.place, jobs)]).await?;
        Ok(answers)
    }

    async fn content(&self) -> Result<Content> {
        let begun = Instant::now();
        let digests = !self.options.quick;
        let by_digest = |scope: &Scope| digests && scope.obstacle.is_none();
        let mut answers = self
            .ask(|subject, part| {
                let scope = &subject.scope;
                Some(if by_digest(scope) {
                    Reading::Digest(scope.digest_query(part))
                } else {
                    let doing = format!("read {}", scope.table.plain());
                    Reading::Query { doing, sql: scope.count_query(part) }
                })
            })
            .await?;
        let mut content = Content { digests, ..Content::default() };
        for (number, Subject { scope, recorded, .. }) in self.subjects.iter().enumerate() {
            let ours = into_digests(answers.remove(&number), scope);
            content.rows += recorded.total.rows;
            content.target_bytes += ours.bytes;
            content.tables.push(judge(scope, digests, recorded, ours));
        }
        content.tables.extend(self.absent.iter().map(|(name, digest)| {
            let sum = Sum { rows: digest.rows, digest: digests.then(|| digest.hex()) };
            content::absent(name, Some(sum))
        }));
        content.tables.sort_by(|one, other| one.table.cmp(&other.table));
        content.matches = content.tables.iter().all(|table| table.matches);
        content.seconds = begun.elapsed().as_secs_f64();
        Ok(content)
    }

    /// Counts flawed vectors. Nothing is judged: the digests say that they are the ones that were copied.
    async fn vectors(&self) -> Result<Vectors> {
        let begun = Instant::now();
        let answers = self
            .ask(|subject, part| {
                let columns = vector_columns(subject.target);
                let schema = &self.target.catalog.inventory.extension("vector")?.schema;
                let sql = vector::query(&subject.scope, part, &columns, schema);
                let doing = format!("read vectors of {}", subject.scope.table.plain());
                (!columns.is_empty()).then_some(Reading::Query { doing, sql })
            })
            .await?;
        let mut vectors = Vectors { matches: true, ..Vectors::default() };
        for (number, subject) in self.subjects.iter().enumerate() {
            let Some(answer) = answers.get(&number) else { continue };
            for (at, column) in vector_columns(subject.target).into_iter().enumerate() {
                let target = vector::add_up(&answer.rows, at);
                vectors.vectors += target.rows - target.nulls;
                vectors.columns.push(VectorColumn {
                    table: subject.scope.table.plain(),
                    column: column.name.clone(),
                    matches: true,
                    proven: true,
                    source: None,
                    target,
                    differences: Vec::new(),
                });
            }
        }
        vectors.seconds = begun.elapsed().as_secs_f64();
        Ok(vectors)
    }
}

fn vector_columns(table: &Table) -> Vec<&Column> {
    table.columns.iter().filter(|column| column.is_vector()).collect()
}

/// What is said about a table. Rows that were only counted are compared with recorded numbers of rows.
fn judge(scope: &Scope, digests: bool, recorded: &Digests, mut ours: Digests) -> TableContent {
    if digests && scope.obstacle.is_none() {
        return content::compare(scope, true, (recorded, &ours));
    }
    let theirs = content::as_counted(recorded, scope);
    if theirs.bots.is_empty() {
        ours.bots.clear();
    }
    content::compare(scope, false, (&theirs, &ours))
}

/// Whether the bots' digests are those of all rows.
fn adds_up(recorded: &Digests) -> bool {
    let mut sum = Digest::default();
    recorded.bots.values().for_each(|bot| sum += *bot);
    sum == recorded.total
}

fn contradiction(table: &QualifiedName) -> Error {
    Error::Refused {
        side: Side::Target,
        what: format!(
            "the record contradicts itself: the bots of {} do not add up to its rows",
            table.plain()
        ),
        hint: Some("compare with the source: `vecferry verify` without --recorded".into()),
    }
}

/// [`Policy::selects`] for a table that is not there to be asked.
pub(super) fn selects_name(policy: &Policy, name: &QualifiedName) -> bool {
    let matches =
        |patterns: &[crate::policy::Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
    (policy.include.is_empty() || matches(&policy.include)) && !matches(&policy.exclude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::digest::BotKey;
    use crate::policy::Pattern;

    #[test]
    fn a_record_whose_bots_are_not_all_rows_contradicts_itself() {
        let part = Digest { rows: 1, sum: u128::MAX };
        let bots = [(BotKey(None), part), (BotKey(Some(vec![1])), part)];
        let mut recorded = Digests { bots: bots.into_iter().collect(), ..Digests::default() };
        recorded.total = Digest { rows: 2, sum: u128::MAX - 1 };
        assert!(adds_up(&recorded) && adds_up(&Digests::default()));
        recorded.total.rows = 3;
        assert!(!adds_up(&recorded));
    }

    #[test]
    fn the_record_of_a_follow_tells_all_only_until_changes_are_applied() {
        for (route, phase, comparable) in [
            (Route::Copy, Phase::Done, true),
            (Route::Copy, Phase::Analyze, false),
            (Route::Delta, Phase::Analyze, false),
            (Route::Delta, Phase::Embedding, true),
            (Route::Delta, Phase::Done, true),
            (Route::FollowApplyLast, Phase::Rows, false),
            (Route::FollowApplyLast, Phase::Indexes, true),
            (Route::FollowApplyLast, Phase::Subscribe, true),
            (Route::FollowApplyLast, Phase::CatchUp, false),
            (Route::FollowApplyLast, Phase::Done, false),
            (Route::FollowApplyFirst, Phase::Keys, true),
            (Route::FollowApplyFirst, Phase::Indexes, false),
        ] {
            assert_eq!(is_comparable(route, phase), comparable, "{route:?} {phase:?}");
        }
    }

    #[test]
    fn a_table_that_is_gone_is_selected_by_its_name() {
        let name = QualifiedName::new("public", "items");
        let policy = |include: &[&str], exclude: &[&str]| {
            let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect();
            Policy { include: patterns(include), exclude: patterns(exclude), ..Policy::default() }
        };
        assert!(selects_name(&policy(&[], &[]), &name));
        assert!(selects_name(&policy(&["public.*"], &["other"]), &name));
        assert!(!selects_name(&policy(&["other"], &[]), &name));
        assert!(!selects_name(&policy(&[], &["item?"]), &name));
    }
}
