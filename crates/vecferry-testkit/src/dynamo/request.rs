//! Members of a request, read so that none is overlooked: one that this double does not know is refused, because the
//! service would do something about it.

use serde_json::Value;

use super::refusal::Refusal;
use super::value::Item;

/// Refuses a request with members that are not among those known.
pub(super) fn only(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let members = body.as_object().ok_or_else(|| Refusal::invalid("the request is no object"))?;
    let unknown = members
        .iter()
        .find(|(name, value)| !value.is_null() && !known.iter().any(|known| known == name));
    match unknown {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::invalid(format!("this double does not know {name} here"))),
    }
}

/// A text that must be there.
pub(super) fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    optional_text(body, name)?.ok_or_else(|| lacking(name))
}

/// A text that may be there.
pub(super) fn optional_text<'a>(body: &'a Value, name: &str) -> Result<Option<&'a str>, Refusal> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Refusal::invalid(format!("{name} is no text"))),
    }
}

/// A number that may be there and must be at least 0.
pub(super) fn optional_number(body: &Value, name: &str) -> Result<Option<u64>, Refusal> {
    match &body[name] {
        Value::Null => Ok(None),
        number => match number.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(Refusal::invalid(format!("{name} is no number of this kind"))),
        },
    }
}

/// Attributes by name, which must be there.
pub(super) fn map<'a>(body: &'a Value, name: &str) -> Result<&'a Item, Refusal> {
    body[name].as_object().ok_or_else(|| lacking(name))
}

/// A list that may be absent.
pub(super) fn list<'a>(body: &'a Value, name: &str) -> Result<&'a [Value], Refusal> {
    match &body[name] {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        _ => Err(Refusal::invalid(format!("{name} is no list"))),
    }
}

fn lacking(name: &str) -> Refusal {
    Refusal::invalid(format!("Value at '{name}' failed to satisfy constraint: must not be null"))
}
