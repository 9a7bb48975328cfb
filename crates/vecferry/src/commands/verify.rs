//! `verify`: proves the target, and shows what does not match.

mod embedded;

use std::time::Duration;

use vecferry_core::Side;
use vecferry_core::verify::content::{Content, Standing, TableContent};
use vecferry_core::verify::keys::RowDifferences;
use vecferry_core::verify::large_object::LargeObjects;
use vecferry_core::verify::recall::{Found, Recall};
use vecferry_core::verify::structure::{Difference, Structure};
use vecferry_core::verify::vector::Vectors;
use vecferry_core::verify::{Against, Answer, Options, Verdict, verify, verify_recorded};

use crate::cli::{Verify, Work};
use crate::error::{Error, Exit};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::ui::{Colour, Ui, table};
use crate::units::{count, counted, duration, size};

/// Lines of a kind that are shown before the rest is counted; `--json` has them all.
const SHOWN: usize = 20;

/// Runs the command.
pub(crate) async fn run(args: &Verify, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let work = Work { jobs: args.jobs, ..Work::default() };
    let policy = settings.policy(&args.selection, &work);
    let options = options(args);
    let verdict = if args.recorded {
        let target = settings.target().await?;
        let interrupt = Interrupt::listen(ui)?;
        let progress = Progress::of_result(ui);
        let verdict =
            verify_recorded(&target, &policy, &options, &progress, &interrupt.token).await;
        progress.finish();
        verdict?
    } else {
        let clusters = settings.clusters().await?;
        let interrupt = Interrupt::listen(ui)?;
        let progress = Progress::of_result(ui);
        let verdict = verify(&clusters, &policy, &options, &progress, &interrupt.token).await;
        progress.finish();
        verdict?
    };
    if ui.json {
        ui.data_json(&verdict)?;
    } else {
        ui.data(&render(&verdict, ui))?;
    }
    Ok(if verdict.matches { Exit::Done } else { Exit::No })
}

fn options(args: &Verify) -> Options {
    let default = Options::default();
    Options {
        quick: args.quick,
        vectors: default.vectors,
        differences: args.differences.unwrap_or(default.differences),
        recall_queries: args.recall_queries.unwrap_or(default.recall_queries),
        recall_bots: args.recall_bots.unwrap_or(default.recall_bots),
        recall_time: args
            .recall_seconds
            .map_or(default.recall_time, |seconds| Duration::from_secs(seconds.into())),
        recall_tolerance: args.recall_tolerance.unwrap_or(default.recall_tolerance),
        apply_wait: args
            .apply_wait
            .map_or(default.apply_wait, |seconds| Duration::from_secs(seconds.into())),
        read_again: default.read_again,
    }
}

fn render(verdict: &Verdict, ui: &Ui) -> String {
    let mut blocks = vec![overview(verdict, ui)];
    blocks.extend(verdict.structure.as_ref().and_then(structure_differences));
    blocks.extend(table_differences(&verdict.content, verdict.against));
    let wrong = verdict.content.tables.iter().filter(|table| !table.matches);
    blocks.extend(wrong.map(|table| details(table, verdict.against)));
    blocks.extend(verdict.large_objects.as_ref().and_then(object_differences));
    blocks.extend(vector_differences(&verdict.vectors));
    blocks.extend(verdict.embedded.iter().flat_map(embedded::differences));
    if let Some(recall) = verdict.recall.as_ref().filter(|recall| ui.verbose > 0 || !recall.matches)
    {
        blocks.push(bots(recall));
    }
    let notes =
        verdict.notes.iter().chain(verdict.structure.iter().flat_map(|structure| &structure.notes));
    let notes: Vec<String> = notes.map(|note| format!("note: {note}")).collect();
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    blocks.extend(read_again(verdict));
    let not_proven: Vec<String> =
        verdict.not_proven.iter().map(|why| format!("not proven: {why}")).collect();
    blocks.push(not_proven.join("\n"));
    blocks.push(conclusion(verdict, ui));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n")
}

fn overview(verdict: &Verdict, ui: &Ui) -> String {
    let judged = |name: &str, said: String, what: String, seconds: f64| {
        vec![name.to_owned(), said, what, duration(seconds)]
    };
    let row = |name: &str, matches, what, seconds| judged(name, answer(matches, ui), what, seconds);
    let Verdict { structure, content, large_objects, vectors, embedded, recall, .. } = verdict;
    let mut rows = Vec::new();
    if let Some(structure) = structure {
        rows.push(row("structure", structure.matches, compared(structure), structure.seconds));
    }
    let proven = |all_proven: bool, matches| match all_proven {
        true => answer(matches, ui),
        false => ui.coloured(Colour::Yellow, "not proven"),
    };
    let certain = content.matches || content.tables.iter().any(|one| !one.matches && one.proven);
    let said = proven(certain, content.matches);
    // After a re-embedding nothing was copied that could be compared with its record.
    if !content.tables.is_empty() || embedded.is_none() {
        rows.push(judged("rows", said, rows_compared(content), content.seconds));
    }
    if let Some(objects) = large_objects.as_ref().filter(|one| one.objects + one.extra > 0) {
        let amount = counted(objects.objects, "object");
        let how = match objects.digests {
            true => format!("{amount} by content, {}", size(objects.bytes)),
            false => format!("{amount}, by number only"),
        };
        rows.push(row("large objects", objects.matches, how, objects.seconds));
    }
    if !vectors.columns.is_empty() {
        let columns = counted(vectors.columns.len() as u64, "column");
        let what = format!("{} in {columns}", counted(vectors.vectors, "vector"));
        let wrong = vectors.columns.iter().any(|one| !one.matches && one.proven);
        let said = proven(vectors.matches || wrong, vectors.matches);
        rows.push(judged("vectors", said, what, vectors.seconds));
    }
    if let Some(embedded) = embedded {
        let said = proven(embedded.matches || embedded.differs(), embedded.matches);
        rows.push(judged("embedded", said, embedded::looked_at(embedded), embedded.seconds));
    }
    if let Some(recall) = recall {
        rows.push(row("recall", recall.matches, recall_measured(recall), recall.seconds));
    }
    table(&["check", "target", "compared", "took"], &[3], rows)
}

fn answer(matches: bool, ui: &Ui) -> String {
    if matches {
        ui.coloured(Colour::Green, "matches")
    } else {
        ui.coloured(Colour::Red, "differs")
    }
}

fn compared(structure: &Structure) -> String {
    let compared = &structure.compared;
    let amounts = [
        (compared.extensions, "extension"),
        (compared.tables, "table"),
        (compared.columns, "column"),
        (compared.constraints, "constraint"),
        (compared.indexes, "index"),
        (compared.triggers, "trigger"),
        (compared.sequences, "sequence"),
        (compared.views, "view"),
        (compared.functions, "function"),
        (compared.rules, "rule"),
    ];
    let present = amounts.iter().filter(|(amount, _)| *amount > 0);
    let mut words: Vec<String> =
        present.map(|(amount, thing)| counted(*amount as u64, thing)).collect();
    match compared.policies {
        0 => {}
        1 => words.push("1 policy".into()),
        more => words.push(format!("{} policies", count(more as u64))),
    }
    words.join(", ")
}

fn rows_compared(content: &Content) -> String {
    let rows = counted(content.rows, "row");
    let tables = counted(content.tables.len() as u64, "table");
    if content.digests {
        let read = size(content.source_bytes + content.target_bytes);
        format!("{rows} in {tables}, every value by digest, {read} read")
    } else {
        format!("{rows} in {tables}, counted only")
    }
}

fn recall_measured(recall: &Recall) -> String {
    let side = |found: &Option<Found>| {
        found.map_or("not measured".into(), |found| format!("{:.3}", found.application))
    };
    let mut text = format!(
        "recall@{} {} on the source, {} on the target; {} each in {}",
        recall.k,
        side(&recall.source),
        side(&recall.target),
        if recall.queries == 1 {
            "1 search".into()
        } else {
            format!("{} searches", count(recall.queries as u64))
        },
        counted(recall.bots.len() as u64, "bot"),
    );
    if let Some(target) = &recall.target {
        let share = target.planned_with_index * 100.0;
        text.push_str(&format!("; the planner used the index for {share:.0}%"));
        if let Some(index) = target.index {
            text.push_str(&format!(", which alone finds {index:.3}"));
        }
    }
    text
}

fn structure_differences(structure: &Structure) -> Option<String> {
    let row = |difference: &Difference| {
        let kind = format!("{:?}", difference.what).to_lowercase();
        vec![kind, difference.name.clone(), difference.difference.clone()]
    };
    let (rows, more) = first(&structure.differences, row);
    (!rows.is_empty()).then(|| table(&["structure", "name", "on the target"], &[], rows) + &more)
}

fn table_differences(content: &Content, against: Against) -> Option<String> {
    let wrong: Vec<&TableContent> = content.tables.iter().filter(|table| !table.matches).collect();
    let rows = |sum: &Option<vecferry_core::verify::content::Sum>| {
        sum.as_ref().map_or("–".into(), |sum| count(sum.rows))
    };
    let row = |one: &&TableContent| {
        let number = |of: fn(&RowDifferences) -> u64| {
            one.rows_differing.as_ref().map_or("?".into(), |found| count(of(found)))
        };
        vec![
            one.table.clone(),
            rows(&one.source),
            rows(&one.target),
            number(|found| found.missing),
            number(|found| found.extra),
            number(|found| found.changed),
        ]
    };
    let (rows, more) = first(&wrong, row);
    // Without the source there are no rows to tell apart.
    let (header, rows) = match against {
        Against::Source => {
            let header = ["table", "source rows", "target rows", "missing", "extra", "changed"];
            (header.to_vec(), rows)
        }
        Against::Record => (
            vec!["table", "recorded rows", "target rows"],
            rows.into_iter().map(|row| row.into_iter().take(3).collect()).collect(),
        ),
    };
    (!rows.is_empty()).then(|| table(&header, &[1, 2, 3, 4, 5], rows) + &more)
}

/// Which large objects are not as they should be.
fn object_differences(objects: &LargeObjects) -> Option<String> {
    let rows: Vec<Vec<String>> = objects
        .first
        .iter()
        .map(|one| vec![one.oid.to_string(), standing(one.standing).to_owned()])
        .collect();
    let all = objects.missing + objects.extra + objects.changed;
    let more = match all.saturating_sub(rows.len() as u64) {
        0 => String::new(),
        more => format!("\n… and {} more", count(more)),
    };
    (!rows.is_empty()).then(|| table(&["large object", "is"], &[], rows) + &more)
}

/// Which bots and which keys of a table differ.
fn details(content: &TableContent, against: Against) -> String {
    let mut blocks = Vec::new();
    if let Some(obstacle) = &content.obstacle {
        blocks.push(format!("{}: values cannot be compared: {obstacle}", content.table));
    }
    let (rows, more) = first(&content.bots_differing, |bot| {
        let (source, target) = (count(bot.source_rows), count(bot.target_rows));
        let certainty = if bot.proven { "" } else { ", not proven" };
        let is = format!("{}{certainty}", standing(bot.standing));
        vec![bot.bot.clone(), is, source, target]
    });
    if !rows.is_empty() {
        let title = format!("bot of {}", content.table);
        let theirs = match against {
            Against::Source => "source rows",
            Against::Record => "recorded rows",
        };
        let header = [title.as_str(), "is", theirs, "target rows"];
        blocks.push(table(&header, &[2, 3], rows) + &more);
    }
    if let Some(found) = &content.rows_differing {
        blocks.extend(keys(&content.table, found));
    }
    blocks.join("\n\n")
}

fn keys(name: &str, found: &RowDifferences) -> Vec<String> {
    let mut blocks = Vec::new();
    let rows: Vec<_> = found
        .first
        .iter()
        .map(|row| {
            let bot = row.bot.clone().unwrap_or_default();
            vec![row.key.join(", "), bot, standing(row.standing).into(), row.columns.join(", ")]
        })
        .collect();
    if !rows.is_empty() {
        let title = format!("{} of {name}", found.key.join(", "));
        let all = found.missing + found.extra + found.changed;
        let more = all.saturating_sub(rows.len() as u64);
        let more = if more > 0 {
            format!("\n… and {} more (--differences N shows more)", count(more))
        } else {
            String::new()
        };
        blocks.push(table(&[&title, "bot", "is", "in columns"], &[], rows) + &more);
    }
    if found.derived > 0 {
        let rows = counted(found.derived, "row");
        blocks.push(format!(
            "{rows} of {name} differ in generated columns only, which the target computes itself"
        ));
    }
    if let Some(obstacle) = &found.obstacle {
        blocks.push(format!("{name}: {obstacle}"));
    }
    blocks
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Missing => "missing",
        Standing::Extra => "extra",
        Standing::Changed => "changed",
    }
}

fn vector_differences(vectors: &Vectors) -> Option<String> {
    let wrong = vectors.columns.iter().filter(|column| !column.matches);
    let rows: Vec<_> = wrong
        .map(|column| {
            vec![format!("{}.{}", column.table, column.column), column.differences.join("; ")]
        })
        .collect();
    (!rows.is_empty()).then(|| table(&["vectors", "on the target"], &[], rows))
}

fn bots(recall: &Recall) -> String {
    let side = |found: &Option<Found>| {
        found.map_or(["–".into(), "–".into()], |found| {
            [
                format!("{:.3}", found.application),
                format!("{:.0}%", found.planned_with_index * 100.0),
            ]
        })
    };
    let rows = recall.bots.iter().map(|bot| {
        let mut row = vec![bot.bot.clone(), count(bot.rows)];
        row.extend(side(&bot.source));
        row.extend(side(&bot.target));
        row
    });
    let title = format!("recall@{} of {}", recall.k, recall.table);
    let header = [&title, "rows", "source", "by index", "target", "by index"];
    table(&header, &[1, 2, 3, 4, 5], rows.collect())
}

/// What was read again for the changes under way.
fn read_again(verdict: &Verdict) -> Option<String> {
    let in_use = verdict.in_use?;
    let tables = &verdict.content.tables;
    let bots: usize = tables.iter().map(|table| table.bots_read_again).sum();
    let whole =
        tables.iter().filter(|table| table.read_again > 0 && table.bots_read_again == 0).count();
    let mut what = Vec::new();
    if bots > 0 {
        what.push(counted(bots as u64, "bot"));
    }
    if whole > 0 {
        what.push(counted(whole as u64, "table"));
    }
    let were = if bots + whole == 1 { "was" } else { "were" };
    let waited = duration(verdict.waited_seconds);
    (!what.is_empty()).then(|| {
        format!(
            "{} {were} read again because the {in_use} is in use; {waited} waited for what was under way",
            what.join(" and ")
        )
    })
}

fn conclusion(verdict: &Verdict, ui: &Ui) -> String {
    let took = duration(verdict.seconds);
    let what = match verdict.against {
        Against::Source => "the source",
        Against::Record => "the record of its migration",
    };
    if verdict.answer == Answer::NotProven {
        let said = format!("the target could not be proven to match {what}");
        let next = match verdict.following {
            true => {
                "vecferry status, then vecferry verify again; cutover verifies behind its fence, when nothing is written"
            }
            // Bots are still to be embedded.
            false => "vecferry migrate, then vecferry verify again",
        };
        return format!(
            "{} (tried for {took}); nothing is known to differ\nnext: {next}",
            ui.coloured(Colour::Yellow, &said)
        );
    }
    if !verdict.matches {
        let answer = ui.coloured(Colour::Red, &format!("the target differs from {what}"));
        return format!("{answer} (found in {took})");
    }
    let answer = ui.coloured(Colour::Green, &format!("the target matches {what}"));
    let how = if verdict.quick { "quick, without digests and recall; " } else { "" };
    let next = match verdict.in_use {
        None => "point the application at the target, then vecferry cleanup",
        Some(Side::Source) => "vecferry cutover",
        Some(Side::Target) => "vecferry cleanup, when the way back is no longer needed",
    };
    format!("{answer} ({how}{took})\nnext: {next}")
}

/// The first rows of a list, and a line about the rest.
fn first<T>(list: &[T], row: impl Fn(&T) -> Vec<String>) -> (Vec<Vec<String>>, String) {
    let rows = list.iter().take(SHOWN).map(row).collect();
    let more = match list.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n… and {} more (--json has all)", count(more as u64)),
    };
    (rows, more)
}
