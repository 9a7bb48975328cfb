//! TOML and JSON as one small tree whose nodes know where they stand.

use toml::de::{DeTable, DeValue};

use crate::operator_file::Lines;

/// A value and its place: a line in TOML; in JSON, whose reader keeps no lines, a path such as `bots[2].title`.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: String,
    pub(super) value: Value,
}

/// What bots are described with.
#[derive(Debug)]
pub(super) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A list.
    List(Vec<Node>),
    /// A table, in the file's order.
    Table(Vec<(String, Node)>),
    /// Something that no key wants.
    Other(&'static str),
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

/// Reads TOML; the mistake names its line and shows nothing of it.
pub(super) fn read_toml(text: &str) -> Result<Node, String> {
    let lines = Lines::of(text);
    let line = |at: usize| format!("line {}", lines.number(at));
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        format!("{}: {}", line(at), error.message().to_lowercase())
    })?;
    Ok(from_toml_table(table.get_ref(), 0, &line))
}

fn from_toml_table(table: &DeTable<'_>, at: usize, line: &dyn Fn(usize) -> String) -> Node {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.to_string(), from_toml(value.get_ref(), value.span().start, line))
    };
    Node { place: line(at), value: Value::Table(entries.into_iter().map(entry).collect()) }
}

fn from_toml(value: &DeValue<'_>, at: usize, line: &dyn Fn(usize) -> String) -> Node {
    let value = match value {
        DeValue::Table(table) => return from_toml_table(table, at, line),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Other("a number that large"),
        },
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| from_toml(item.get_ref(), item.span().start, line)).collect(),
        ),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(_) => Value::Other("true or false"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { place: line(at), value }
}

/// Reads JSON; the mistake names its line.
pub(super) fn read_json(text: &str) -> Result<Node, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        // The reader's own words end in line and column.
        let said = error.to_string();
        let what = said.split(" at line ").next().unwrap_or_default();
        format!("line {}: {what}", error.line())
    })?;
    Ok(from_json(value, "the file".into(), ""))
}

fn from_json(value: serde_json::Value, place: String, path: &str) -> Node {
    let below = |step: String| match (path, step.starts_with('[')) {
        ("", _) | (_, true) => format!("{path}{step}"),
        _ => format!("{path}.{step}"),
    };
    let value = match value {
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or(Value::Other("a fraction"), Value::Number)
        }
        serde_json::Value::Array(items) => {
            let node = |(at, item)| {
                let path = below(format!("[{at}]"));
                from_json(item, path.clone(), &path)
            };
            Value::List(items.into_iter().enumerate().map(node).collect())
        }
        serde_json::Value::Object(entries) => {
            let entry = |(key, item): (String, _)| {
                let path = below(key.clone());
                (key, from_json(item, path.clone(), &path))
            };
            Value::Table(entries.into_iter().map(entry).collect())
        }
        serde_json::Value::Bool(_) => Value::Other("true or false"),
        serde_json::Value::Null => Value::Other("null"),
    };
    Node { place, value }
}
