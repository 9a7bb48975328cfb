//! A file of prices, the built-in one or an operator's. Read by hand rather than by derive, so that every mistake is
//! found in one reading, with its line and the nearest right word.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Item, Quote};
use crate::operator_file::{Lines, nearest};

/// Keys of a price that is written as a table.
const KEYS: [&str; 4] = ["usd", "as_of", "source", "compared"];

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) region: Option<String>,
    pub(super) items: BTreeMap<Item, Quote>,
    pub(super) embedding: BTreeMap<String, Quote>,
}

/// Reads a file's text. `name` is the source of prices that name none.
///
/// # Errors
/// Every mistake with its line.
pub(super) fn read(text: &str, name: &str) -> Result<Table, Vec<String>> {
    let lines = Lines::of(text);
    let line = |at: usize| lines.number(at);
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![format!("line {}: {}", line(at), error.message().to_lowercase())]
    })?;
    let mut reader = Reader { table: Table::default(), name, mistakes: Vec::new() };
    for (key, value) in document.get_ref() {
        reader.top(key, value.get_ref());
    }
    if reader.mistakes.is_empty() {
        return Ok(reader.table);
    }
    reader.mistakes.sort();
    let told = reader.mistakes.into_iter().map(|(at, what)| format!("line {}: {what}", line(at)));
    Err(told.collect())
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

struct Reader<'a> {
    table: Table,
    name: &'a str,
    /// With the place in the text.
    mistakes: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn mistake(&mut self, key: &Key<'_>, what: String) {
        self.mistakes.push((key.span().start, what));
    }

    fn top(&mut self, key: &Key<'_>, value: &DeValue<'_>) {
        let name: &str = key.get_ref();
        if name == "region" {
            match value.as_str() {
                Some(region) => self.table.region = Some(region.to_owned()),
                None => self.mistake(key, "`region` must be a text".into()),
            }
        } else if name == "embedding" {
            let Some(models) = value.as_table() else {
                return self.mistake(key, "`embedding` must be a table of models".into());
            };
            for (model, value) in models {
                if let Some(quote) = self.quote(model, value.get_ref()) {
                    self.table.embedding.insert(model.get_ref().to_string(), quote);
                }
            }
        } else if let Some(item) = Item::ALL.into_iter().find(|item| item.key() == name) {
            if let Some(quote) = self.quote(key, value) {
                self.table.items.insert(item, quote);
            }
        } else {
            let mut known = vec!["region", "embedding"];
            known.extend(Item::ALL.map(Item::key));
            self.mistake(key, unknown(name, &known));
        }
    }

    /// A number, or a table with one.
    fn quote(&mut self, key: &Key<'_>, value: &DeValue<'_>) -> Option<Quote> {
        let quote = Quote { usd: 0.0, as_of: None, source: self.name.to_owned(), compared: true };
        let Some(table) = value.as_table() else {
            return self.usd(key, value).map(|usd| Quote { usd, ..quote });
        };
        let (mut quote, mut usd) = (quote, None);
        for (inner, value) in table {
            let (name, value): (&str, _) = (inner.get_ref(), value.get_ref());
            match (name, value.as_str(), value.as_bool()) {
                ("usd", _, _) => usd = Some(self.usd(inner, value)?),
                ("as_of", Some(day), _) => quote.as_of = Some(day.to_owned()),
                ("source", Some(source), _) => quote.source = source.to_owned(),
                ("compared", _, Some(compared)) => quote.compared = compared,
                (name, _, _) if KEYS.contains(&name) => {
                    self.mistake(inner, format!("`{name}` is of the wrong type"));
                }
                (name, _, _) => self.mistake(inner, unknown(name, &KEYS)),
            }
        }
        if usd.is_none() {
            self.mistake(key, format!("`{}` has no `usd`", key.get_ref()));
        }
        usd.map(|usd| Quote { usd, ..quote })
    }

    /// A price: finite and not below zero. What costs nothing is a price, too.
    fn usd(&mut self, key: &Key<'_>, value: &DeValue<'_>) -> Option<f64> {
        let text = value
            .as_float()
            .map(|float| float.as_str())
            .or_else(|| value.as_integer().map(|integer| integer.as_str()));
        let usd = text.and_then(|text| text.replace('_', "").parse::<f64>().ok());
        let usd = usd.filter(|usd| usd.is_finite() && *usd >= 0.0);
        if usd.is_none() {
            self.mistake(key, format!("`{}` must be a number of USD", key.get_ref()));
        }
        usd
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(candidate) => format!("unknown key `{key}`, did you mean `{candidate}`?"),
        None => format!("unknown key `{key}`"),
    }
}
