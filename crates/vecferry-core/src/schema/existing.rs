//! Rows that are on the target before the migration: what is kept, what makes room, and which tables are moved how.

use super::{shape, text_array};
use crate::copy::part::{Part, PreservedBots, column_order, split};
use crate::error::{Error, Result, Side};
use crate::inventory::{Inventory, Table};
use crate::migration::Run;
use crate::pg::{CopyFormat, Session, quote_ident};
use crate::policy::{Existing, Method};
use crate::source::SourceSnapshot;
use crate::store::Relation;

/// A table to move.
pub(super) struct Planned {
    /// What is recorded of it.
    pub(super) relation: Relation,
    /// Its parts.
    pub(super) parts: Vec<Part>,
    /// Whether it holds rows on the target now.
    pub(super) holds_rows: bool,
    /// Bots whose rows give way to the source's.
    replaced: PreservedBots,
}

/// Plans every selected table that holds rows of its own.
///
/// # Errors
/// [`Error::Refused`] naming every table with rows when the policy is to refuse.
pub(super) async fn plan_relations(
    run: &Run<'_>,
    source: &SourceSnapshot,
    target: &Inventory,
) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    let mut occupied = Vec::new();
    for table in source.selected(run.policy).filter(|table| table.holds_rows()) {
        let there = target.table(&table.name);
        let planned_table = plan_relation(run, source, table, there).await?;
        if planned_table.holds_rows && run.policy.existing == Existing::Refuse {
            occupied.push(table.name.plain());
        }
        planned.push(planned_table);
    }
    if occupied.is_empty() {
        return Ok(planned);
    }
    Err(Error::Refused {
        side: Side::Target,
        what: format!("tables on the target hold rows already: {}", occupied.join(", ")),
        hint: Some(
            "--existing keep leaves bots that have rows alone, --existing replace puts the source's rows in their place"
                .into(),
        ),
    })
}

async fn plan_relation(
    run: &Run<'_>,
    snapshot: &SourceSnapshot,
    table: &Table,
    there: Option<&Table>,
) -> Result<Planned> {
    let holds_rows = there.is_some() && has_rows(&run.control, table).await?;
    let knowledge = &run.policy.knowledge;
    let bot = knowledge.bot_column(table);
    let (mut preserved, mut replaced) = (PreservedBots::default(), PreservedBots::default());
    match (run.policy.existing, bot) {
        (Existing::Refuse, _) => {}
        _ if !holds_rows => {}
        (Existing::Keep, Some(bot)) => preserved = bots(&run.control, table, bot).await?,
        (Existing::Keep, None) => {
            return Err(Error::Refused {
                side: Side::Target,
                what: format!(
                    "{} holds rows and has no bot column to tell them by",
                    table.name.plain()
                ),
                hint: Some(
                    "empty it, leave it out with --exclude, or use --existing replace".into(),
                ),
            });
        }
        (Existing::Replace, Some(bot)) => {
            let here = bots(&run.control, table, bot).await?;
            // On a session that ends here: a follow must not hold a lock on the table while it copies.
            let picture = SourceSnapshot::import(&run.clusters.source, run.policy, &snapshot.name);
            let source = bots(picture.await?.session(), table, bot).await?;
            (replaced, preserved) = divide(here, &source);
        }
        (Existing::Replace, None) => {}
    }
    let columns: Vec<String> =
        column_order(table, knowledge).into_iter().map(str::to_owned).collect();
    let text = there.is_some_and(|other| other.copy_format() == CopyFormat::Text);
    Ok(Planned {
        relation: Relation {
            oid: table.oid,
            name: table.name.clone(),
            relfilenode: table.relfilenode,
            shape: shape(table),
            columns,
            format: if text { CopyFormat::Text } else { table.copy_format() },
            bot: bot.map(str::to_owned),
            existed: there.is_some(),
            preserved,
            // The first slot's; an interrupted copy may hand tables over to another.
            link: (run.route.method() == Method::Follow).then_some(0),
        },
        parts: split(table, run.policy.part_bytes, snapshot.inventory.server.version_num),
        holds_rows,
        replaced,
    })
}

/// Which of the target's bots give way (the source has them) and which stay.
fn divide(target: PreservedBots, source: &PreservedBots) -> (PreservedBots, PreservedBots) {
    let known: std::collections::HashSet<&String> = source.bots.iter().collect();
    let (replaced, preserved) = target.bots.into_iter().partition(|bot| known.contains(bot));
    (
        PreservedBots { bots: replaced, null: target.null && source.null },
        PreservedBots { bots: preserved, null: target.null && !source.null },
    )
}

/// Removes the rows that are to be replaced, in the transaction of the schema.
///
/// # Errors
/// [`Error::Postgres`] on the target, for example when a foreign key of a table that is not moved forbids it.
pub(super) async fn make_room(run: &Run<'_>, relations: &[Planned]) -> Result<()> {
    if run.policy.existing != Existing::Replace {
        return Ok(());
    }
    let mut emptied = Vec::new();
    for planned in relations.iter().filter(|planned| planned.holds_rows) {
        let Some(bot) = &planned.relation.bot else {
            emptied.push(format!("ONLY {}", planned.relation.name));
            continue;
        };
        let column = quote_ident(bot);
        let null =
            if planned.replaced.null { format!("OR {column} IS NULL") } else { String::new() };
        let sql = format!(
            "DELETE FROM ONLY {} WHERE {column}::text = ANY ({}) {null}",
            planned.relation.name,
            text_array(&planned.replaced.bots)
        );
        run.control
            .batch(&format!("remove replaced bots from {}", planned.relation.name.plain()), &sql)
            .await?;
    }
    if emptied.is_empty() {
        return Ok(());
    }
    run.control
        .batch("empty the tables to replace", &format!("TRUNCATE {}", emptied.join(", ")))
        .await
}

async fn has_rows(session: &Session, table: &Table) -> Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT FROM ONLY {})", table.name);
    Ok(session.query_one(&format!("look into {}", table.name.plain()), &sql, &[]).await?.get(0))
}

async fn bots(session: &Session, table: &Table, bot: &str) -> Result<PreservedBots> {
    let sql = format!("SELECT DISTINCT {}::text FROM ONLY {}", quote_ident(bot), table.name);
    let rows =
        session.query(&format!("list the bots of {}", table.name.plain()), &sql, &[]).await?;
    let mut found = PreservedBots::default();
    for row in rows {
        match row.get::<_, Option<String>>(0) {
            Some(bot) => found.bots.push(bot),
            None => found.null = true,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bots_known_to_the_source_give_way() {
        let set = |bots: &[&str], null| PreservedBots {
            bots: bots.iter().map(|bot| (*bot).into()).collect(),
            null,
        };
        let (replaced, preserved) = divide(set(&["a", "b"], true), &set(&["b", "c"], false));
        assert_eq!((replaced, preserved), (set(&["b"], false), set(&["a"], true)));
    }
}
