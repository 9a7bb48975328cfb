//! Runs the searches: the target gives the vectors to search with, both sides answer.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::{BotRecall, Found, Recall, choose, judge, mean, recall_at};
use crate::copy::part::PreservedBots;
use crate::error::Result;
use crate::inventory::{Inventory, Table};
use crate::knowledge::Knowledge;
use crate::pg::{Session, quote_ident};
use crate::policy::Policy;
use crate::verify::Options;
use crate::verify::snapshot::View;

/// Names the one entry of a table without bots.
const ALL_ROWS: &str = "all rows";

/// Measures recall on both sides, or on the target alone; `None`, with a note, when there is no knowledge base to search.
///
/// # Errors
/// [`crate::Error::Postgres`] when a search fails.
pub(in crate::verify) async fn measure(
    source: Option<&View>,
    target: &View,
    policy: &Policy,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Option<Recall>> {
    let begun = Instant::now();
    let knowledge = &policy.knowledge;
    let Some(ours) = Search::new(target, knowledge) else {
        let table = knowledge.table.plain();
        notes.push(format!("recall was not measured: the target has no vectors in {table}"));
        return Ok(None);
    };
    let theirs = source.and_then(|source| Search::new(source, knowledge));
    if ours.indexes.is_empty() && theirs.as_ref().is_none_or(|theirs| theirs.indexes.is_empty()) {
        let table = knowledge.table.plain();
        notes.push(format!(
            "recall was not measured: {table} has no vector index, every search is exact"
        ));
        return Ok(None);
    }
    ours.prepare().await?;
    if let Some(theirs) = &theirs {
        theirs.prepare().await?;
    }
    let bots =
        choose(ours.bots(target.preserved.get(&knowledge.table)).await?, options.recall_bots);
    let chosen = bots.len();
    let mut measured = Vec::new();
    for (bot, rows) in bots {
        // An exact search reads every row of its bot: over large bots, a few searches have to do.
        if !measured.is_empty() && begun.elapsed() > options.recall_time {
            notes.push(format!(
                "recall was measured for {} of {chosen} bots in {} s (--recall-seconds allows more)",
                measured.len(),
                options.recall_time.as_secs()
            ));
            break;
        }
        let vectors = ours.sample(&bot, options.recall_queries).await?;
        let theirs = async {
            match &theirs {
                Some(theirs) => theirs.run(&bot, &vectors).await,
                None => Ok(None),
            }
        };
        let (target, source) = tokio::try_join!(ours.run(&bot, &vectors), theirs)?;
        measured.push(BotRecall { bot, rows, source, target });
    }
    let source = mean(measured.iter().filter_map(|bot| bot.source));
    let target = mean(measured.iter().filter_map(|bot| bot.target));
    let (matches, advice) = judge(source.as_ref(), target.as_ref(), options);
    notes.extend(advice);
    Ok(Some(Recall {
        matches,
        seconds: begun.elapsed().as_secs_f64(),
        table: knowledge.table.plain(),
        k: knowledge.limit,
        queries: target.map_or(0, |found| found.queries),
        source,
        target,
        bots: measured,
    }))
}

/// The searches of one side.
struct Search<'a> {
    session: &'a Session,
    knowledge: &'a Knowledge,
    /// Schema of the extension.
    schema: &'a str,
    /// The vector's type.
    vector: String,
    /// The bot's type.
    bot: Option<&'a str>,
    /// Names of the vector indexes on the table and its partitions.
    indexes: HashSet<&'a str>,
}

/// How a search is to be planned.
#[derive(Clone, Copy, PartialEq)]
enum Plan {
    /// As the server likes: what the application gets.
    Free,
    /// By a vector index if any can serve.
    Index,
    /// By no vector index: distances are computed for every row of the bot.
    Exact,
}

impl<'a> Search<'a> {
    fn new(view: &'a View, knowledge: &'a Knowledge) -> Option<Self> {
        let inventory = &view.catalog.inventory;
        let table = inventory.table(&knowledge.table)?;
        let embedding = table.column(&knowledge.embedding).filter(|column| column.is_vector())?;
        let schema = &inventory.extension("vector")?.schema;
        let bot = match &knowledge.bot {
            Some(bot) => Some(table.column(bot)?.type_name.as_str()),
            None => None,
        };
        let vector = format!("{}.{}", quote_ident(schema), quote_ident(&embedding.base_type));
        let indexes = vector_indexes(inventory, table);
        Some(Search { session: &view.session, knowledge, schema, vector, bot, indexes })
    }

    /// Makes the extension's operators reachable: our sessions have an empty search path. Holds until the
    /// transaction of the snapshot ends.
    async fn prepare(&self) -> Result<()> {
        let sql = format!("SET LOCAL search_path = {}", quote_ident(self.schema));
        self.session.batch("prepare the searches", &sql).await
    }

    /// Bots that belong to the migration and have vectors, with their rows.
    async fn bots(&self, preserved: Option<&PreservedBots>) -> Result<Vec<(String, u64)>> {
        let embedding = quote_ident(&self.knowledge.embedding);
        let (bot, condition) = match &self.knowledge.bot {
            None => ("NULL".into(), None),
            Some(name) => (quote_ident(name), preserved.and_then(|kept| kept.ours(name))),
        };
        let ours = condition.map_or(String::new(), |condition| format!(" AND {condition}"));
        let named =
            if self.bot.is_some() { format!(" AND {bot} IS NOT NULL") } else { String::new() };
        let sql = format!(
            "SELECT ({bot})::text, count(*) FROM {} WHERE {embedding} IS NOT NULL{named}{ours} GROUP BY 1",
            self.knowledge.table
        );
        let rows = self.session.query("count the bots' rows", &sql, &[]).await?;
        let bots = rows.iter().map(|row| {
            let bot: Option<String> = row.get(0);
            let count: i64 = row.get(1);
            (bot.unwrap_or_else(|| ALL_ROWS.into()), count.unsigned_abs())
        });
        Ok(bots.collect())
    }

    /// Some of the bot's own vectors, the same ones on every run.
    async fn sample(&self, bot: &str, count: usize) -> Result<Vec<String>> {
        let embedding = quote_ident(&self.knowledge.embedding);
        let filter = self.bot_condition("$1");
        let sql = format!(
            "SELECT {embedding}::text FROM {} WHERE {embedding} IS NOT NULL{} ORDER BY md5({}::text) LIMIT {count}",
            self.knowledge.table,
            filter.map_or(String::new(), |filter| format!(" AND {filter}")),
            quote_ident(&self.knowledge.id)
        );
        let params: &[&(dyn ToSql + Sync)] = if self.bot.is_some() { &[&bot] } else { &[] };
        let rows = self.session.query("sample vectors", &sql, params).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The application compares the bot column itself, which an index on it can serve; the parameter is text only
    /// because one statement must do for every type.
    fn bot_condition(&self, parameter: &str) -> Option<String> {
        let bot = quote_ident(self.knowledge.bot.as_deref()?);
        Some(format!("{bot} = ({parameter}::text)::{}", self.bot?))
    }

    /// The application's query, asking for distances. An exact one orders by an expression that no index can serve.
    fn statement(&self, plan: Plan) -> String {
        let embedding = quote_ident(&self.knowledge.embedding);
        let (operator, vector) = (&self.knowledge.operator, &self.vector);
        let distance = format!("{embedding} {operator} ($1::text)::{vector}");
        let order =
            if plan == Plan::Exact { format!("({distance}) + 0") } else { distance.clone() };
        let filter = self.bot_condition("$2");
        format!(
            "SELECT ({distance})::float8 FROM {} {} ORDER BY {order} LIMIT {}",
            self.knowledge.table,
            filter.map_or(String::new(), |filter| format!("WHERE {filter}")),
            self.knowledge.limit
        )
    }

    /// Runs all searches of one bot. `None` when there was nothing to find.
    async fn run(&self, bot: &str, vectors: &[String]) -> Result<Option<Found>> {
        let mut found = Vec::new();
        for vector in vectors {
            let (exact, by_index) = self.search(Plan::Exact, vector, bot).await?;
            if by_index {
                // No exact answer, no recall: saying nothing is better than a number against itself.
                continue;
            }
            let (free, planned) = self.search(Plan::Free, vector, bot).await?;
            let Some(application) = recall_at(&exact, &free) else { continue };
            let index = if self.indexes.is_empty() {
                None
            } else {
                let (returned, by_index) = self.search(Plan::Index, vector, bot).await?;
                recall_at(&exact, &returned).filter(|_| by_index)
            };
            let planned_with_index = if planned { 1.0 } else { 0.0 };
            found.push(Found { queries: 1, application, planned_with_index, index });
        }
        Ok(mean(found.into_iter()))
    }

    /// Distances of one search, and whether its plan uses a vector index.
    async fn search(&self, plan: Plan, vector: &str, bot: &str) -> Result<(Vec<f64>, bool)> {
        let doing = format!("search {}", self.knowledge.table.plain());
        let sql = self.statement(plan);
        let both: &[&(dyn ToSql + Sync)] = &[&vector, &bot];
        let params = if self.bot.is_some() { both } else { &both[..1] };
        let settings = match plan {
            Plan::Index => {
                "SAVEPOINT search; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
                 SET LOCAL enable_sort = off"
            }
            Plan::Free | Plan::Exact => "SAVEPOINT search",
        };
        self.session.batch(&doing, settings).await?;
        let explain = format!("EXPLAIN (FORMAT JSON) {sql}");
        let explained: Value = self.session.query_one(&doing, &explain, params).await?.get(0);
        let rows = self.session.query(&doing, &sql, params).await?;
        let rollback = "ROLLBACK TO SAVEPOINT search; RELEASE SAVEPOINT search";
        self.session.batch(&doing, rollback).await?;
        // Rows without a vector have no distance, those of length zero none by cosine: nobody finds them.
        let distances = rows.iter().filter_map(|row| row.get::<_, Option<f64>>(0));
        let distances = distances.filter(|distance| !distance.is_nan()).collect();
        Ok((distances, uses(&explained, &self.indexes)))
    }
}

/// Vector indexes on the table or one of its partitions, however deep.
fn vector_indexes<'a>(inventory: &'a Inventory, table: &'a Table) -> HashSet<&'a str> {
    let mut family = vec![table];
    let mut at = 0;
    while at < family.len() {
        let parent = &family[at].name;
        let children = inventory.tables.iter();
        family.extend(children.filter(|child| child.partition_of.as_ref() == Some(parent)));
        at += 1;
    }
    let indexes = family.into_iter().flat_map(|table| &table.indexes);
    indexes.filter(|index| index.is_vector()).map(|index| index.name.as_str()).collect()
}

/// Whether a plan of EXPLAIN (FORMAT JSON) scans one of the indexes.
fn uses(plan: &Value, indexes: &HashSet<&str>) -> bool {
    match plan {
        Value::Array(items) => items.iter().any(|item| uses(item, indexes)),
        Value::Object(fields) => {
            let named = fields.get("Index Name").and_then(Value::as_str);
            named.is_some_and(|name| indexes.contains(name))
                || fields.values().any(|field| uses(field, indexes))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_its_index_at_any_depth() {
        let plan = serde_json::json!([{"Plan": {"Node Type": "Limit", "Plans": [
            {"Node Type": "Merge Append", "Plans": [{"Node Type": "Index Scan", "Index Name": "v"}]}]}}]);
        assert!(uses(&plan, &HashSet::from(["v"])));
        assert!(!uses(&plan, &HashSet::from(["w"])));
    }
}
