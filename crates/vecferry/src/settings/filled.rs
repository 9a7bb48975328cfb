//! The template with some of its settings in force. Pure: what is known of a deployment goes to the lines that show
//! the same key, so that a filled file reads like the commented one.

use super::TEMPLATE;

/// A setting that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its table; `None` at the top of the file.
    pub(crate) table: Option<&'static str>,
    pub(crate) key: &'static str,
    pub(crate) value: Value,
    /// Where it was found, for the comment above it.
    pub(crate) from: String,
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::List(texts) => {
                let all: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                write!(f, "[{}]", all.join(", "))
            }
        }
    }
}

/// A basic string (<https://toml.io/en/v1.0.0#string>): quotes, backslashes and control characters are escaped.
fn quoted(text: &str) -> String {
    let escaped = text.chars().fold(String::new(), |mut all, one| {
        match one {
            '"' | '\\' => all.extend(['\\', one]),
            one if one.is_control() => all.push_str(&format!("\\u{:04X}", u32::from(one))),
            one => all.push(one),
        }
        all
    });
    format!("\"{escaped}\"")
}

/// The template with these settings in force and the rest commented out.
pub(crate) fn filled(known: &[Known]) -> String {
    let (mut text, mut table) = (String::new(), None);
    for line in TEMPLATE.lines() {
        let shown = line.strip_prefix("# ").unwrap_or_default();
        if let Some(name) = shown.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = Some(name);
            let used = known.iter().any(|one| one.table == table);
            text.push_str(if used { shown } else { line });
        } else if let Some(one) = known.iter().find(|one| {
            one.table == table
                && shown.strip_prefix(one.key).is_some_and(|rest| rest.starts_with(" = "))
        }) {
            text.push_str(&format!("# From {}.\n{} = {}", one.from, one.key, one.value));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::File;

    fn known(table: Option<&'static str>, key: &'static str, value: Value) -> Known {
        Known { table, key, value, from: format!("output {key}") }
    }

    #[test]
    fn nothing_known_is_the_template() {
        assert_eq!(filled(&[]), TEMPLATE);
    }

    #[test]
    fn what_is_known_is_in_force_in_its_own_table_with_where_it_is_from() {
        let text = |text: &str| Value::Text(text.into());
        let all = [
            known(Some("bots"), "table", text("Chat")),
            known(Some("embedding"), "region", text("us-west-2")),
            known(Some("tasks"), "subnets", Value::List(vec!["a".into(), "b".into()])),
        ];
        let shown = filled(&all);
        assert!(
            shown.contains("[bots]\n# From output table.\ntable = \"Chat\"\n# file = "),
            "{shown}"
        );
        assert!(shown.contains("# region = \"us-east-1\"\n# profile"), "[aws] stays:\n{shown}");
        assert!(shown.contains("\n# [aws]\n") && shown.contains("\n[tasks]\n"));
        let file = File::parse(&shown, Path::new("v.toml")).unwrap();
        assert_eq!(file.reembed.registry.bot_table.as_deref(), Some("Chat"));
        assert_eq!(file.reembed.embedding.model_region.as_deref(), Some("us-west-2"));
        assert_eq!(file.reembed.tasks.subnets, ["a", "b"]);
        assert!(file.knowledge == vecferry_core::knowledge::Knowledge::default());
    }

    #[test]
    fn a_value_is_quoted_whatever_it_holds() {
        for odd in ["a\"b\\c", "tab\there", "Zażółć", ""] {
            let shown = filled(&[known(Some("bots"), "table", Value::Text(odd.into()))]);
            let file = File::parse(&shown, Path::new("v.toml")).unwrap();
            assert_eq!(file.reembed.registry.bot_table.as_deref(), Some(odd));
        }
    }
}
