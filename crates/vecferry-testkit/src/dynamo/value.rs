//! Attribute values in DynamoDB's JSON, `{"S": "text"}`: whether one is well formed, how large it is, and those that
//! keys are made of, in the order in which the service keeps them. Pure.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Attributes by name.
pub(super) type Item = Map<String, Value>;

/// Largest item, in bytes
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
const ITEM_BYTES: usize = 400 * 1024;

/// Refuses an item that the service would not store.
pub(super) fn check_item(item: &Item) -> Result<(), Refusal> {
    item.values().try_for_each(check)?;
    if size_of_item(item) > ITEM_BYTES {
        return Err(Refusal::invalid("Item size has exceeded the maximum allowed size"));
    }
    Ok(())
}

/// Refuses what is no value.
pub(super) fn check(value: &Value) -> Result<(), Refusal> {
    let wrong = || Refusal::invalid("Supplied AttributeValue is empty or has another shape");
    let (kind, held) = kind_of(value).ok_or_else(wrong)?;
    let texts = |held: &Value| {
        let texts = held.as_array().filter(|texts| !texts.is_empty());
        texts.is_some_and(|texts| texts.iter().all(Value::is_string))
    };
    let fits = match kind {
        "S" | "B" => held.is_string(),
        "N" => held.as_str().is_some_and(|number| number.parse().is_ok_and(f64::is_finite)),
        "BOOL" => held.is_boolean(),
        "NULL" => held == &Value::Bool(true),
        "SS" | "NS" | "BS" => texts(held),
        "L" => return held.as_array().ok_or_else(wrong)?.iter().try_for_each(check),
        "M" => return held.as_object().ok_or_else(wrong)?.values().try_for_each(check),
        _ => false,
    };
    if fits { Ok(()) } else { Err(wrong()) }
}

/// The type's name and what is held.
fn kind_of(value: &Value) -> Option<(&str, &Value)> {
    let mut members = value.as_object()?.iter();
    let (kind, held) = members.next()?;
    members.next().is_none().then_some((kind.as_str(), held))
}

/// The text of a value that is one.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.get("S")?.as_str()
}

/// Bytes of an item, about as the service counts them: names, texts and digits, and a little for each structure
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
pub(super) fn size_of_item(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

fn size(value: &Value) -> usize {
    let Some((kind, held)) = kind_of(value) else { return 0 };
    match (kind, held) {
        ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
        // Base64 has four characters for three bytes.
        ("B", Value::String(text)) => text.len() * 3 / 4,
        (_, Value::String(text)) => text.len(),
        ("L", Value::Array(values)) => {
            3 + values.iter().map(|value| 1 + size(value)).sum::<usize>()
        }
        (_, Value::Array(texts)) => texts.iter().filter_map(Value::as_str).map(str::len).sum(),
        (_, Value::Object(map)) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>()
        }
        _ => 1,
    }
}

/// A value that a key holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Scalar {
    Number(i128),
    Text(String),
}

impl Scalar {
    /// The value of a key attribute that is declared with this type (`S`, `N`).
    pub(super) fn read(value: &Value, kind: &str) -> Result<Scalar, Refusal> {
        let mismatch = || {
            let message = "One or more parameter values were invalid: Type mismatch for key";
            Refusal::invalid(message)
        };
        match kind_of(value).ok_or_else(mismatch)? {
            ("S", Value::String(text)) if kind == "S" && text.is_empty() => {
                let message =
                    "One or more parameter values are not valid: a key holds an empty string value";
                Err(Refusal::invalid(message))
            }
            ("S", Value::String(text)) if kind == "S" => Ok(Scalar::Text(text.clone())),
            ("N", Value::String(digits)) if kind == "N" => digits
                .parse()
                .map(Scalar::Number)
                .map_err(|_| Refusal::invalid("this double sorts whole numbers only")),
            _ => Err(mismatch()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_value_is_refused_however_deep_it_lies() {
        for value in [
            json!({"S": ""}),
            json!({"N": "1.5E3"}),
            json!({"BOOL": false}),
            json!({"NULL": true}),
            json!({"L": []}),
            json!({"M": {"a": {"L": [{"S": "x"}]}}}),
            json!({"SS": ["a"]}),
        ] {
            assert_eq!(check(&value), Ok(()), "{value}");
        }
        for value in [
            json!("x"),
            json!({}),
            json!({"S": 1}),
            json!({"N": "ten"}),
            json!({"N": 1}),
            json!({"NULL": false}),
            json!({"S": "x", "N": "1"}),
            json!({"SS": []}),
            json!({"X": "x"}),
            json!({"M": {"a": {"L": ["x"]}}}),
        ] {
            assert!(check(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn an_item_beyond_the_services_limit_is_refused() {
        let item = |bytes: usize| {
            Item::from_iter([("a".to_owned(), json!({"M": {"b": {"S": "x".repeat(bytes)}}}))])
        };
        assert_eq!(size_of_item(&item(100)), 1 + 3 + 2 + 100);
        assert_eq!(check_item(&item(ITEM_BYTES - 6)), Ok(()));
        assert!(check_item(&item(ITEM_BYTES - 5)).is_err());
    }

    #[test]
    fn numbers_of_keys_are_sorted_as_numbers() {
        let read = |digits: &str| Scalar::read(&json!({"N": digits}), "N");
        assert!(read("9").unwrap() < read("10").unwrap());
        assert!(read("1.5").is_err() && Scalar::read(&json!({"S": "1"}), "N").is_err());
        assert!(Scalar::read(&json!({"S": ""}), "S").is_err());
    }
}
