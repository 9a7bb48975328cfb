//! Expressions that are understood, and those that are refused rather than guessed.

use serde_json::json;

use super::*;

/// The placeholders that the expressions below use; what they do not use is not asked about.
fn request() -> Value {
    json!({
        "ExpressionAttributeNames": {"#a": "A", "#b": "B", "#c": "C"},
        "ExpressionAttributeValues": {
            ":x": {"S": "x"}, ":y": {"S": "y"}, ":none": {"S": ""}, ":one": {"N": "1"},
        },
    })
}

fn item(json: Value) -> Item {
    json.as_object().unwrap().clone()
}

fn holds(text: &str, of: Value) -> bool {
    let request = request();
    let names = Placeholders::of(&request).unwrap();
    Condition::read(text, &names)
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
        .holds(&item(of))
}

#[test]
fn conditions_bind_as_the_service_says() {
    let a = || json!({"A": {"S": "x"}});
    for (text, expected) in [
        ("attribute_exists(#a)", true),
        ("attribute_not_exists(#a)", false),
        ("attribute_exists(#a) AND attribute_exists(#b)", false),
        ("attribute_exists(#b) OR attribute_exists(#a)", true),
        // AND before OR, whatever stands first.
        ("attribute_exists(#a) OR attribute_exists(#b) AND attribute_exists(#c)", true),
        ("(attribute_exists(#a) OR attribute_exists(#b)) AND attribute_exists(#c)", false),
        // NOT before AND, after comparisons.
        ("NOT attribute_exists(#b) AND attribute_exists(#a)", true),
        ("NOT (attribute_exists(#b) AND attribute_exists(#a))", true),
        ("NOT #a IN (:y)", true),
        ("NOT NOT #a = :x", true),
        ("#a IN (:y, :x)", true),
        ("#a in (:y) or not #b = :x", true),
    ] {
        assert_eq!(holds(text, a()), expected, "{text}");
    }
}

#[test]
fn an_attribute_that_is_absent_or_no_text_equals_nothing() {
    for of in [json!({}), json!({"A": {"NULL": true}}), json!({"A": {"N": "1"}})] {
        assert!(!holds("#a = :x", of.clone()) && !holds("#a IN (:x)", of.clone()), "{of}");
        assert!(holds("NOT #a IN (:x, :y)", of));
    }
    assert!(holds("#a = :none", json!({"A": {"S": ""}})));
}

#[test]
fn contains_looks_into_texts_sets_and_lists() {
    for (value, expected) in [
        (json!({"S": "axb"}), true),
        (json!({"S": "ab"}), false),
        (json!({"SS": ["y", "x"]}), true),
        (json!({"SS": ["xy"]}), false),
        (json!({"L": [{"S": "x"}]}), true),
        (json!({"L": [{"N": "1"}]}), false),
        (json!({"N": "1"}), false),
    ] {
        assert_eq!(holds("contains(#a, :x)", json!({"A": value})), expected, "{value}");
    }
}

#[test]
fn an_update_sets_and_a_projection_lists() {
    let request = request();
    let names = Placeholders::of(&request).unwrap();
    let sets = update("SET #a = :x, #b = :one", &names).unwrap();
    assert_eq!(sets, [("A".to_owned(), json!({"S": "x"})), ("B".to_owned(), json!({"N": "1"}))]);
    assert_eq!(projection("#a,#c , #b", &names).unwrap(), ["A", "C", "B"]);
}

#[test]
fn what_is_not_known_is_refused_and_never_guessed() {
    let request = request();
    let names = Placeholders::of(&request).unwrap();
    let conditions = [
        "",
        "A = :x",
        "#a",
        "#a <> :x",
        "#a < :x",
        "#a = #b",
        "#a = :one",
        "#a BETWEEN :x AND :y",
        "#a.B = :x",
        "#a[0] = :x",
        "size(#a) = :x",
        "begins_with(#a, :x)",
        "Contains(#a, :x)",
        "contains(#a)",
        "attribute_exists(#a, #b)",
        "attribute_exists(#a",
        "attribute_exists(#a) attribute_exists(#b)",
        "(attribute_exists(#a)",
        "#a IN ()",
        "#unknown = :x",
        "#a = :unknown",
        "# = :x",
        "#ä = :x",
    ];
    for text in conditions {
        assert!(Condition::read(text, &names).is_err(), "{text}");
    }
    let deep = format!("{}attribute_exists(#a){}", "(".repeat(500), ")".repeat(500));
    assert!(Condition::read(&deep, &names).unwrap_err().message().contains("nested"));
    for text in
        ["REMOVE #a", "SET #a = #b", "SET #a = :x ADD #b :one", "SET #a = :x, #a = :y", "SET #a"]
    {
        assert!(update(text, &names).is_err(), "{text}");
    }
    for text in ["A", "#a.#b", "#a #b", "#a,", ""] {
        assert!(projection(text, &names).is_err(), "{text}");
    }
}

#[test]
fn a_placeholder_that_no_expression_uses_is_an_error() {
    let request = json!({
        "ExpressionAttributeNames": {"#a": "A"}, "ExpressionAttributeValues": {":x": {"S": "x"}},
    });
    let names = Placeholders::of(&request).unwrap();
    projection("#a", &names).unwrap();
    assert!(names.all_used().unwrap_err().message().contains("{:x}"));
    Condition::read("#a = :x", &names).unwrap();
    assert_eq!(names.all_used(), Ok(()));
    assert!(Placeholders::of(&json!({"ExpressionAttributeNames": []})).is_err());
}
