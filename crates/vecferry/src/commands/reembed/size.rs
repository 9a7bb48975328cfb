//! How much text each bot has and in which scripts, as far as that can be told without reading all of it: the rows of the
//! source and a sample of their texts, else the sizes of uploaded files. Where documents have changed since the rows
//! were made, what a comparison has learnt of them is added.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use vecferry_core::Side;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::estimate::{BotSize, Fresh, chars_in_file};
use vecferry_core::reembed::registry::Listing;
use vecferry_core::reembed::rows::{Held, held, scripts};
use vecferry_core::reembed::script::Scripts;
use vecferry_embed::document::DocumentSource;
use vecferry_embed::sources::Sources;

use crate::ui::Ui;

/// Bots whose files are asked for at the same time: each is a request or two, and S3 takes thousands a second.
const AT_ONCE: usize = 32;

/// Whose size is asked for.
pub(super) struct Question<'a> {
    pub(super) listing: &'a Listing,
    /// What is known already of documents that changed since the source's rows were made.
    pub(super) fresh: &'a HashMap<BotKey, Fresh>,
    pub(super) source: Option<&'a Dsn>,
    pub(super) knowledge: &'a Knowledge,
}

/// One size for each bot of the listing, in its order. What cannot be asked is guessed later, and is no error: the
/// estimate says so.
pub(super) async fn sizes(question: Question<'_>, sources: Sources, ui: &Ui) -> Vec<BotSize> {
    let Question { listing, fresh, source, knowledge } = question;
    let rows = match source {
        Some(source) => Rows::read(source, knowledge, ui).await,
        None => Rows::default(),
    };
    let named = knowledge.bot.is_some();
    let size = |bot: &Bot| rows.size(bot, named).with(fresh.get(&bot.key).copied());
    let mut sizes: Vec<BotSize> = listing.bots.iter().map(size).collect();
    let sources = Arc::new(sources);
    let mut asking = JoinSet::new();
    for (at, bot) in listing.bots.iter().enumerate() {
        if sizes[at].source_chars.is_some() || sizes[at].fresh.is_some() {
            continue;
        }
        if asking.len() >= AT_ONCE {
            keep(asking.join_next().await, &mut sizes);
        }
        let (bot, sources) = (bot.clone(), sources.clone());
        asking.spawn(async move { (at, files(&bot, sources.as_ref()).await) });
    }
    while let Some(asked) = asking.join_next().await {
        keep(Some(asked), &mut sizes);
    }
    sizes
}

/// What the source's rows tell.
#[derive(Default)]
struct Rows {
    held: HashMap<String, Held>,
    scripts: HashMap<Option<String>, Scripts>,
}

impl Rows {
    async fn read(source: &Dsn, knowledge: &Knowledge, ui: &Ui) -> Rows {
        let held = match held(source, Side::Source, knowledge).await {
            Ok(held) => held,
            Err(error) => {
                ui.insist(&format!("the source's rows are not known: {error}"));
                return Rows::default();
            }
        };
        let scripts = match scripts(source, Side::Source, knowledge).await {
            Ok(scripts) => scripts,
            Err(error) => {
                ui.insist(&format!("the scripts of the source's texts are not known: {error}"));
                HashMap::new()
            }
        };
        Rows { held, scripts }
    }

    /// A bot's. In a table that names no bots, all rows are the one bot's.
    fn size(&self, bot: &Bot, named: bool) -> BotSize {
        let id = if named { bot.key.id.as_str() } else { "" };
        let chars = self.held.get(id).map(|held| held.chars).filter(|chars| *chars > 0);
        // A bot that the sample missed is written like the others.
        let sampled = self.scripts.get(&Some(id.to_owned())).or_else(|| self.scripts.get(&None));
        let scripts = chars.and(sampled).copied();
        BotSize { source_chars: chars, scripts, ..BotSize::default() }
    }
}

fn keep(asked: Option<Result<(usize, BotSize), tokio::task::JoinError>>, sizes: &mut [BotSize]) {
    if let Some(Ok((at, size))) = asked {
        sizes[at] = size;
    }
}

/// Sizes of the files of a bot. The web is not asked: a page's length says little, and asking takes long.
async fn files(bot: &Bot, sources: &Sources) -> BotSize {
    let mut size = BotSize::default();
    for address in &bot.documents {
        let on_disk = matches!(
            address,
            DocumentAddress::File(_) | DocumentAddress::S3(_) | DocumentAddress::Folder(_)
        );
        if !on_disk || !sources.takes(address) {
            continue;
        }
        let Ok(found) = sources.find(bot, address).await else { continue };
        let mut known = false;
        for document in &found.documents {
            if let Some(bytes) = document.bytes {
                known = true;
                size.file_chars += chars_in_file(&document.source, bytes);
            }
        }
        size.files += u64::from(known);
    }
    size
}
