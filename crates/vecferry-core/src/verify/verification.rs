//! The sections of [`super::verify`] that read rows of both sides: the first pass, what it leads to, and the vectors.

use std::time::Instant;

use super::content::{self, Content, Scope, TableContent};
use super::keys::{self, Places, RowDifferences, Search};
use super::moment::Flow;
use super::reading::{self, Answers, Context, Gathered, Job, Reading};
use super::settle::{self, Doubt, Thing};
use super::snapshot::View;
use super::vector::{self, VectorColumn, Vectors};
use super::{Options, say};
use crate::copy::digest::{BotKey, Digests};
use crate::copy::part;
use crate::error::{Result, Side};
use crate::inventory::Table;
use crate::policy::Policy;

/// A table that both sides have.
pub(super) struct Pairing<'a> {
    pub(super) source: &'a Table,
    pub(super) target: &'a Table,
    pub(super) scope: Scope,
}

/// What the sections that read rows share.
pub(super) struct Verification<'a> {
    source: &'a View,
    target: &'a View,
    pub(super) policy: &'a Policy,
    pub(super) options: &'a Options,
    pub(super) context: Context<'a>,
    pub(super) pairings: Vec<Pairing<'a>>,
    /// Tables that hold rows on the source and do not exist on the target.
    absent: Vec<&'a Table>,
}

impl<'a> Verification<'a> {
    pub(super) fn new(
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

    pub(super) fn view(&self, side: Side) -> &'a View {
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

    /// Compares rows and vectors, reading again what changes under way make differ. Also says what is not proven.
    pub(super) async fn rows(
        &self,
        flow: Option<&Flow>,
        notes: &mut Vec<String>,
    ) -> Result<(Content, Vectors, Vec<String>)> {
        let (mut content, mut differing) = self.first_pass().await?;
        let mut vectors = match self.options.vectors {
            true => self.vectors().await?,
            false => Vectors { matches: true, ..Vectors::default() },
        };
        let begun = Instant::now();
        let mut not_proven = Vec::new();
        if let Some(flow) = flow {
            let settlement = self.settle(flow, self.doubts(flow, &content, &differing, &vectors));
            let settlement = settlement.await?;
            for (subject, table) in content.tables.iter_mut().enumerate() {
                let keys = &mut differing[subject];
                not_proven.extend(settle::correct_rows(table, subject, keys, &settlement));
                let name = (subject, table.table.as_str());
                not_proven.extend(settle::correct_vectors(&mut vectors, name, &settlement));
            }
        }
        self.name_rows(flow, &mut content, &differing, notes).await?;
        content.tables.extend(self.absent.iter().map(|table| content::absent(&table.name, None)));
        content.tables.sort_by(|one, other| one.table.cmp(&other.table));
        content.matches = content.tables.iter().all(|table| table.matches);
        content.seconds += begun.elapsed().as_secs_f64();
        Ok((content, vectors, not_proven))
    }

    /// Compares rows once: by digest, or by number when quick or when the target lacks a column. Tables stand in the
    /// order of the pairings, each with the bots that differ.
    async fn first_pass(&self) -> Result<(Content, Vec<Vec<BotKey>>)> {
        let begun = Instant::now();
        let digests = !self.options.quick;
        let (mut source, mut target) = self
            .read_both(|_, pairing, part| Some(self.rows_reading(&pairing.scope, part)))
            .await?;
        let mut content = Content { digests, ..Content::default() };
        let mut differing = Vec::new();
        for (subject, pairing) in self.pairings.iter().enumerate() {
            let theirs = into_digests(source.remove(&subject), &pairing.scope);
            let ours = into_digests(target.remove(&subject), &pairing.scope);
            content.rows += theirs.total.rows;
            content.source_bytes += theirs.bytes;
            content.target_bytes += ours.bytes;
            let keys = content::compare_bots(&theirs, &ours).into_iter().map(|(key, _)| key);
            differing.push(keys.collect());
            content.tables.push(content::compare(&pairing.scope, digests, (&theirs, &ours)));
        }
        content.seconds = begun.elapsed().as_secs_f64();
        Ok((content, differing))
    }

    /// What differed at first and may be on its way.
    fn doubts(
        &self,
        flow: &Flow,
        content: &Content,
        differing: &[Vec<BotKey>],
        vectors: &Vectors,
    ) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for (subject, pairing) in self.pairings.iter().enumerate() {
            let table = &content.tables[subject];
            if flow.link(&pairing.source.name).is_none() || table.obstacle.is_some() {
                continue;
            }
            if !table.matches && pairing.scope.bot.is_none() {
                doubts.push((subject, Thing::Rows));
            }
            let bots = differing[subject].iter().cloned();
            doubts.extend(bots.map(|bot| (subject, Thing::Bot(bot))));
            let mut flawed = vectors.columns.iter().filter(|column| !column.matches);
            if flawed.any(|column| column.table == table.table) {
                doubts.push((subject, Thing::Vectors));
            }
        }
        doubts
    }

    /// Finds the rows behind the differences that are proven.
    async fn name_rows(
        &self,
        flow: Option<&Flow>,
        content: &mut Content,
        differing: &[Vec<BotKey>],
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let tables = content.tables.iter_mut().enumerate();
        let mut wrong: Vec<(usize, &mut TableContent)> = tables
            .filter(|(_, table)| !table.matches && table.proven && table.obstacle.is_none())
            .collect();
        if wrong.is_empty() || self.options.quick {
            return Ok(());
        }
        let moments = match flow {
            Some(flow) => {
                let names = wrong.iter().map(|(at, _)| &self.pairings[*at].source.name);
                Some(flow.two_rounds(&names.collect::<Vec<_>>()).await?)
            }
            None => None,
        };
        for (subject, table) in &mut wrong {
            let pairing = &self.pairings[*subject];
            say(self.context, &table.table);
            let link = flow.and_then(|flow| flow.link(&pairing.source.name));
            let (places, stuck) = match (&moments, link) {
                (Some(moments), Some(link)) => (moments.places(), moments.stuck(link)),
                _ => {
                    let first = (&self.source.place, &self.target.place);
                    (Places { first, again: None }, None)
                }
            };
            if let Some(why) = stuck {
                let obstacle = Some(format!("rows could not be compared at one moment: {why}"));
                table.rows_differing = Some(RowDifferences { obstacle, ..Default::default() });
                continue;
            }
            self.name_rows_of(pairing, (&places, &differing[*subject]), table, notes).await?;
        }
        Ok(())
    }

    /// Finds the rows behind a difference. Rows that differ in generated columns alone are the target's own doing: a
    /// newer server may compute them otherwise, and what they are computed from is the same.
    async fn name_rows_of(
        &self,
        pairing: &Pairing<'_>,
        (places, bots): (&Places<'_>, &[BotKey]),
        table: &mut TableContent,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let scope = &pairing.scope;
        let bots = scope.bot.as_ref().and_then(|bot| content::of_bots(bot, scope.format, bots));
        let search = Search { scope, source: pairing.source, bots, show: self.options.differences };
        let mut found = keys::find(places, &search).await?;
        let derived_only = found.changed > 0
            && found.missing + found.extra + found.changing == 0
            && found.changed == found.derived
            && found.obstacle.is_none();
        if derived_only && table.bots_differing.iter().all(|bot| bot.proven) {
            table.matches = true;
            notes.push(format!(
                "table {}: {} rows differ in generated columns only, which the target computes itself",
                table.table, found.changed
            ));
        }
        if found.changing > 0 {
            notes.push(format!(
                "table {}: rows were compared at one moment; {} were written to meanwhile and are not judged",
                table.table, found.changing
            ));
        }
        if found.changing > 0 && found.missing + found.extra + found.changed == 0 {
            let obstacle =
                "the rows that differ are being written to; verify again to see them named";
            found.obstacle = found.obstacle.or(Some(obstacle.into()));
        }
        table.rows_differing = Some(found);
        Ok(())
    }

    /// The query that counts flawed vectors of a part; `None` where there are no vectors.
    pub(super) fn vectors_reading(
        &self,
        side: Side,
        pairing: &Pairing<'_>,
        part: &part::Part,
    ) -> Option<Reading> {
        let columns = asked(side, pairing);
        let schema = &self.view(side).catalog.inventory.extension("vector")?.schema;
        let sql = vector::query(&pairing.scope, part, &columns, schema);
        let doing = format!("read vectors of {}", pairing.scope.table.plain());
        (!columns.is_empty()).then_some(Reading::Query { doing, sql })
    }

    /// Counts flawed vectors on both sides.
    async fn vectors(&self) -> Result<Vectors> {
        let begun = Instant::now();
        let (source, target) =
            self.read_both(|side, pairing, part| self.vectors_reading(side, pairing, part)).await?;
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
                    proven: true,
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
pub(super) fn asked<'a>(side: Side, pairing: &Pairing<'a>) -> Vec<&'a crate::inventory::Column> {
    let columns = vector::columns(pairing.source, pairing.target).into_iter();
    match side {
        Side::Source => columns.map(|pair| pair.0).filter(|column| column.is_vector()).collect(),
        Side::Target => columns.map(|pair| pair.1).collect(),
    }
}

/// An answer to either reading as digests.
pub(super) fn into_digests(answer: Option<Gathered>, scope: &Scope) -> Digests {
    let answer = answer.unwrap_or_default();
    let mut digests = content::counted(&answer.rows, scope.bot.is_some());
    digests += answer.digests;
    digests
}
