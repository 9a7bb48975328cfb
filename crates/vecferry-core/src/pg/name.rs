//! SQL names and literals, quoted in one place.

use std::fmt;

/// Quotes an identifier whether or not it needs it: `Größe "x"` becomes `"Größe ""x"""`.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string constant for a session with `standard_conforming_strings = on` (set on every session here).
pub fn quote_literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A schema-qualified name. `Display` quotes it for SQL; [`QualifiedName::plain`] is for people.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct QualifiedName {
    /// Schema, unquoted.
    pub schema: String,
    /// Object name, unquoted.
    pub name: String,
}

impl QualifiedName {
    /// A name from its two unquoted halves.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// `schema.name` without quotes, for messages.
    pub fn plain(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_survive_their_own_quotes() {
        assert_eq!(QualifiedName::new("Über", "a\"b").to_string(), "\"Über\".\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
    }
}
