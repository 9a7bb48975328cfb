//! Whether both sides hold the same rows: counts and digests, in all and by bot. Pure: what to read, and what the
//! answers mean. [`super::reading`] reads.

use std::collections::HashMap;

use serde::Serialize;

use super::keys::RowDifferences;
use crate::copy::digest::{BotKey, Digest, Digests};
use crate::copy::part::{self, Part, PreservedBots};
use crate::copy::stream::CopyQuery;
use crate::inventory::{Column, Table};
use crate::knowledge::Knowledge;
use crate::pg::{CopyFormat, QualifiedName, quote_ident, quote_literal};
use crate::store::Relation;

/// The answer about rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Content {
    /// Whether every table holds the same rows on both sides.
    pub matches: bool,
    /// Whether values were compared, by digest; otherwise rows were counted only.
    pub digests: bool,
    /// How long it took, finding the keys that differ included.
    pub seconds: f64,
    /// Rows of the source compared.
    pub rows: u64,
    /// COPY bytes read from the source for digests; 0 against the record.
    pub source_bytes: u64,
    /// COPY bytes read from the target for digests.
    pub target_bytes: u64,
    /// By table, ordered by name.
    pub tables: Vec<TableContent>,
}

/// One table's rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableContent {
    /// Table, `schema.name`.
    pub table: String,
    /// Whether both sides hold the same rows.
    pub matches: bool,
    /// Whether it matches or something in it is proven to differ; false when all that can be said is that equality
    /// could not be shown ([`super::Verdict::not_proven`] says why).
    pub proven: bool,
    /// How often rows were read again, because changes were under way between the clusters when they differed.
    pub read_again: u32,
    /// Bots whose rows were read again.
    pub bots_read_again: usize,
    /// Columns whose values were compared, generated ones included; 0 when rows were counted only.
    pub columns: usize,
    /// Bots the source's rows belong to; `None` for a table without a bot column.
    pub bots: Option<usize>,
    /// The source's rows at the first reading; against the record, as they were when they were copied.
    pub source: Option<Sum>,
    /// The target's rows at the first reading; `None` when it has no such table.
    pub target: Option<Sum>,
    /// Why values could not be compared, if they could not.
    pub obstacle: Option<String>,
    /// The bots that differ, by id.
    pub bots_differing: Vec<BotDifference>,
    /// The rows that differ, where they can be named.
    pub rows_differing: Option<RowDifferences>,
}

/// Rows of a table or a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Number of rows.
    pub rows: u64,
    /// Order-independent digest in hexadecimal; `None` when rows were counted only.
    pub digest: Option<String>,
}

/// How something of the target stands to the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// On the source only.
    Missing,
    /// On the target only.
    Extra,
    /// On both, with other rows or values.
    Changed,
}

/// A bot whose rows differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BotDifference {
    /// Its id.
    pub bot: String,
    /// How its rows stand.
    pub standing: Standing,
    /// Its rows on the source.
    pub source_rows: u64,
    /// Its rows on the target.
    pub target_rows: u64,
    /// How often it was read again.
    pub read_again: u32,
    /// Whether it is certain; false for a bot written so often that it could be shown neither equal nor different.
    pub proven: bool,
}

/// What is read of a table, the same on both sides.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scope {
    /// The table.
    pub(super) table: QualifiedName,
    /// Columns in the source's order, the bot first, generated ones last.
    pub(super) columns: Vec<String>,
    /// How rows travel.
    pub(super) format: CopyFormat,
    /// The bot column.
    pub(super) bot: Option<Column>,
    /// The condition for rows that belong to the migration.
    pub(super) ours: Option<String>,
    /// Why values cannot be compared.
    pub(super) obstacle: Option<String>,
}

impl Scope {
    /// What to read of `source`'s table, given its namesake on the target.
    pub(super) fn new(
        source: &Table,
        target: &Table,
        knowledge: &Knowledge,
        preserved: Option<&PreservedBots>,
    ) -> Scope {
        let mut columns: Vec<String> =
            part::column_order(source, knowledge).into_iter().map(str::to_owned).collect();
        let generated = source.columns.iter().filter(|column| column.generated.is_some());
        columns.extend(generated.map(|column| column.name.clone()));
        let text = |table: &Table| {
            let mut read = table.columns.iter().filter(|column| columns.contains(&column.name));
            read.any(|column| column.text_only.is_some())
        };
        let format = match text(source) || text(target) {
            true => CopyFormat::Text,
            false => CopyFormat::Binary,
        };
        let bot = knowledge.bot_column(source).and_then(|bot| source.column(bot)).cloned();
        let missing: Vec<&str> = columns
            .iter()
            .filter(|name| target.column(name).is_none())
            .map(String::as_str)
            .collect();
        let obstacle = lacks(&missing);
        let bot = bot.filter(|bot| target.column(&bot.name).is_some());
        let ours = bot.as_ref().zip(preserved).and_then(|(bot, kept)| kept.ours(&bot.name));
        Scope { table: source.name.clone(), columns, format, bot, ours, obstacle }
    }

    /// What to read of the target's table to compare it with what was recorded when it was filled.
    pub(super) fn recorded(
        relation: &Relation,
        target: &Table,
        left_out: Option<&PreservedBots>,
    ) -> Scope {
        let lacking = |name: &&String| target.column(name).is_none();
        let missing: Vec<&str> =
            relation.columns.iter().filter(lacking).map(String::as_str).collect();
        let bot = relation.bot.as_deref().and_then(|bot| target.column(bot)).cloned();
        let ours = bot.as_ref().zip(left_out).and_then(|(bot, left_out)| left_out.ours(&bot.name));
        Scope {
            table: relation.name.clone(),
            columns: relation.columns.clone(),
            format: relation.format,
            bot,
            ours,
            obstacle: lacks(&missing),
        }
    }

    /// The COPY that reads a part's rows for their digest.
    pub(super) fn digest_query(&self, part: &Part) -> CopyQuery {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        CopyQuery {
            table: self.table.plain(),
            select: part::select(&self.table, &columns, &self.conditions(part)),
            format: self.format,
            by_bot: self.bot.is_some(),
        }
    }

    /// The query that counts a part's rows: bot as text (or one NULL), count.
    pub(super) fn count_query(&self, part: &Part) -> String {
        let bot = self.bot.as_ref().map_or("NULL".into(), |bot| quote_ident(&bot.name));
        let filter = filter(&self.conditions(part));
        format!("SELECT ({bot})::text, count(*) FROM ONLY {}{filter} GROUP BY 1", self.table)
    }

    /// The same rows, of these bots only: with keys as [`Scope::digest_query`] gives them when `valued`, else as
    /// [`counted`] does. `None` when no condition is sure to select them.
    pub(super) fn of(&self, bots: &[BotKey], valued: bool) -> Option<Scope> {
        let column = self.bot.as_ref()?;
        let condition = match valued {
            true => of_bots(column, self.format, bots)?,
            false => {
                let text = Column { base_type: "text".into(), ..column.clone() };
                of_bots(&text, CopyFormat::Binary, bots)?
            }
        };
        let ours = self.ours.iter().cloned().chain([condition]).collect::<Vec<_>>().join(" AND ");
        Some(Scope { ours: Some(ours), ..self.clone() })
    }

    /// The COPY that reads which versions of rows a part holds: a row that is written gets another place and writer.
    /// Bots are told apart as the other queries do.
    pub(super) fn versions_query(&self, part: &Part, valued: bool) -> CopyQuery {
        let bot = self.bot.as_ref().map(|bot| quote_ident(&bot.name));
        let bot = bot.map(|bot| if valued { bot } else { format!("({bot})::text") });
        let columns: Vec<String> = bot.into_iter().chain(["ctid".into(), "xmin".into()]).collect();
        let filter = filter(&self.conditions(part));
        CopyQuery {
            table: self.table.plain(),
            select: format!("SELECT {} FROM ONLY {}{filter}", columns.join(", "), self.table),
            format: if valued { self.format } else { CopyFormat::Binary },
            by_bot: self.bot.is_some(),
        }
    }

    pub(super) fn conditions(&self, part: &Part) -> [Option<String>; 2] {
        [part.condition(), self.ours.clone()]
    }
}

fn lacks(columns: &[&str]) -> Option<String> {
    let lacking = !columns.is_empty();
    lacking.then(|| format!("the target's table lacks {}; rows were counted", columns.join(", ")))
}

/// ` WHERE …`, or nothing.
pub(super) fn filter(conditions: &[Option<String>]) -> String {
    let conditions: Vec<&str> = conditions.iter().flatten().map(String::as_str).collect();
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}

/// Answers of [`Scope::count_query`] as digests without values.
pub(super) fn counted(rows: &[Vec<Option<String>>], by_bot: bool) -> Digests {
    let mut digests = Digests::default();
    for row in rows {
        let count = row.get(1).and_then(|count| count.as_deref()?.parse().ok()).unwrap_or(0);
        let digest = Digest { rows: count, sum: 0 };
        digests.total += digest;
        if by_bot {
            let bot = row.first().and_then(|bot| bot.clone()).map(String::into_bytes);
            *digests.bots.entry(BotKey(bot)).or_default() += digest;
        }
    }
    digests
}

/// Recorded digests reduced to what [`counted`] gives: rows alone, bots by their text. Bots whose text cannot be told
/// from their COPY bytes are not compared, only the rows of all of them together.
pub(super) fn as_counted(recorded: &Digests, scope: &Scope) -> Digests {
    let rows = |digest: &Digest| Digest { rows: digest.rows, sum: 0 };
    let mut digests = Digests { total: rows(&recorded.total), ..Digests::default() };
    let Some(bot) = &scope.bot else { return digests };
    for (key, digest) in &recorded.bots {
        let text = match &key.0 {
            None => None,
            Some(bytes) => match bot_text(bot, scope.format, bytes) {
                None => return Digests { bots: HashMap::new(), ..digests },
                text => text.map(String::into_bytes),
            },
        };
        *digests.bots.entry(BotKey(text)).or_default() += rows(digest);
    }
    digests
}

/// What is said about a table whose rows were read on both sides: by digest when `valued`, else counted.
pub(super) fn compare(
    scope: &Scope,
    valued: bool,
    (theirs, ours): (&Digests, &Digests),
) -> TableContent {
    let valued = valued && scope.obstacle.is_none();
    let sum = |digests: &Digests| Sum {
        rows: digests.total.rows,
        digest: valued.then(|| digests.total.hex()),
    };
    let differing = compare_bots(theirs, ours);
    TableContent {
        table: scope.table.plain(),
        matches: theirs.total == ours.total && differing.is_empty() && scope.obstacle.is_none(),
        proven: true,
        read_again: 0,
        bots_read_again: 0,
        columns: if valued { scope.columns.len() } else { 0 },
        bots: scope.bot.as_ref().map(|_| theirs.bots.len()),
        source: Some(sum(theirs)),
        target: Some(sum(ours)),
        obstacle: scope.obstacle.clone(),
        bots_differing: differing.into_iter().map(|(_, bot)| bot).collect(),
        rows_differing: None,
    }
}

/// What is said about a table that the target does not have.
pub(super) fn absent(table: &QualifiedName, source: Option<Sum>) -> TableContent {
    TableContent {
        table: table.plain(),
        matches: false,
        proven: true,
        read_again: 0,
        bots_read_again: 0,
        columns: 0,
        bots: None,
        source,
        target: None,
        obstacle: Some("the target has no such table".into()),
        bots_differing: Vec::new(),
        rows_differing: None,
    }
}

/// The bots whose digests are not the same, ordered by id.
pub(super) fn compare_bots(source: &Digests, target: &Digests) -> Vec<(BotKey, BotDifference)> {
    let none = Digest::default();
    let mut keys: Vec<&BotKey> = source.bots.keys().chain(target.bots.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differing = keys.into_iter().filter_map(|key| {
        let theirs = source.bots.get(key).unwrap_or(&none);
        let ours = target.bots.get(key).unwrap_or(&none);
        let standing = standing(theirs, ours)?;
        let (source_rows, target_rows) = (theirs.rows, ours.rows);
        let bot = key.display();
        let difference =
            BotDifference { bot, standing, source_rows, target_rows, read_again: 0, proven: true };
        Some((key.clone(), difference))
    });
    differing.collect()
}

/// How the target's rows stand to the source's; `None` when they are the same.
pub(super) fn standing(source: &Digest, target: &Digest) -> Option<Standing> {
    match (source.rows, target.rows) {
        _ if source == target => None,
        (_, 0) => Some(Standing::Missing),
        (0, _) => Some(Standing::Extra),
        _ => Some(Standing::Changed),
    }
}

/// More bots than this are not worth naming in a condition: the whole table is read instead.
const BOTS_NAMED: usize = 1000;

/// The condition that selects the rows of these bots; `None` when there is none that is sure to.
pub(super) fn of_bots(column: &Column, format: CopyFormat, bots: &[BotKey]) -> Option<String> {
    if bots.is_empty() || bots.len() > BOTS_NAMED {
        return None;
    }
    let mut ids = Vec::new();
    for bot in bots {
        match &bot.0 {
            None => {}
            Some(bytes) => ids.push(quote_literal(&bot_text(column, format, bytes)?)),
        }
    }
    let name = quote_ident(&column.name);
    let named = format!("{name}::text = ANY (ARRAY[{}]::text[])", ids.join(","));
    Some(match bots.iter().any(|bot| bot.0.is_none()) {
        true => format!("({name} IS NULL OR {named})"),
        false => named,
    })
}

/// What `bot::text` gives for the value whose COPY bytes these are.
pub(super) fn bot_text(column: &Column, format: CopyFormat, bytes: &[u8]) -> Option<String> {
    if format == CopyFormat::Text {
        let text = std::str::from_utf8(bytes).ok()?;
        let padded = column.base_type == "bpchar";
        return Some(if padded { text.trim_end_matches(' ') } else { text }.to_owned());
    }
    match column.base_type.as_str() {
        "bpchar" => Some(std::str::from_utf8(bytes).ok()?.trim_end_matches(' ').to_owned()),
        "text" | "varchar" | "name" | "citext" => Some(std::str::from_utf8(bytes).ok()?.to_owned()),
        "int2" => Some(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        "int4" => Some(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        "int8" => Some(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        "uuid" => Some(uuid::Uuid::from_slice(bytes).ok()?.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> BotKey {
        BotKey(Some(text.as_bytes().to_vec()))
    }

    fn digests(bots: &[(BotKey, u64, u128)]) -> Digests {
        let mut digests = Digests::default();
        for (bot, rows, sum) in bots {
            digests.bots.insert(bot.clone(), Digest { rows: *rows, sum: *sum });
            digests.total += Digest { rows: *rows, sum: *sum };
        }
        digests
    }

    fn column(base_type: &str) -> Column {
        Column {
            name: "b\"t".into(),
            type_name: base_type.into(),
            base_type: base_type.into(),
            dimensions: None,
            not_null: true,
            generated: None,
            identity: None,
            default: None,
            collation: None,
            text_only: None,
        }
    }

    #[test]
    fn bots_are_missing_extra_or_changed() {
        let source =
            digests(&[(key("a"), 3, 1), (key("b"), 2, 2), (key("c"), 2, 9), (BotKey(None), 1, 7)]);
        let target = digests(&[(key("a"), 3, 1), (key("c"), 2, 8), (key("d"), 5, 5)]);
        let found: Vec<_> = compare_bots(&source, &target)
            .into_iter()
            .map(|(_, bot)| (bot.bot, bot.standing, bot.source_rows, bot.target_rows))
            .collect();
        let expected = [
            ("NULL".to_owned(), Standing::Missing, 1, 0),
            ("b".to_owned(), Standing::Missing, 2, 0),
            ("c".to_owned(), Standing::Changed, 2, 2),
            ("d".to_owned(), Standing::Extra, 0, 5),
        ];
        assert_eq!(found, expected);
        assert_eq!(compare_bots(&source, &source), []);
    }

    #[test]
    fn counts_add_up_over_parts_and_bots() {
        let row = |bot: Option<&str>, count: &str| vec![bot.map(Into::into), Some(count.into())];
        let rows = [row(Some("a"), "3"), row(Some("a"), "4"), row(None, "1")];
        let by_bot = counted(&rows, true);
        assert_eq!((by_bot.total.rows, by_bot.bots[&key("a")].rows), (8, 7));
        assert!(counted(&rows, false).bots.is_empty());
    }

    #[test]
    fn bots_are_named_as_their_column_writes_them() {
        let condition = |base, format, bots: &[BotKey]| of_bots(&column(base), format, bots);
        assert_eq!(
            condition("bpchar", CopyFormat::Binary, &[key("a'b  "), BotKey(None)]).unwrap(),
            "(\"b\"\"t\" IS NULL OR \"b\"\"t\"::text = ANY (ARRAY['a''b']::text[]))"
        );
        let number = BotKey(Some(258i32.to_be_bytes().to_vec()));
        assert!(
            condition("int4", CopyFormat::Binary, std::slice::from_ref(&number))
                .unwrap()
                .contains("'258'")
        );
        assert_eq!(condition("numeric", CopyFormat::Binary, &[number]), None);
        assert!(condition("numeric", CopyFormat::Text, &[key("1.5")]).unwrap().contains("'1.5'"));
        let uuid = BotKey(Some(vec![0x11; 16]));
        let expected = "'11111111-1111-1111-1111-111111111111'";
        assert!(condition("uuid", CopyFormat::Binary, &[uuid]).unwrap().contains(expected));
        assert_eq!(condition("text", CopyFormat::Binary, &vec![key("a"); 2000]), None);
        assert_eq!(condition("text", CopyFormat::Binary, &[]), None);
    }

    #[test]
    fn recorded_bots_are_counted_by_their_text_or_not_at_all() {
        let scope = |base: &str| Scope {
            table: QualifiedName::new("s", "t"),
            columns: vec![],
            format: CopyFormat::Binary,
            bot: Some(column(base)),
            ours: None,
            obstacle: None,
        };
        let recorded = digests(&[(key("a  "), 3, 1), (BotKey(None), 2, 2)]);
        let counted = as_counted(&recorded, &scope("bpchar"));
        assert_eq!(counted, digests(&[(key("a"), 3, 0), (BotKey(None), 2, 0)]));
        let unknown = as_counted(&recorded, &scope("numeric"));
        assert_eq!((unknown.total.rows, unknown.bots.len()), (5, 0));
        assert!(as_counted(&recorded, &Scope { bot: None, ..scope("text") }).bots.is_empty());
    }
}
