//! What a cluster holds of each bot, by document. One streamed query, whose answer is a row per document; no text is
//! read, and nothing is sorted on the server but the sources.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use crate::error::{Result, Side, on};
use crate::knowledge::Knowledge;
use crate::pg::{Dsn, Session, quote_ident};

/// Rows of a knowledge table by bot and document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldRows {
    /// By bot id, without the blanks that a `char(n)` column pads it with.
    pub bots: BTreeMap<String, HeldBot>,
    /// Rows that name no bot.
    pub without_bot: u64,
}

/// One bot's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldBot {
    /// Rows by what their source column holds; `None` for those without a source.
    pub sources: BTreeMap<Option<String>, u64>,
    /// Whether they were written after the time of the source: they were on the target before the copy.
    pub newer: bool,
}

impl HeldBot {
    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.sources.values().sum()
    }
}

impl HeldRows {
    /// Adds rows of a bot and document.
    pub fn add(&mut self, bot: Option<&str>, source: Option<String>, rows: u64) {
        match bot.map(|bot| bot.trim_end_matches(' ')).filter(|bot| !bot.is_empty()) {
            Some(bot) => {
                let held = self.bots.entry(bot.to_owned()).or_default();
                *held.sources.entry(source).or_default() += rows;
            }
            None => self.without_bot += rows,
        }
    }

    /// Takes over the bots of a target that keep the rows they have there, as `--existing keep` does.
    pub fn keep_newer(&mut self, target: HeldRows, keeps: impl Fn(&str) -> bool) {
        for (bot, held) in target.bots.into_iter().filter(|(bot, _)| keeps(bot)) {
            self.bots.insert(bot, HeldBot { newer: true, ..held });
        }
    }
}

/// Reads the rows of every bot by document; nothing where there is no such table.
///
/// # Errors
/// [`crate::Error::Postgres`] when the cluster cannot be read.
pub async fn read(dsn: &Dsn, side: Side, knowledge: &Knowledge) -> Result<HeldRows> {
    let session = Session::open(dsn, side, "compare").await?;
    let (doing, table) = ("read which documents have rows", knowledge.table.to_string());
    let there = "SELECT to_regclass($1) IS NOT NULL";
    let mut held = HeldRows::default();
    if !session.query_one("look for the knowledge table", there, &[&table]).await?.get::<_, bool>(0)
    {
        return Ok(held);
    }
    let bot = match &knowledge.bot {
        Some(column) => format!("{}::text", quote_ident(column)),
        None => "NULL::text".to_owned(),
    };
    let source = quote_ident(&knowledge.source);
    let sql = format!("SELECT {bot}, {source}::text, count(*) FROM {table} GROUP BY 1, 2");
    let none: [&str; 0] = [];
    let rows = session.client().query_raw(&sql, none).await.map_err(on(side, doing))?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(on(side, doing))? {
        let (bot, source): (Option<&str>, Option<String>) = (row.get(0), row.get(1));
        held.add(bot, source, row.get::<_, i64>(2).cast_unsigned());
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_part_of_an_id_and_a_blank_one_is_none() {
        let mut held = HeldRows::default();
        held.add(Some("a  "), Some("x".into()), 2);
        held.add(Some("a"), Some("x".into()), 1);
        held.add(Some("a"), None, 4);
        held.add(Some("   "), Some("x".into()), 5);
        held.add(None, None, 6);
        assert_eq!((held.bots["a"].rows(), held.without_bot, held.bots.len()), (7, 11, 1));
    }

    #[test]
    fn bots_that_keep_their_rows_are_those_of_the_target() {
        let of = |bot: &str, source: &str| {
            let mut held = HeldRows::default();
            held.add(Some(bot), Some(source.into()), 1);
            held
        };
        let mut held = of("a", "old");
        held.keep_newer(of("a", "new"), |_| false);
        assert!(!held.bots["a"].newer);
        held.keep_newer(of("a", "new"), |bot| bot == "a");
        assert!(held.bots["a"].newer && held.bots["a"].sources.contains_key(&Some("new".into())));
    }
}
