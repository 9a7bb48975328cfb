//! `bots`: what the registry lists, beside the rows of both clusters and the state in this migration.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use vecferry_core::Side;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress, Splitting, SyncRecord};
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::registry::{Listing, OddItem};
use vecferry_core::reembed::rows::{Held, held};
use vecferry_core::reembed::select::Selection;
use vecferry_core::reembed::store::{MigrationStore, PostgresStore};

use crate::cli::{BotSelection, Bots};
use crate::error::{Error, Exit, Mistake};
use crate::services::{self, Services};
use crate::settings::Settings;
use crate::ui::{Colour, Ui, list};
use crate::units::{count, counted, printable};

/// Longest title in the table; JSON has all of it.
const TITLE: usize = 24;

/// Layout of the JSON.
const VERSION: u32 = 1;

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Report<'a> {
    version: u32,
    /// The registry in words.
    registry: String,
    bots: Vec<Line<'a>>,
    knowledge_base: &'a [BotKey],
    without_documents: &'a [BotKey],
    aliases: u64,
    odd: &'a [OddItem],
}

/// One bot.
#[derive(Debug, Serialize)]
struct Line<'a> {
    owner: &'a str,
    id: &'a str,
    title: &'a str,
    documents: &'a [DocumentAddress],
    splitting: Splitting,
    sync: Option<&'a SyncRecord>,
    /// Rows on the source; `null` when it is not known or could not be read.
    rows_source: Option<u64>,
    /// Rows on the target, likewise.
    rows_target: Option<u64>,
    /// State in this migration; `null` before it has one.
    state: Option<String>,
}

/// What one cluster holds of each bot, when it could be read.
type Rows = Option<HashMap<String, Held>>;

/// Runs the command.
pub(crate) async fn run(args: &Bots, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let selection = selection(&args.selection)?;
    let services = Services::new(settings.aws().clone());
    let registry = services.registry(&settings.registry(&args.registry, None)?).await?;
    let listing = selection.apply(registry.list().await?)?;
    let (source, target) = (settings.source_if_named().await?, settings.target_if_named().await?);
    let state = settings.state(&args.store);
    let states = match (&state, &target) {
        (None, None) => BTreeMap::new(),
        (state, target) => states(state.as_deref(), target.as_ref(), ui).await?,
    };
    let rows = (
        rows(Side::Source, source.as_ref(), settings, ui).await,
        rows(Side::Target, target.as_ref(), settings, ui).await,
    );
    let report = Report {
        version: VERSION,
        registry: registry.describe(),
        bots: lines(&listing, &rows, &states),
        knowledge_base: &listing.knowledge_base,
        without_documents: &listing.without_documents,
        aliases: listing.aliases,
        odd: &listing.odd,
    };
    match ui.json {
        true => ui.data_json(&report)?,
        false => ui.data(&render(&report, ui))?,
    }
    Ok(Exit::Done)
}

/// Reads `--bots`: a bare word is an id.
pub(crate) fn selection(flags: &BotSelection) -> Result<Selection, Error> {
    let mut selection = Selection::default();
    for which in &flags.bots {
        let (kind, value) = match which.split_once(':') {
            Some(("owner", owner)) => (&mut selection.owners, owner),
            Some(("title", title)) => (&mut selection.titles, title),
            Some(("id", id)) => (&mut selection.ids, id),
            Some((kind, _)) => {
                let what = format!("--bots {which:?}: bots have no {kind:?}");
                return Err(Mistake::new(what, "write an id, owner:NAME or title:PATTERN").into());
            }
            None => (&mut selection.ids, which.as_str()),
        };
        kind.push(value.to_owned());
    }
    Ok(selection)
}

/// The state of each bot in the newest re-embedding. A store that cannot be reached is said, and no reason to fail.
async fn states(
    state: Option<&std::path::Path>,
    target: Option<&Dsn>,
    ui: &Ui,
) -> Result<BTreeMap<BotKey, String>, Error> {
    let store = services::store(state, target).await?;
    let delta = target.filter(|_| state.is_none()).cloned().map(PostgresStore::of_delta);
    let read = async {
        if let Some(run) = store.newest().await? {
            return store.bots(&run.id).await;
        }
        let Some(delta) = delta else { return Ok(Vec::new()) };
        match delta.newest().await? {
            Some(run) => delta.bots(&run.id).await,
            None => Ok(Vec::new()),
        }
    };
    let bots = read.await.unwrap_or_else(|error| {
        ui.insist(&format!("the state of this migration is not known: {error}"));
        Vec::new()
    });
    Ok(bots.into_iter().map(|bot| (bot.key, bot.state.as_str().to_owned())).collect())
}

async fn rows(side: Side, dsn: Option<&Dsn>, settings: &Settings, ui: &Ui) -> Rows {
    match held(dsn?, side, settings.knowledge()).await {
        Ok(held) => Some(held),
        Err(error) => {
            ui.insist(&format!("the {side}'s rows are not known: {error}"));
            None
        }
    }
}

fn lines<'a>(
    listing: &'a Listing,
    rows: &(Rows, Rows),
    states: &BTreeMap<BotKey, String>,
) -> Vec<Line<'a>> {
    let of = |rows: &Rows, bot: &Bot| {
        rows.as_ref().map(|rows| rows.get(&bot.key.id).map_or(0, |held| held.rows))
    };
    let line = |bot: &'a Bot| Line {
        owner: &bot.key.owner,
        id: &bot.key.id,
        title: &bot.title,
        documents: &bot.documents,
        splitting: bot.splitting,
        sync: bot.sync.as_ref(),
        rows_source: of(&rows.0, bot),
        rows_target: of(&rows.1, bot),
        state: states.get(&bot.key).cloned(),
    };
    listing.bots.iter().map(line).collect()
}

fn render(report: &Report<'_>, ui: &Ui) -> String {
    let mut blocks = Vec::new();
    if !report.bots.is_empty() {
        blocks.push(bots(report));
    }
    blocks.push(totals(report));
    if !report.odd.is_empty() {
        let mut lines = vec![ui.coloured(Colour::Yellow, "not understood, and left out:")];
        lines.extend(
            report.odd.iter().map(|item| format!("  {}: {}", printable(&item.key), item.why)),
        );
        blocks.push(lines.join("\n"));
    }
    blocks.join("\n\n")
}

fn bots(report: &Report<'_>) -> String {
    let header =
        ["bot", "owner", "title", "documents", "splitting", "sync", "source", "target", "state"];
    let rows = |rows: Option<u64>| rows.map_or("–".into(), count);
    let lines = report.bots.iter().map(|bot| {
        vec![
            printable(bot.id),
            printable(bot.owner),
            shortened(&printable(bot.title)),
            by_kind(bot.documents),
            // Characters a chunk, and how many of them the next one may repeat.
            format!("{}/{}", bot.splitting.chunk_chars, bot.splitting.overlap_chars),
            bot.sync.map_or("–".into(), |sync| sync.status.to_string()),
            rows(bot.rows_source),
            rows(bot.rows_target),
            bot.state.clone().unwrap_or_else(|| "–".into()),
        ]
    });
    // Ids are for copying and grepping: no line is broken, however narrow the terminal.
    list(&header, &[6, 7], lines.collect())
}

/// `3 files, 1 page`, in the order of the kinds' first document.
fn by_kind(documents: &[DocumentAddress]) -> String {
    let mut kinds: Vec<(&str, u64)> = Vec::new();
    for kind in documents.iter().map(DocumentAddress::kind) {
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, number)) => *number += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let named = kinds.iter().map(|(kind, number)| match *kind {
        "s3" => format!("{number} s3"),
        kind => counted(*number, kind),
    });
    named.collect::<Vec<_>>().join(", ")
}

fn shortened(title: &str) -> String {
    match title.char_indices().nth(TITLE) {
        Some((at, _)) => format!("{}…", title[..at].trim_end()),
        None => title.to_owned(),
    }
}

fn totals(report: &Report<'_>) -> String {
    let documents: usize = report.bots.iter().map(|bot| bot.documents.len()).sum();
    let mut text = format!(
        "{} with {} in {}",
        counted(report.bots.len() as u64, "bot"),
        counted(documents as u64, "document"),
        report.registry
    );
    let apart = [
        (report.knowledge_base.len() as u64, "on Bedrock Knowledge Bases"),
        (report.without_documents.len() as u64, "without documents"),
        (report.aliases, "under the name of another bot (aliases)"),
    ];
    for (number, what) in apart.into_iter().filter(|(number, _)| *number > 0) {
        text.push_str(&format!("\nleft out: {} {what}", count(number)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;

    #[test]
    fn a_bot_is_one_line_however_long_its_names() {
        let documents = [
            DocumentAddress::File("a.pdf".into()),
            DocumentAddress::Page("https://a.example".into()),
            DocumentAddress::File("b.pdf".into()),
        ];
        let (owner, id) = ("0f8fad5b-d9cb-469f-a165-70867728950e", "01J5X4A9B8C7D6E5F4G3H2J1K0");
        let bot = Line {
            owner,
            id,
            title: "A title of many words that nobody reads to its end",
            documents: &documents,
            splitting: Splitting { chunk_chars: 500, overlap_chars: 50 },
            sync: None,
            rows_source: Some(12_345),
            rows_target: None,
            state: Some("proven".into()),
        };
        let report = Report {
            version: VERSION,
            registry: "a file".into(),
            bots: vec![bot],
            knowledge_base: &[],
            without_documents: &[],
            aliases: 0,
            odd: &[],
        };
        let text = render(&report, &Ui::new(&Output::default()));
        let line = text.lines().find(|line| line.starts_with(id)).unwrap();
        let words: Vec<&str> = line.split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
        assert_eq!(words[1..2], [owner]);
        assert_eq!(words[3..], ["2 files, 1 page", "500/50", "–", "12,345", "–", "proven"]);
    }
}
