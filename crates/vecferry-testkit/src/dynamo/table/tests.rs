//! Pages, segments, the index, and writes under a condition.

use super::*;

fn table() -> Table {
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let typed = |name: &str, kind: &str| json!({"AttributeName": name, "AttributeType": kind});
    Table::create(&json!({
        "TableName": "t",
        "KeySchema": [key("P", "HASH"), key("S", "RANGE")],
        "AttributeDefinitions": [typed("P", "S"), typed("S", "S"), typed("U", "N")],
        "LocalSecondaryIndexes": [{
            "IndexName": "ByUse", "KeySchema": [key("P", "HASH"), key("U", "RANGE")],
            "Projection": {"ProjectionType": "ALL"},
        }],
    }))
    .unwrap()
}

fn item(partition: &str, sort: &str, used: Option<u64>) -> Item {
    let mut item = json!({"P": {"S": partition}, "S": {"S": sort}});
    if let Some(used) = used {
        item["U"] = json!({"N": used.to_string()});
    }
    item.as_object().unwrap().clone()
}

/// Everything that a scan finds, page after page.
fn all(table: &Table, index: Option<&str>, segments: u64, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    for segment in 0..segments {
        let mut from: Option<Item> = None;
        loop {
            let asked = Asked {
                index,
                segment: Some((segment, segments)),
                from: from.as_ref(),
                limit: Some(limit),
            };
            let page = table.page(&asked).unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|it| format!("{}{}", it["P"]["S"], it["S"]["S"])));
            let last = page.last;
            if last.is_none() {
                break;
            }
            from = last;
        }
    }
    found
}

#[test]
fn a_scan_finds_every_item_once_whatever_its_pages_and_segments() {
    let mut table = table();
    for number in 0..200 {
        let used = (number % 3 != 0).then_some(1000 - number);
        table.put(item(&format!("p{}", number % 17), &number.to_string(), used)).unwrap();
    }
    for (index, expected) in [(None, 200), (Some("ByUse"), 133)] {
        for (segments, limit) in [(1, 1000), (1, 7), (4, 1), (5, 40)] {
            let mut found = all(&table, index, segments, limit);
            assert_eq!(found.len(), expected, "{index:?} {segments} {limit}");
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), expected, "{index:?} {segments} {limit}: one was met twice");
        }
    }
}

#[test]
fn a_page_ends_at_a_megabyte() {
    let mut table = table();
    for number in 0..30 {
        let mut large = item("p", &number.to_string(), None);
        large.insert("T".into(), json!({"S": "x".repeat(100_000)}));
        table.put(large).unwrap();
    }
    let page = table.page(&Asked::default()).unwrap();
    assert_eq!(page.items.len(), 11);
    assert_eq!(all(&table, None, 1, 1000).len(), 30);
}

#[test]
fn an_index_forgets_what_is_moved_replaced_or_removed() {
    let mut table = table();
    table.put(item("p", "a", Some(2))).unwrap();
    table.put(item("p", "b", Some(1))).unwrap();
    assert_eq!(all(&table, Some("ByUse"), 1, 10), [r#""p""b""#, r#""p""a""#], "by use");
    table.put(item("p", "b", Some(3))).unwrap();
    assert_eq!(all(&table, Some("ByUse"), 1, 10), [r#""p""a""#, r#""p""b""#]);
    table.put(item("p", "a", None)).unwrap();
    assert_eq!(all(&table, Some("ByUse"), 1, 10), [r#""p""b""#]);
    let place = table.place(&item("p", "b", None)).unwrap();
    table.remove(&place);
    assert_eq!(all(&table, Some("ByUse"), 1, 10).len(), 0);
    assert_eq!(all(&table, None, 1, 10).len(), 1);
}

#[test]
fn what_the_service_refuses_is_refused() {
    let mut table = table();
    assert!(table.put(item("p", "", None)).is_err(), "an empty key");
    let mut wrong = item("p", "s", None);
    wrong.insert("U".into(), json!({"S": "not a number"}));
    assert!(table.put(wrong).is_err(), "an index's key of another type");
    assert!(table.place(&item("p", "s", Some(1))).is_err(), "a key with more than the key");
    let unknown = Asked { index: Some("Other"), ..Asked::default() };
    assert!(table.page(&unknown).is_err());
    let beyond = Asked { segment: Some((2, 2)), ..Asked::default() };
    assert!(table.page(&beyond).is_err());
    table.put(item("p", "s", None)).unwrap();
    let from = item("p", "s", None);
    let outside = (0..2).filter(|segment| {
        let asked = Asked { segment: Some((*segment, 2)), from: Some(&from), ..Asked::default() };
        table.page(&asked).is_err()
    });
    assert_eq!(outside.count(), 1, "a start that lies in another segment");
}
