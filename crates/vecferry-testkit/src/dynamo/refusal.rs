//! What the service says when it refuses; all of it has status 400.

use serde_json::{Value, json};

/// An error of the service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    body: Value,
}

impl Refusal {
    /// The request is wrong, or more than this double knows.
    pub(super) fn invalid(message: impl Into<String>) -> Refusal {
        let code = "com.amazon.coral.validate#ValidationException";
        Refusal { body: json!({"__type": code, "message": message.into()}) }
    }

    pub(super) fn no_table() -> Refusal {
        Refusal::of("ResourceNotFoundException", "Requested resource not found")
    }

    pub(super) fn table_exists(name: &str) -> Refusal {
        Refusal::of("ResourceInUseException", &format!("Table already exists: {name}"))
    }

    /// The condition does not hold; the item is shown where that was asked for and there is one.
    pub(super) fn condition(item: Option<Value>) -> Refusal {
        let mut refusal =
            Refusal::of("ConditionalCheckFailedException", "The conditional request failed");
        if let Some(item) = item {
            refusal.body["Item"] = item;
        }
        refusal
    }

    pub(super) fn unknown_operation(operation: &str) -> Refusal {
        let code = "com.amazon.coral.service#UnknownOperationException";
        Refusal { body: json!({"__type": code, "message": operation}) }
    }

    pub(super) fn serialization(error: &serde_json::Error) -> Refusal {
        let code = "com.amazon.coral.service#SerializationException";
        Refusal { body: json!({"__type": code, "message": error.to_string()}) }
    }

    fn of(code: &str, message: &str) -> Refusal {
        let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
        Refusal { body: json!({"__type": code, "message": message}) }
    }

    pub(super) fn into_body(self) -> Value {
        self.body
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}
