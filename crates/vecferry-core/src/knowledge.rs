//! The shape of a knowledge base: which table holds the chunks, which column names the bot, and the query the
//! application searches with. Configuration, not code.

use serde::{Deserialize, Serialize};

use crate::inventory::Table;
use crate::pg::QualifiedName;

/// Names of one knowledge table and its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knowledge {
    /// The table.
    pub table: QualifiedName,
    /// Column that identifies a chunk.
    pub id: String,
    /// Column that names the bot; `None` when the table serves one bot only.
    pub bot: Option<String>,
    /// Column of the text.
    pub content: String,
    /// Column of the document's address.
    pub source: String,
    /// Column of the embedding.
    pub embedding: String,
    /// Distance operator of the application's search: `<->`, `<=>`, `<#>`, `<+>`.
    pub operator: String,
    /// Rows the application asks for.
    pub limit: u32,
}

impl Default for Knowledge {
    /// Bedrock Chat's table and query (`research`: `items`, L2 distance, 20 results).
    fn default() -> Self {
        Knowledge {
            table: QualifiedName::new("public", "items"),
            id: "id".into(),
            bot: Some("botid".into()),
            content: "content".into(),
            source: "source".into(),
            embedding: "embedding".into(),
            operator: "<->".into(),
            limit: 20,
        }
    }
}

impl Knowledge {
    /// The bot column of `table`, if it is the knowledge table (or a partition of it) and has that column.
    pub fn bot_column<'a>(&'a self, table: &Table) -> Option<&'a str> {
        let bot = self.bot.as_deref()?;
        let ours = table.name == self.table || table.partition_of.as_ref() == Some(&self.table);
        (ours && table.column(bot).is_some()).then_some(bot)
    }
}
