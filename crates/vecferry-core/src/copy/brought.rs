//! Which rows of a prepared table a migration brought, and their removal.
//!
//! A table that the application prepared may be written to by it while rows are moved: for bots that the source does
//! not have, for one. Such rows are nobody's to remove but its own, so that what goes is told by the record and not by
//! what was there at the beginning:
//!
//! - rows of bots that a finished part brought (`vecferry.part_bot`, committed with the rows; a part that is not
//!   finished has left nothing), and of bots for which a task was launched (`vecferry.bot_attempt`, durable before);
//! - never rows of a bot that had some before (`preserved`).
//!
//! What the application wrote for one of the bots that were brought cannot be told from what was. Where there is no
//! bot to tell rows by, the table was empty when the migration began, or was emptied for it, and all rows are taken
//! for ours; so they are in a table that the migration made, and in a `follow`, which also applies rows of bots that
//! no part has seen.

use tokio_postgres::types::ToSql;

use crate::error::Result;
use crate::pg::{CopyFormat, Session, quote_ident, quote_literal};
use crate::store::Relation;

/// Removes our rows from the target's table and nobody else's. To be run in the transaction, if there is one, that
/// changes the record.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn remove(session: &Session, migration: &str, relation: &Relation) -> Result<()> {
    let statement = match &relation.bot {
        Some(bot) if relation.existed && relation.link.is_none() => {
            let told = BotColumn::read(session, relation, bot).await?;
            let sql = "SELECT to_regclass('vecferry.bot_attempt') IS NOT NULL";
            let embedded = session.query_one("look for embedded bots", sql, &[]).await?.get(0);
            delete_brought(migration, relation, &told, embedded)
        }
        _ => delete_all(relation),
    };
    session.batch(&format!("remove copied rows from {}", relation.name.plain()), &statement).await
}

/// Removes every row that is not of a bot that was there before.
fn delete_all(relation: &Relation) -> String {
    match relation.bot.as_deref().and_then(|bot| relation.preserved.ours(bot)) {
        Some(ours) => format!("DELETE FROM ONLY {} WHERE {ours}", relation.name),
        // DELETE where a foreign key of a prepared table forbids TRUNCATE.
        None if relation.existed => format!("DELETE FROM ONLY {}", relation.name),
        None => format!("TRUNCATE ONLY {}", relation.name),
    }
}

/// The bot column on the target, as far as its values are compared with the record's.
#[derive(Debug)]
struct BotColumn {
    /// Its name.
    name: String,
    /// Whether it holds text of some kind, whose blank padding the two clusters may keep differently.
    is_text: bool,
    /// The function that makes the bytes of binary COPY of it, with its schema.
    send: String,
}

impl BotColumn {
    async fn read(session: &Session, relation: &Relation, bot: &str) -> Result<BotColumn> {
        let sql = "SELECT t.typcategory = 'S', quote_ident(n.nspname) || '.' || quote_ident(p.proname) \
                   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_proc p ON p.oid = t.typsend \
                   JOIN pg_namespace n ON n.oid = p.pronamespace \
                   WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped";
        let table = relation.name.to_string();
        let params: [&(dyn ToSql + Sync); 2] = [&table, &bot];
        let row = session.query_one("look at the bot column", sql, &params).await?;
        Ok(BotColumn { name: bot.to_owned(), is_text: row.get(0), send: row.get(1) })
    }

    /// A row's bot and a recorded one (`bot` of `vecferry.part_bot`), as expressions that can be compared.
    fn comparable(&self, format: CopyFormat) -> (String, &'static str) {
        let column = quote_ident(&self.name);
        match format {
            _ if self.is_text => {
                (format!("rtrim({column}::text)"), "rtrim(convert_from(b.bot, 'UTF8'))")
            }
            CopyFormat::Text => (format!("convert_to(format('%s', {column}), 'UTF8')"), "b.bot"),
            CopyFormat::Binary => (format!("{}({column})", self.send), "b.bot"),
        }
    }
}

fn delete_brought(migration: &str, relation: &Relation, bot: &BotColumn, embedded: bool) -> String {
    let (column, id) = (quote_ident(&bot.name), quote_literal(migration));
    let (value, recorded) = bot.comparable(relation.format);
    let parts = format!(
        "FROM vecferry.part_bot b WHERE b.migration = {id} AND b.relation = {}",
        relation.oid
    );
    let mut brought = format!(
        "{column} IS NOT NULL AND {value} IN (SELECT {recorded} {parts} AND b.bot IS NOT NULL) \
         OR {column} IS NULL AND EXISTS (SELECT {parts} AND b.bot IS NULL)"
    );
    if embedded {
        brought.push_str(&format!(
            " OR rtrim({column}::text) IN (SELECT rtrim(a.bot) FROM vecferry.bot_attempt a \
             WHERE a.migration = {id})"
        ));
    }
    let ours = relation.preserved.ours(&bot.name);
    let ours = ours.map_or(String::new(), |ours| format!(" AND {ours}"));
    format!("DELETE FROM ONLY {} WHERE ({brought}){ours}", relation.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::part::PreservedBots;
    use crate::pg::QualifiedName;

    fn relation(existed: bool, bot: Option<&str>) -> Relation {
        Relation {
            oid: 7,
            name: QualifiedName::new("public", "items"),
            relfilenode: 7,
            shape: String::new(),
            columns: vec!["botid".into(), "id".into()],
            format: CopyFormat::Binary,
            bot: bot.map(str::to_owned),
            existed,
            preserved: PreservedBots::default(),
            link: None,
        }
    }

    fn column(is_text: bool) -> BotColumn {
        BotColumn { name: "botid".into(), is_text, send: "pg_catalog.uuid_send".into() }
    }

    #[test]
    fn only_recorded_bots_go_and_preserved_ones_never() {
        let mut relation = relation(true, Some("botid"));
        let sql = delete_brought("m'1", &relation, &column(true), false);
        assert_eq!(
            sql,
            r#"DELETE FROM ONLY "public"."items" WHERE ("botid" IS NOT NULL AND rtrim("botid"::text) IN (SELECT rtrim(convert_from(b.bot, 'UTF8')) FROM vecferry.part_bot b WHERE b.migration = 'm''1' AND b.relation = 7 AND b.bot IS NOT NULL) OR "botid" IS NULL AND EXISTS (SELECT FROM vecferry.part_bot b WHERE b.migration = 'm''1' AND b.relation = 7 AND b.bot IS NULL))"#
        );
        relation.preserved = PreservedBots { bots: vec!["mine".into()], null: false };
        let ours = relation.preserved.ours("botid").unwrap();
        let sql = delete_brought("m", &relation, &column(true), true);
        assert!(sql.ends_with(&format!(") AND {ours}")), "{sql}");
        assert!(sql.contains("vecferry.bot_attempt a WHERE a.migration = 'm')"));
    }

    #[test]
    fn bots_are_compared_in_the_bytes_that_were_recorded() {
        let bytes = |is_text, format| column(is_text).comparable(format).0;
        assert_eq!(bytes(false, CopyFormat::Binary), r#"pg_catalog.uuid_send("botid")"#);
        assert_eq!(bytes(false, CopyFormat::Text), r#"convert_to(format('%s', "botid"), 'UTF8')"#);
        for format in [CopyFormat::Text, CopyFormat::Binary] {
            assert_eq!(bytes(true, format), r#"rtrim("botid"::text)"#, "padded or not");
        }
    }

    #[test]
    fn where_no_bot_tells_rows_apart_all_are_ours() {
        assert_eq!(delete_all(&relation(true, None)), r#"DELETE FROM ONLY "public"."items""#);
        assert_eq!(
            delete_all(&relation(false, Some("botid"))),
            r#"TRUNCATE ONLY "public"."items""#
        );
        let mut followed = relation(true, Some("botid"));
        followed.preserved.bots = vec!["mine".into()];
        assert!(delete_all(&followed).contains("<> ALL"));
    }
}
