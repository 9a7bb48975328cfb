//! The operations that vecferry and its tests ask for
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html>).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::expression::{self, Condition, Placeholders};
use super::refusal::Refusal;
use super::request::{map, only, optional_number, optional_text, text};
use super::table::{Asked, Table};
use super::value::{Item, check};

/// Most writes of a batch.
const BATCH: usize = 25;

/// Most segments of a scan.
const SEGMENTS: u64 = 1_000_000;

type Tables = BTreeMap<String, Table>;

/// Carries an operation out.
pub(super) fn perform(
    tables: &mut Tables,
    operation: &str,
    body: &Value,
) -> Result<Value, Refusal> {
    match operation {
        "CreateTable" => create(tables, body),
        "BatchWriteItem" => batch(tables, body),
        "DescribeTable" => {
            only(body, &["TableName"])?;
            Ok(json!({"Table": named(tables, body)?.description()}))
        }
        "Scan" => scan(named(tables, body)?, body),
        "GetItem" => get(named(tables, body)?, body),
        "PutItem" => {
            only(body, &["TableName", "Item"])?;
            named(tables, body)?.put(map(body, "Item")?.clone()).map(|()| json!({}))
        }
        "UpdateItem" => update(named(tables, body)?, body),
        "DeleteItem" => {
            only(body, &["TableName", "Key"])?;
            let table = named(tables, body)?;
            let place = table.place(map(body, "Key")?)?;
            table.remove(&place);
            Ok(json!({}))
        }
        _ => Err(Refusal::unknown_operation(operation)),
    }
}

fn named<'a>(tables: &'a mut Tables, body: &Value) -> Result<&'a mut Table, Refusal> {
    tables.get_mut(text(body, "TableName")?).ok_or_else(Refusal::no_table)
}

fn create(tables: &mut Tables, body: &Value) -> Result<Value, Refusal> {
    only(
        body,
        &[
            "TableName",
            "BillingMode",
            "KeySchema",
            "AttributeDefinitions",
            "LocalSecondaryIndexes",
            "GlobalSecondaryIndexes",
        ],
    )?;
    let name = text(body, "TableName")?;
    if tables.contains_key(name) {
        return Err(Refusal::table_exists(name));
    }
    let table = Table::create(body)?;
    let description = table.description();
    tables.insert(name.to_owned(), table);
    Ok(json!({"TableDescription": description}))
}

fn scan(table: &Table, body: &Value) -> Result<Value, Refusal> {
    only(
        body,
        &[
            "TableName",
            "IndexName",
            "Segment",
            "TotalSegments",
            "Limit",
            "ExclusiveStartKey",
            "FilterExpression",
            "ProjectionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
            "ConsistentRead",
        ],
    )?;
    let names = Placeholders::of(body)?;
    let filter = optional_text(body, "FilterExpression")?;
    let filter = filter.map(|filter| Condition::read(filter, &names)).transpose()?;
    let projection = projection(body, &names)?;
    names.all_used()?;
    let from = match &body["ExclusiveStartKey"] {
        Value::Null => None,
        _ => Some(map(body, "ExclusiveStartKey")?),
    };
    let limit = optional_number(body, "Limit")?;
    if limit == Some(0) {
        return Err(Refusal::invalid("Limit must be greater than or equal to 1"));
    }
    let asked = Asked {
        index: optional_text(body, "IndexName")?,
        segment: segment(body)?,
        from,
        limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
    };
    let page = table.page(&asked)?;
    let wanted = page.items.iter().filter(|item| filter.as_ref().is_none_or(|it| it.holds(item)));
    let items: Vec<Value> = wanted.map(|item| projected(item, projection.as_deref())).collect();
    let mut answer =
        json!({"Count": items.len(), "ScannedCount": page.items.len(), "Items": items});
    if let Some(last) = page.last {
        answer["LastEvaluatedKey"] = last.into();
    }
    Ok(answer)
}

fn segment(body: &Value) -> Result<Option<(u64, u64)>, Refusal> {
    match (optional_number(body, "Segment")?, optional_number(body, "TotalSegments")?) {
        (None, None) => Ok(None),
        (Some(segment), Some(segments)) if (1..=SEGMENTS).contains(&segments) => {
            Ok(Some((segment, segments)))
        }
        _ => Err(Refusal::invalid("Segment and TotalSegments belong together, up to 1000000")),
    }
}

fn get(table: &Table, body: &Value) -> Result<Value, Refusal> {
    only(
        body,
        &["TableName", "Key", "ConsistentRead", "ProjectionExpression", "ExpressionAttributeNames"],
    )?;
    let names = Placeholders::of(body)?;
    let projection = projection(body, &names)?;
    names.all_used()?;
    let place = table.place(map(body, "Key")?)?;
    let mut answer = json!({});
    if let Some(item) = table.get(&place) {
        answer["Item"] = projected(item, projection.as_deref());
    }
    Ok(answer)
}

fn projection(body: &Value, names: &Placeholders<'_>) -> Result<Option<Vec<String>>, Refusal> {
    let text = optional_text(body, "ProjectionExpression")?;
    text.map(|text| expression::projection(text, names)).transpose()
}

fn projected(item: &Item, wanted: Option<&[String]>) -> Value {
    let Some(wanted) = wanted else { return item.clone().into() };
    let of = |name: &String| Some((name.clone(), item.get(name)?.clone()));
    wanted.iter().filter_map(of).collect::<Item>().into()
}

fn batch(tables: &mut Tables, body: &Value) -> Result<Value, Refusal> {
    only(body, &["RequestItems"])?;
    let requests = map(body, "RequestItems")?;
    let mut writes: Vec<(&str, &Item)> = Vec::new();
    for (table, puts) in requests {
        for put in puts.as_array().into_iter().flatten() {
            only(put, &["PutRequest"])?;
            only(&put["PutRequest"], &["Item"])?;
            writes.push((table, map(&put["PutRequest"], "Item")?));
        }
    }
    if !(1..=BATCH).contains(&writes.len()) {
        return Err(Refusal::invalid(
            "Too many items requested for the BatchWriteItem call, or none",
        ));
    }
    for (table, item) in writes {
        let table = tables.get_mut(table).ok_or_else(Refusal::no_table)?;
        table.put(item.clone())?;
    }
    Ok(json!({"UnprocessedItems": {}}))
}

/// One update, under its condition, in one step. An item that is not there is made, as the service does it.
fn update(table: &mut Table, body: &Value) -> Result<Value, Refusal> {
    only(
        body,
        &[
            "TableName",
            "Key",
            "UpdateExpression",
            "AttributeUpdates",
            "ConditionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
            "ReturnValuesOnConditionCheckFailure",
        ],
    )?;
    let names = Placeholders::of(body)?;
    let condition = optional_text(body, "ConditionExpression")?;
    let condition = condition.map(|text| Condition::read(text, &names)).transpose()?;
    let sets = match optional_text(body, "UpdateExpression")? {
        Some(text) if body["AttributeUpdates"].is_null() => expression::update(text, &names)?,
        None if condition.is_none() => puts(body)?,
        _ => return Err(Refusal::invalid("AttributeUpdates and expressions exclude each other")),
    };
    names.all_used()?;
    if let Some((name, _)) = sets.iter().find(|(name, _)| table.is_key(name)) {
        let message = format!("Cannot update attribute {name}. This attribute is part of the key");
        return Err(Refusal::invalid(message));
    }
    let key = map(body, "Key")?;
    let there = table.get(&table.place(key)?);
    let none = Item::new();
    if condition.is_some_and(|condition| !condition.holds(there.unwrap_or(&none))) {
        let shown = match optional_text(body, "ReturnValuesOnConditionCheckFailure")? {
            Some("ALL_OLD") => there.map(|item| item.clone().into()),
            None | Some("NONE") => None,
            Some(_) => return Err(Refusal::invalid("ALL_OLD and NONE can be shown")),
        };
        return Err(Refusal::condition(shown));
    }
    let mut item = there.unwrap_or(key).clone();
    item.extend(sets);
    table.put(item).map(|()| json!({}))
}

/// The older form of an update: each attribute with its value.
fn puts(body: &Value) -> Result<Vec<(String, Value)>, Refusal> {
    let put = |(name, update): (&String, &Value)| {
        only(update, &["Action", "Value"])?;
        if update["Action"] != "PUT" {
            return Err(Refusal::invalid("this double knows the action PUT only"));
        }
        check(&update["Value"])?;
        Ok((name.clone(), update["Value"].clone()))
    };
    match &body["AttributeUpdates"] {
        Value::Null => Ok(Vec::new()),
        _ => map(body, "AttributeUpdates")?.iter().map(put).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let typed = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let mut tables = Tables::new();
        let table = json!({
            "TableName": "t", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [key("P", "HASH"), key("S", "RANGE")],
            "AttributeDefinitions": [typed("P"), typed("S")],
        });
        perform(&mut tables, "CreateTable", &table).unwrap();
        assert!(perform(&mut tables, "CreateTable", &table).is_err(), "it is there");
        tables
    }

    fn key(sort: &str) -> Value {
        json!({"P": {"S": "p"}, "S": {"S": sort}})
    }

    fn claim(sort: &str) -> Value {
        json!({
            "TableName": "t", "Key": key(sort), "UpdateExpression": "SET #a = :new",
            "ConditionExpression": "attribute_exists(#s) AND NOT #a = :new",
            "ExpressionAttributeNames": {"#a": "A", "#s": "S"},
            "ExpressionAttributeValues": {":new": {"S": "new"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    }

    #[test]
    fn an_update_is_refused_by_its_condition_with_the_item_that_is_there() {
        let mut tables = tables();
        let update = |tables: &mut Tables| perform(tables, "UpdateItem", &claim("a"));
        let refusal = update(&mut tables).unwrap_err().into_body();
        assert!(refusal["__type"].as_str().unwrap().ends_with("#ConditionalCheckFailedException"));
        assert!(refusal["Item"].is_null(), "there is none");
        let put = json!({"TableName": "t", "Item": key("a")});
        perform(&mut tables, "PutItem", &put).unwrap();
        update(&mut tables).unwrap();
        let refusal = update(&mut tables).unwrap_err().into_body();
        assert_eq!(refusal["Item"]["A"]["S"], "new");
    }

    #[test]
    fn an_update_without_a_condition_makes_an_item() {
        let mut tables = tables();
        let update = json!({
            "TableName": "t", "Key": key("ghost"),
            "AttributeUpdates": {"A": {"Action": "PUT", "Value": {"S": "x"}}},
        });
        perform(&mut tables, "UpdateItem", &update).unwrap();
        let get = json!({"TableName": "t", "Key": key("ghost"), "ConsistentRead": true});
        assert_eq!(perform(&mut tables, "GetItem", &get).unwrap()["Item"]["A"]["S"], "x");
        perform(&mut tables, "DeleteItem", &json!({"TableName": "t", "Key": key("ghost")}))
            .unwrap();
        assert_eq!(perform(&mut tables, "GetItem", &get).unwrap(), json!({}));
    }

    #[test]
    fn a_filter_and_a_projection_leave_out_and_are_counted() {
        let mut tables = tables();
        let puts: Vec<Value> = ["ax", "b", "cx"]
            .map(|sort| json!({"PutRequest": {"Item": {"P": {"S": "p"}, "S": {"S": sort}, "T": {"S": sort}}}}))
            .to_vec();
        perform(&mut tables, "BatchWriteItem", &json!({"RequestItems": {"t": puts}})).unwrap();
        let scan = json!({
            "TableName": "t", "FilterExpression": "contains(#s, :x)", "ProjectionExpression": "#t",
            "ExpressionAttributeNames": {"#s": "S", "#t": "T"},
            "ExpressionAttributeValues": {":x": {"S": "x"}}, "Limit": 2,
        });
        let page = perform(&mut tables, "Scan", &scan).unwrap();
        assert_eq!((&page["Count"], &page["ScannedCount"]), (&json!(1), &json!(2)));
        assert_eq!(page["Items"], json!([{"T": {"S": "ax"}}]));
        assert_eq!(page["LastEvaluatedKey"], key("b"));
    }

    #[test]
    fn what_this_double_does_not_know_is_refused() {
        let mut tables = tables();
        let unknown = json!({"TableName": "t", "Key": key("a"), "ReturnValues": "ALL_NEW"});
        assert!(perform(&mut tables, "UpdateItem", &unknown).is_err());
        assert!(perform(&mut tables, "Query", &json!({"TableName": "t"})).is_err());
        assert!(perform(&mut tables, "DescribeTable", &json!({"TableName": "no"})).is_err());
        let to_key = json!({
            "TableName": "t", "Key": key("a"),
            "AttributeUpdates": {"S": {"Action": "PUT", "Value": {"S": "b"}}},
        });
        assert!(perform(&mut tables, "UpdateItem", &to_key).is_err());
        let scan = json!({"TableName": "t", "Segment": 1});
        assert!(perform(&mut tables, "Scan", &scan).is_err());
    }

    #[test]
    fn a_batch_is_at_most_twenty_five() {
        let mut tables = tables();
        for (puts, fits) in [(0, false), (25, true), (26, false)] {
            let puts: Vec<Value> = (0..puts)
                .map(|number| json!({"PutRequest": {"Item": key(&number.to_string())}}))
                .collect();
            let batch = json!({"RequestItems": {"t": puts}});
            assert_eq!(perform(&mut tables, "BatchWriteItem", &batch).is_ok(), fits);
        }
    }
}
