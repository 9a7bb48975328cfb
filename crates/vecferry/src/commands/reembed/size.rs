//! How much text each bot has, as far as that can be told without reading any: the rows of the source, else the sizes
//! of uploaded files.

use std::sync::Arc;

use tokio::task::JoinSet;
use vecferry_core::Side;
use vecferry_core::bot::{Bot, DocumentAddress};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::estimate::{BotSize, chars_in_file};
use vecferry_core::reembed::registry::Listing;
use vecferry_core::reembed::rows::held;
use vecferry_embed::document::DocumentSource;
use vecferry_embed::sources::Sources;

use crate::ui::Ui;

/// Bots whose files are asked for at the same time: each is a request or two, and S3 takes thousands a second.
const AT_ONCE: usize = 32;

/// One size for each bot of the listing, in its order. What cannot be asked is guessed later, and is no error: the
/// estimate says so.
pub(super) async fn sizes(
    listing: &Listing,
    sources: Sources,
    source: Option<&Dsn>,
    knowledge: &Knowledge,
    ui: &Ui,
) -> Vec<BotSize> {
    let held = match source {
        Some(source) => match held(source, Side::Source, knowledge).await {
            Ok(held) => held,
            Err(error) => {
                ui.insist(&format!("the source's rows are not known: {error}"));
                Default::default()
            }
        },
        None => Default::default(),
    };
    let mut sizes: Vec<BotSize> = listing
        .bots
        .iter()
        .map(|bot| {
            let chars = held.get(&bot.key.id).map(|held| held.chars).filter(|chars| *chars > 0);
            BotSize { source_chars: chars, ..BotSize::default() }
        })
        .collect();
    let sources = Arc::new(sources);
    let mut asking = JoinSet::new();
    for (at, bot) in listing.bots.iter().enumerate() {
        if sizes[at].source_chars.is_some() {
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
