//! Reads what a comparison needs: the registry, the rows of the source, the documents in their store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use vecferry_core::Side;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress};
use vecferry_core::delta::{Delta, Looked, Object, Objects, Recorded, Terms, carry, compare, held};
use vecferry_core::inspect::inspect;
use vecferry_core::pg::{Dsn, Session};
use vecferry_core::policy::{Clusters, Existing, Policy};
use vecferry_core::reembed::registry::Listing;
use vecferry_embed::document::{DocumentSource, Found, Lost, Reason};
use vecferry_embed::sources::Sources;

use super::Run;
use crate::commands::reembed::Shop;
use crate::error::Error;

/// Bots whose documents are looked at at the same time. Each is one request or a few, S3 takes thousands a second under
/// a prefix, and a listing of a thousand objects is some 300 KB of memory.
const AT_ONCE: usize = 32;

/// A comparison of a source with the registry and the document store. It reads, and changes nothing.
pub(in crate::commands) struct Look<'a> {
    pub(in crate::commands) clusters: &'a Clusters,
    pub(in crate::commands) policy: &'a Policy,
    pub(in crate::commands) terms: Terms,
    pub(in crate::commands) shop: &'a Shop,
    /// Whether what an earlier run has done is forgotten first.
    pub(in crate::commands) restart: bool,
}

impl Look<'_> {
    /// Compares these bots, with what an earlier run has chosen.
    ///
    /// # Errors
    /// When a cluster cannot be read, or the registry has none of the bots that have rows.
    pub(in crate::commands) async fn compare(
        &self,
        listing: &Listing,
        earlier: Option<&Recorded>,
    ) -> Result<Delta, Error> {
        let knowledge = &self.policy.knowledge;
        let (source, target) = (&self.clusters.source, &self.clusters.target);
        let mut held = held::read(source, Side::Source, knowledge).await?;
        match earlier {
            // Which bots keep the rows that they had there is recorded.
            Some(earlier) if !earlier.preserved.is_empty() => {
                let kept: HashSet<&str> = earlier.preserved.iter().map(String::as_str).collect();
                let newer = held::read(target, Side::Target, knowledge).await?;
                held.keep_newer(newer, |bot| kept.contains(bot));
            }
            // After a restart nobody knows before the copy which of them will be there.
            None if self.policy.existing != Existing::Refuse && !self.restart => {
                let newer = held::read(target, Side::Target, knowledge).await?;
                let replaced: HashSet<String> = match self.policy.existing {
                    Existing::Replace => held.bots.keys().cloned().collect(),
                    _ => HashSet::new(),
                };
                held.keep_newer(newer, |bot| !replaced.contains(bot));
            }
            _ => {}
        }
        self.shop.check_bucket(listing).await?.granted()?;
        let sources = self.shop.sources(listing).await?;
        let objects = objects(listing, sources).await;
        let mut delta = compare(listing, &held, &objects, &self.terms);
        delta.refuse_stranger(&held, &self.shop.registry())?;
        if let Some(earlier) = earlier {
            carry(&mut delta, listing, &earlier.choices);
        }
        Ok(delta)
    }
}

/// What was seen.
pub(super) struct Seen {
    pub(super) delta: Delta,
}

impl Run<'_> {
    /// Compares every bot of the registry as it is now.
    pub(super) async fn look(&self, earlier: Option<&Recorded>) -> Result<Seen, Error> {
        let listing = self.shop.listing(self.args.reembed.skip_odd).await?;
        let look = Look {
            clusters: &self.clusters,
            policy: &self.policy,
            terms: self.terms,
            shop: &self.shop,
            restart: self.args.restart,
        };
        Ok(Seen { delta: look.compare(&listing, earlier).await? })
    }
}

/// What the store says of the files, objects and folders of every bot. What cannot be read is no error here: it is a
/// reason to embed the bot anew, and shown.
async fn objects(listing: &Listing, sources: Sources) -> Objects {
    let sources = Arc::new(sources);
    let (mut objects, mut asking) = (Objects::new(), JoinSet::new());
    let mut take = |joined: Option<Result<_, tokio::task::JoinError>>| {
        // A task that was lost leaves its bot unread, which is a reason of its own.
        if let Some(Ok((key, looked))) = joined {
            objects.insert(key, looked);
        }
    };
    for bot in &listing.bots {
        let addresses: Vec<DocumentAddress> =
            bot.documents.iter().filter(|address| is_stored(address)).cloned().collect();
        if addresses.is_empty() {
            continue;
        }
        if asking.len() >= AT_ONCE {
            take(asking.join_next().await);
        }
        let (bot, sources) = (bot.clone(), sources.clone());
        asking.spawn(async move { of_bot(&bot, &addresses, sources.as_ref()).await });
    }
    while let Some(joined) = asking.join_next().await {
        take(Some(joined));
    }
    objects
}

fn is_stored(address: &DocumentAddress) -> bool {
    use DocumentAddress::{File, Folder, S3};
    matches!(address, File(_) | S3(_) | Folder(_))
}

async fn of_bot(
    bot: &Bot,
    addresses: &[DocumentAddress],
    sources: &Sources,
) -> (BotKey, HashMap<DocumentAddress, Looked>) {
    let looked = sources.look(bot, addresses).await;
    let looked = looked.into_iter().map(|(address, found)| (address, looked_of(found)));
    (bot.key.clone(), looked.collect())
}

fn looked_of(found: Result<Found, Lost>) -> Looked {
    match found {
        Ok(found) => match found.lost.first() {
            Some((_, lost)) => Looked::Unread(lost.to_string()),
            None => {
                let documents = found.documents.into_iter();
                let object = documents.map(|document| Object {
                    source: document.source,
                    modified: document.modified,
                    bytes: document.bytes,
                });
                Looked::Found(object.collect())
            }
        },
        Err(lost) if lost.reason == Reason::Missing => Looked::Missing,
        Err(lost) => Looked::Unread(lost.to_string()),
    }
}

/// Bytes of the tables that a copy would move.
pub(in crate::commands) async fn bytes_to_copy(
    source: &Dsn,
    policy: &Policy,
) -> Result<u64, Error> {
    let session = Session::open(source, Side::Source, "measure").await?;
    let tables = inspect(&session).await?.tables;
    let moved = tables.iter().filter(|table| table.holds_rows() && policy.selects(table));
    Ok(moved.map(|table| table.table_bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_not_there_is_missing() {
        let lost = |reason| Err(Lost::new(reason, "so"));
        assert_eq!(looked_of(lost(Reason::Missing)), Looked::Missing);
        for reason in [Reason::Refused, Reason::Unreachable, Reason::TooLarge] {
            assert!(matches!(looked_of(lost(reason)), Looked::Unread(_)), "{reason}");
        }
        let part = ("x".to_owned(), Lost::new(Reason::Refused, "so"));
        let found = Found { documents: Vec::new(), lost: vec![part] };
        assert_eq!(looked_of(Ok(found)), Looked::Unread("refused: so".into()));
        assert_eq!(looked_of(Ok(Found::default())), Looked::Found(Vec::new()));
    }
}
