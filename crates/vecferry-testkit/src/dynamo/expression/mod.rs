//! Expressions: conditions and filters, updates, projections. Pure.
//!
//! The part of the language that vecferry uses is understood, the rest refused: `AND`, `OR`, `NOT`, parentheses,
//! `attribute_exists`, `attribute_not_exists`, `contains`, `=` and `IN` over texts; `SET` of values; top-level attributes.
//! Attributes go by placeholders (`#name`) only: whether a bare name is one of the 573 reserved words is not known here.
//! Grammar: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html>.

mod parse;
mod word;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::refusal::Refusal;
use super::value::{self, Item};

/// What holds or does not hold of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Or(Box<Condition>, Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    /// The attribute is there, whatever its value.
    Exists(String),
    /// The attribute is a text that holds this one, or a set or list with it.
    Contains(String, String),
    /// The attribute is one of these texts.
    OneOf(String, Vec<String>),
}

impl Condition {
    /// Understands a condition or filter.
    ///
    /// # Errors
    /// What is beyond the language that is understood here.
    pub(super) fn read(text: &str, names: &Placeholders<'_>) -> Result<Condition, Refusal> {
        parse::condition(text, names)
    }

    /// Whether it holds.
    pub(super) fn holds(&self, item: &Item) -> bool {
        match self {
            Condition::Or(one, other) => one.holds(item) || other.holds(item),
            Condition::And(one, other) => one.holds(item) && other.holds(item),
            Condition::Not(condition) => !condition.holds(item),
            Condition::Exists(name) => item.contains_key(name),
            Condition::Contains(name, text) => item.get(name).is_some_and(|it| contains(it, text)),
            Condition::OneOf(name, texts) => item
                .get(name)
                .and_then(value::text)
                .is_some_and(|text| texts.iter().any(|other| other == text)),
        }
    }
}

fn contains(value: &Value, text: &str) -> bool {
    if let Some(whole) = value::text(value) {
        return whole.contains(text);
    }
    let among =
        |kind: &str, like: Value| value[kind].as_array().is_some_and(|it| it.contains(&like));
    among("SS", text.into()) || among("L", serde_json::json!({"S": text}))
}

/// Attributes and the values that they are set to.
///
/// # Errors
/// Everything but `SET name = :value, …`.
pub(super) fn update(
    text: &str,
    names: &Placeholders<'_>,
) -> Result<Vec<(String, Value)>, Refusal> {
    parse::update(text, names)
}

/// Names of the attributes that are wanted.
///
/// # Errors
/// Everything but a list of top-level attributes.
pub(super) fn projection(text: &str, names: &Placeholders<'_>) -> Result<Vec<String>, Refusal> {
    parse::projection(text, names)
}

/// What `#names` and `:values` of a request's expressions stand for. One that no expression uses is an error.
#[derive(Debug)]
pub(super) struct Placeholders<'a> {
    names: Option<&'a Item>,
    values: Option<&'a Item>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Placeholders<'a> {
    /// Those of a request.
    ///
    /// # Errors
    /// They are no maps.
    pub(super) fn of(request: &'a Value) -> Result<Placeholders<'a>, Refusal> {
        let map = |member: &str| match &request[member] {
            Value::Null => Ok(None),
            Value::Object(map) => Ok(Some(map)),
            _ => Err(Refusal::invalid(format!("{member} is not a map"))),
        };
        Ok(Placeholders {
            names: map("ExpressionAttributeNames")?,
            values: map("ExpressionAttributeValues")?,
            used: RefCell::default(),
        })
    }

    fn name(&self, placeholder: &str) -> Result<String, Refusal> {
        let name = self.names.and_then(|names| names.get(placeholder)).and_then(Value::as_str);
        self.used.borrow_mut().insert(placeholder.to_owned());
        name.map(str::to_owned).ok_or_else(|| {
            Refusal::invalid(format!(
                "An expression attribute name used in the document path is not defined; attribute name: {placeholder}"
            ))
        })
    }

    fn value(&self, placeholder: &str) -> Result<Value, Refusal> {
        let held = self.values.and_then(|values| values.get(placeholder));
        self.used.borrow_mut().insert(placeholder.to_owned());
        let held = held.ok_or_else(|| {
            Refusal::invalid(format!(
                "An expression attribute value used in expression is not defined; attribute value: {placeholder}"
            ))
        })?;
        value::check(held)?;
        Ok(held.clone())
    }

    fn text(&self, placeholder: &str) -> Result<String, Refusal> {
        let held = self.value(placeholder)?;
        let text = value::text(&held).map(str::to_owned);
        text.ok_or_else(|| Refusal::invalid("this double compares texts only"))
    }

    /// To be asked after all expressions of the request were read.
    ///
    /// # Errors
    /// One was not used.
    pub(super) fn all_used(&self) -> Result<(), Refusal> {
        let used = self.used.borrow();
        for (what, map) in [("Names", self.names), ("Values", self.values)] {
            let unused = map.into_iter().flatten().find(|(name, _)| !used.contains(*name));
            if let Some((name, _)) = unused {
                return Err(Refusal::invalid(format!(
                    "Value provided in ExpressionAttribute{what} unused in expressions: keys: {{{name}}}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
