//! Whether rows can be made for the application's table at all, and how: pure decisions over the catalog's facts, made
//! before anything is fetched or paid for.

use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::{QualifiedName, quote_ident};

/// Characters of a ULID.
const ULID_CHARS: i32 = 26;

/// A column as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Name.
    pub name: String,
    /// `format_type`: qualified unless built in, with its modifier.
    pub type_name: String,
    /// The type's own name: `vector`, `bpchar`.
    pub base: String,
    /// Most characters, for character types that limit them.
    pub chars: Option<i32>,
    /// Dimensions, for pgvector's types that fix them.
    pub dimensions: Option<i32>,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the server fills it in: a default, an identity, a generated column.
    pub filled: bool,
    /// Whether it is a generated column, which nobody can write.
    pub generated: bool,
}

/// Where ids of new rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// A ULID in 26 characters, as Bedrock Chat's worker writes them.
    Ulid,
    /// A UUID of version 7.
    Uuid,
    /// The column's own default or identity.
    Server,
}

/// How a vector's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// `vector`: 32 bits.
    Single,
    /// `halfvec`: 16 bits.
    Half,
}

/// The application's table as far as new rows are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Where ids come from.
    pub ids: Ids,
    /// Type of the bot column, when there is one.
    pub bot_type: Option<String>,
    /// Most characters of the source column.
    pub source_chars: Option<usize>,
    /// Type of the embedding column.
    pub embedding_type: String,
    /// How its numbers are stored.
    pub numbers: Numbers,
    /// Its dimensions, where the column fixes them.
    pub dimensions: Option<usize>,
}

impl Shape {
    /// The staging table for embeddings of this type.
    pub(crate) fn chunk_table(&self) -> QualifiedName {
        let base = match self.numbers {
            Numbers::Single => "vector",
            Numbers::Half => "halfvec",
        };
        let name = match self.dimensions {
            Some(dimensions) => format!("staged_chunk_{base}_{dimensions}"),
            None => format!("staged_chunk_{base}"),
        };
        QualifiedName::new("vecferry", name)
    }

    /// The statement that makes the staging table.
    pub(crate) fn create_chunk_table(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (\
             document bigint NOT NULL REFERENCES vecferry.staged_document ON DELETE CASCADE, ordinal int NOT NULL, \
             id text, content text NOT NULL, embedding {} NOT NULL, PRIMARY KEY (document, ordinal))",
            self.chunk_table(),
            self.embedding_type
        )
    }
}

/// What new rows need of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Length of the model's vectors.
    pub dimensions: usize,
    /// Longest chunk in characters.
    pub chunk_chars: usize,
}

/// Why no row can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    /// A configured column is not there.
    #[error("there is no column {0}")]
    NoColumn(String),
    /// A text column is none.
    #[error("column {column} is of type {type_name}, not a text type")]
    NotText {
        /// The column.
        column: String,
        /// Its type.
        type_name: String,
    },
    /// A text column is too narrow for chunks.
    #[error("column {column} takes {chars} characters, and a chunk may have {needed}")]
    TooNarrow {
        /// The column.
        column: String,
        /// What it takes.
        chars: i32,
        /// What a chunk may have.
        needed: usize,
    },
    /// The embedding column holds no dense vectors.
    #[error("column {column} is of type {type_name}; vector and halfvec can be filled")]
    NotVector {
        /// The column.
        column: String,
        /// Its type.
        type_name: String,
    },
    /// The model's vectors do not fit the column.
    #[error("column {column} takes {column_dimensions} dimensions and the model gives {model}")]
    Dimensions {
        /// The column.
        column: String,
        /// What it takes.
        column_dimensions: i32,
        /// What the model gives.
        model: usize,
    },
    /// No id can be made.
    #[error(
        "no id can be made for column {column} of type {type_name}: it is no text of 26 characters or more, no uuid, \
         and has no default"
    )]
    NoId {
        /// The column.
        column: String,
        /// Its type.
        type_name: String,
    },
    /// A column that we know nothing for must not be NULL.
    #[error("column {0} is NOT NULL, has no default and is none of the configured ones")]
    Unfilled(String),
    /// A configured column is generated by the server.
    #[error("column {0} is generated by the server and cannot be written")]
    Generated(String),
}

/// Decides how rows are made, or why none can be.
pub(crate) fn decide(
    knowledge: &Knowledge,
    columns: &[Column],
    need: Need,
) -> Result<Shape, Misfit> {
    let column = |name: &str| {
        columns
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| Misfit::NoColumn(name.into()))
    };
    let id = column(&knowledge.id)?;
    let bot = knowledge.bot.as_deref().map(column).transpose()?;
    let content = text(column(&knowledge.content)?)?;
    let source = text(column(&knowledge.source)?)?;
    let embedding = column(&knowledge.embedding)?;
    let written = [bot, Some(content), Some(source), Some(embedding)];
    if let Some(generated) = written.iter().flatten().find(|column| column.generated) {
        return Err(Misfit::Generated(generated.name.clone()));
    }
    if let Some(chars) = content.chars
        && usize::try_from(chars).is_ok_and(|chars| chars < need.chunk_chars)
    {
        return Err(Misfit::TooNarrow {
            column: content.name.clone(),
            chars,
            needed: need.chunk_chars,
        });
    }
    let numbers = numbers(embedding, need.dimensions)?;
    let ids = ids(id)?;
    let ours = |one: &Column| one == id || written.iter().flatten().any(|own| *own == one);
    let unfilled = |one: &&Column| one.not_null && !one.filled && !ours(one);
    if let Some(unknown) = columns.iter().find(unfilled) {
        return Err(Misfit::Unfilled(unknown.name.clone()));
    }
    Ok(Shape {
        ids,
        bot_type: bot.map(|bot| bot.type_name.clone()),
        source_chars: source.chars.and_then(|chars| usize::try_from(chars).ok()),
        embedding_type: embedding.type_name.clone(),
        numbers,
        dimensions: embedding.dimensions.and_then(|dimensions| usize::try_from(dimensions).ok()),
    })
}

fn text(column: &Column) -> Result<&Column, Misfit> {
    match column.base.as_str() {
        "text" | "varchar" | "bpchar" => Ok(column),
        _ => Err(Misfit::NotText {
            column: column.name.clone(),
            type_name: column.type_name.clone(),
        }),
    }
}

fn numbers(column: &Column, model: usize) -> Result<Numbers, Misfit> {
    let numbers = match column.base.as_str() {
        "vector" => Numbers::Single,
        "halfvec" => Numbers::Half,
        _ => {
            return Err(Misfit::NotVector {
                column: column.name.clone(),
                type_name: column.type_name.clone(),
            });
        }
    };
    match column.dimensions {
        Some(dimensions) if usize::try_from(dimensions) != Ok(model) => Err(Misfit::Dimensions {
            column: column.name.clone(),
            column_dimensions: dimensions,
            model,
        }),
        _ => Ok(numbers),
    }
}

fn ids(column: &Column) -> Result<Ids, Misfit> {
    match column.base.as_str() {
        "text" | "varchar" | "bpchar" if column.chars.is_none_or(|chars| chars >= ULID_CHARS) => {
            Ok(Ids::Ulid)
        }
        "uuid" => Ok(Ids::Uuid),
        _ if column.filled => Ok(Ids::Server),
        _ => Err(Misfit::NoId { column: column.name.clone(), type_name: column.type_name.clone() }),
    }
}

/// The statements of a swap for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statements {
    /// The application's table, quoted.
    pub table: String,
    /// Source column as text.
    pub source: String,
    /// Which rows are the bot's; `$1` is the bot.
    pub own: String,
    /// Makes the staged chunks of `$1` bot, `$2` migration and `$3` run rows.
    pub insert: String,
}

impl Statements {
    /// The statements for a table of this shape.
    pub(crate) fn new(knowledge: &Knowledge, shape: &Shape) -> Statements {
        let source = quote_ident(&knowledge.source);
        let mut columns = vec![quote_ident(&knowledge.content), source.clone()];
        let mut values = vec!["c.content".to_owned(), "d.source".to_owned()];
        columns.push(quote_ident(&knowledge.embedding));
        values.push("c.embedding".to_owned());
        // Names $1 in any case, so that the parameter's type is known without a bot column too.
        let mut own = "$1::text IS NOT NULL".to_owned();
        if let (Some(bot), Some(bot_type)) = (&knowledge.bot, &shape.bot_type) {
            own = format!("{} = ($1::text)::{bot_type}", quote_ident(bot));
            columns.push(quote_ident(bot));
            values.push(format!("($1::text)::{bot_type}"));
        }
        match shape.ids {
            Ids::Ulid => values.push("c.id".to_owned()),
            Ids::Uuid => values.push("c.id::pg_catalog.uuid".to_owned()),
            Ids::Server => {}
        }
        if shape.ids != Ids::Server {
            columns.push(quote_ident(&knowledge.id));
        }
        let insert = format!(
            "INSERT INTO {} ({}) SELECT {} FROM vecferry.staged_document d JOIN {} c ON c.document = d.id \
             WHERE d.bot = $1 AND d.migration = $2 AND d.run = $3 AND d.complete \
             ORDER BY d.source COLLATE \"C\", c.ordinal",
            knowledge.table,
            columns.join(", "),
            values.join(", "),
            shape.chunk_table()
        );
        let source = format!("{source}::text");
        Statements { table: knowledge.table.to_string(), source, own, insert }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { dimensions: 1024, chunk_chars: 1000 };

    fn column(name: &str, base: &str) -> Column {
        Column {
            name: name.into(),
            type_name: base.into(),
            base: base.into(),
            chars: None,
            dimensions: None,
            not_null: false,
            filled: false,
            generated: false,
        }
    }

    fn bedrock_chat() -> Vec<Column> {
        vec![
            Column { chars: Some(26), not_null: true, ..column("id", "bpchar") },
            Column {
                chars: Some(26),
                type_name: "character(26)".into(),
                ..column("botid", "bpchar")
            },
            column("content", "text"),
            column("source", "text"),
            Column {
                dimensions: Some(1024),
                type_name: "public.vector(1024)".into(),
                ..column("embedding", "vector")
            },
        ]
    }

    fn with(index: usize, change: impl FnOnce(&mut Column)) -> Vec<Column> {
        let mut columns = bedrock_chat();
        change(&mut columns[index]);
        columns
    }

    fn decided(columns: &[Column]) -> Result<Shape, Misfit> {
        decide(&Knowledge::default(), columns, NEED)
    }

    #[test]
    fn bedrock_chats_table_takes_ulids_and_vectors() {
        let shape = decided(&bedrock_chat()).unwrap();
        assert_eq!(shape.ids, Ids::Ulid);
        assert_eq!(shape.chunk_table().name, "staged_chunk_vector_1024");
        assert_eq!(shape.bot_type.as_deref(), Some("character(26)"));
        let insert = Statements::new(&Knowledge::default(), &shape).insert;
        assert!(insert.contains("($1::text)::character(26)"), "{insert}");
    }

    #[test]
    fn an_id_is_made_for_every_type_that_can_take_one() {
        let id = |base: &str, chars, filled| {
            decided(&with(0, |id| {
                id.base = base.into();
                id.chars = chars;
                id.filled = filled;
            }))
            .map(|shape| shape.ids)
        };
        assert_eq!(id("text", None, false), Ok(Ids::Ulid));
        assert_eq!(id("varchar", Some(40), true), Ok(Ids::Ulid));
        assert_eq!(id("bpchar", Some(26), false), Ok(Ids::Ulid));
        assert!(matches!(id("bpchar", Some(25), false), Err(Misfit::NoId { .. })));
        assert_eq!(id("bpchar", Some(25), true), Ok(Ids::Server));
        assert_eq!(id("uuid", None, true), Ok(Ids::Uuid));
        assert_eq!(id("int8", None, true), Ok(Ids::Server));
        assert!(matches!(id("int8", None, false), Err(Misfit::NoId { .. })));
    }

    #[test]
    fn a_model_of_other_dimensions_is_refused_and_a_column_without_any_takes_all() {
        let fixed = with(4, |embedding| embedding.dimensions = Some(384));
        assert_eq!(
            decided(&fixed),
            Err(Misfit::Dimensions {
                column: "embedding".into(),
                column_dimensions: 384,
                model: 1024
            })
        );
        let open = decided(&with(4, |embedding| embedding.dimensions = None)).unwrap();
        assert_eq!(open.chunk_table().name, "staged_chunk_vector");
        let half = decided(&with(4, |embedding| embedding.base = "halfvec".into())).unwrap();
        assert_eq!(half.chunk_table().name, "staged_chunk_halfvec_1024");
        let sparse = decided(&with(4, |embedding| embedding.base = "sparsevec".into()));
        assert!(matches!(sparse, Err(Misfit::NotVector { .. })));
    }

    #[test]
    fn a_column_nobody_fills_is_named() {
        let mut columns = bedrock_chat();
        columns.push(Column { not_null: true, ..column("tenant", "text") });
        assert_eq!(decided(&columns), Err(Misfit::Unfilled("tenant".into())));
        columns[5].filled = true;
        assert!(decided(&columns).is_ok());
        columns[5] = column("note", "text");
        assert!(decided(&columns).is_ok());
        assert_eq!(decided(&columns[1..]), Err(Misfit::NoColumn("id".into())));
    }

    #[test]
    fn text_columns_must_be_text_and_wide_enough() {
        let narrow = with(2, |content| content.chars = Some(999));
        assert!(matches!(decided(&narrow), Err(Misfit::TooNarrow { needed: 1000, .. })));
        assert!(decided(&with(2, |content| content.chars = Some(1000))).is_ok());
        let generated = with(3, |source| source.generated = true);
        assert_eq!(decided(&generated), Err(Misfit::Generated("source".into())));
        let json = with(3, |source| source.base = "jsonb".into());
        assert!(matches!(decided(&json), Err(Misfit::NotText { .. })));
    }

    #[test]
    fn a_table_of_one_bot_has_no_bot_in_its_statements() {
        let knowledge = Knowledge { bot: None, ..Knowledge::default() };
        let shape = decide(&knowledge, &bedrock_chat(), NEED).unwrap();
        let statements = Statements::new(&knowledge, &shape);
        assert!(!statements.insert.contains("botid"), "{}", statements.insert);
        assert_eq!(statements.own, "$1::text IS NOT NULL");
    }
}
