//! Which bots an operator means: by id, owner or title. Pure.
//!
//! Values of one kind add up, kinds narrow each other: two owners and a title mean bots of either owner with that
//! title. A filter that fits no bot is a mistake in most cases and is therefore an error, named.

use std::collections::HashSet;

use crate::bot::{Bot, BotKey};
use crate::error::{Error, Result};
use crate::policy::fits;
use crate::reembed::registry::Listing;

/// Filters; all bots when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Bot ids, exactly.
    pub ids: Vec<String>,
    /// Owners, exactly.
    pub owners: Vec<String>,
    /// Titles, as patterns with `*` and `?`.
    pub titles: Vec<String>,
    /// Exactly these, as somebody has chosen them from a listing: one that is not there any more is no mistake.
    pub keys: Option<HashSet<BotKey>>,
}

impl Selection {
    /// Whether every bot is meant.
    pub fn is_everything(&self) -> bool {
        self.ids.is_empty()
            && self.owners.is_empty()
            && self.titles.is_empty()
            && self.keys.is_none()
    }

    /// Exactly these bots.
    pub fn exactly(keys: impl IntoIterator<Item = BotKey>) -> Selection {
        Selection { keys: Some(keys.into_iter().collect()), ..Selection::default() }
    }

    /// Whether this bot is meant.
    pub fn takes(&self, bot: &Bot) -> bool {
        self.takes_key(&bot.key)
            && (self.titles.is_empty() || self.titles.iter().any(|title| fits(title, &bot.title)))
    }

    fn takes_key(&self, key: &BotKey) -> bool {
        (self.ids.is_empty() || self.ids.contains(&key.id))
            && (self.owners.is_empty() || self.owners.contains(&key.owner))
            && self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    /// What is meant of a registry's listing. Bots without a knowledge base of their own stay in it, as far as they can
    /// be told without a title, so that they are accounted for.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming every filter that fits nothing, or saying that all together fit nothing.
    pub fn apply(&self, listing: Listing) -> Result<Listing> {
        if self.is_everything() {
            return Ok(listing);
        }
        let unmatched = self.unmatched(&listing);
        if !unmatched.is_empty() {
            return Err(Error::Configuration {
                what: format!("no bot has {}", unmatched.join(", nor ")),
                hint: Some("`vecferry bots` lists them with id, owner and title".into()),
            });
        }
        let keys = |keys: Vec<BotKey>| -> Vec<BotKey> {
            let taken = |key: &BotKey| self.titles.is_empty() && self.takes_key(key);
            keys.into_iter().filter(taken).collect()
        };
        let selected = Listing {
            bots: listing.bots.into_iter().filter(|bot| self.takes(bot)).collect(),
            knowledge_base: keys(listing.knowledge_base),
            without_documents: keys(listing.without_documents),
            ..listing
        };
        if self.keys.is_none()
            && selected.bots.is_empty()
            && selected.knowledge_base.is_empty()
            && selected.without_documents.is_empty()
        {
            return Err(Error::Configuration {
                what: "each filter fits a bot, but no bot fits all of them".into(),
                hint: Some("filters of different kinds narrow each other: leave one out".into()),
            });
        }
        Ok(selected)
    }

    /// Filters that fit nothing in the registry, in words.
    fn unmatched(&self, listing: &Listing) -> Vec<String> {
        let others = || listing.knowledge_base.iter().chain(&listing.without_documents);
        let keys = || listing.bots.iter().map(|bot| &bot.key).chain(others());
        let ids: HashSet<&str> = keys().map(|key| key.id.as_str()).collect();
        let owners: HashSet<&str> = keys().map(|key| key.owner.as_str()).collect();
        let of = |kind: &str, values: &[String], known: &dyn Fn(&str) -> bool| -> Vec<String> {
            let unknown = values.iter().filter(|value| !known(value));
            unknown.map(|value| format!("{kind} {value:?}")).collect()
        };
        let titled = |pattern: &str| listing.bots.iter().any(|bot| fits(pattern, &bot.title));
        let mut unmatched = of("id", &self.ids, &|id| ids.contains(id));
        unmatched.extend(of("owner", &self.owners, &|owner| owners.contains(owner)));
        unmatched.extend(of("a title like", &self.titles, &titled));
        unmatched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::Splitting;

    fn key(owner: &str, id: &str) -> BotKey {
        BotKey { owner: owner.into(), id: id.into() }
    }

    fn bot(owner: &str, id: &str, title: &str) -> Bot {
        Bot {
            key: key(owner, id),
            title: title.into(),
            documents: vec![],
            splitting: Splitting::default(),
            sync: None,
        }
    }

    fn listing() -> Listing {
        Listing {
            bots: vec![
                bot("ann", "1", "Travel rules"),
                bot("ann", "2", "IT help"),
                bot("bob", "3", "Travel costs"),
            ],
            knowledge_base: vec![key("bob", "4")],
            without_documents: vec![key("cyd", "5")],
            ..Listing::default()
        }
    }

    fn select(ids: &[&str], owners: &[&str], titles: &[&str]) -> Result<Vec<String>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (ids, owners, titles) = (texts(ids), texts(owners), texts(titles));
        let selection = Selection { ids, owners, titles, keys: None };
        let selected = selection.apply(listing())?;
        let others = selected.knowledge_base.into_iter().chain(selected.without_documents);
        let bots = selected.bots.into_iter().map(|bot| bot.key);
        Ok(bots.chain(others).map(|key| key.id).collect())
    }

    #[test]
    fn values_of_a_kind_add_up_and_kinds_narrow_each_other() {
        for (ids, owners, titles, expected) in [
            (&[][..], &[][..], &[][..], &["1", "2", "3", "4", "5"][..]),
            (&["1", "3"], &[], &[], &["1", "3"]),
            (&[], &["bob"], &[], &["3", "4"]),
            (&[], &["ann", "bob"], &["Travel*"], &["1", "3"]),
            (&["2"], &["ann"], &["IT ????"], &["2"]),
        ] {
            assert_eq!(select(ids, owners, titles).unwrap(), expected);
        }
    }

    #[test]
    fn bots_that_were_chosen_by_key_may_be_gone() {
        let chosen = Selection::exactly([key("ann", "2"), key("bob", "4"), key("ann", "gone")]);
        let selected = chosen.apply(listing()).unwrap();
        let bots: Vec<&str> = selected.bots.iter().map(|bot| bot.key.id.as_str()).collect();
        assert_eq!((bots, selected.knowledge_base), (vec!["2"], vec![key("bob", "4")]));
        assert!(selected.without_documents.is_empty());
        let none = Selection::exactly([key("ann", "gone")]).apply(listing()).unwrap();
        assert!(none.bots.is_empty());
    }

    #[test]
    fn filters_that_fit_nothing_are_named_all_at_once() {
        let error = select(&["1", "9"], &["eve"], &["X*"]).unwrap_err();
        let expected = r#"no bot has id "9", nor owner "eve", nor a title like "X*""#;
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some());
        let error = select(&["1"], &["bob"], &[]).unwrap_err().to_string();
        assert!(error.contains("no bot fits all"), "{error}");
    }
}
