//! A table in memory: items by the hash of their partition key, as the service keeps them, so that a segment of a scan
//! is a range; and the same for each local index, which holds only items that have its sort key.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{list, text};
use super::value::{Item, Scalar, check_item, size_of_item};

/// Bytes of items that a page is made of at most
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html>).
const PAGE_BYTES: usize = 1 << 20;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// What `DescribeTable` says of it.
    description: Value,
    partition: KeyAttribute,
    sort: KeyAttribute,
    items: BTreeMap<Place, Item>,
    indexes: Vec<Index>,
}

/// A local index: same partition key, another sort key, all attributes.
#[derive(Debug)]
struct Index {
    name: String,
    sort: KeyAttribute,
    places: BTreeSet<Place>,
}

#[derive(Debug, Clone)]
struct KeyAttribute {
    name: String,
    /// `S` or `N`.
    kind: String,
}

/// Where an item is: in its table, or in an index, where the table's sort key follows the index's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    hash: u64,
    partition: Scalar,
    sort: Vec<Scalar>,
}

impl Place {
    fn new(partition: Scalar, sort: Vec<Scalar>) -> Place {
        let mut hasher = DefaultHasher::new();
        partition.hash(&mut hasher);
        Place { hash: hasher.finish(), partition, sort }
    }

    /// The place in the table of an item that an index has here.
    fn without_index(&self) -> Place {
        let sort = self.sort.last().cloned().into_iter().collect();
        Place { sort, ..self.clone() }
    }

    /// Before every place of this hash.
    fn first(hash: u64) -> Place {
        Place { hash, partition: Scalar::Number(i128::MIN), sort: Vec::new() }
    }
}

/// What a scan asks for.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) index: Option<&'a str>,
    /// Which segment of how many.
    pub(super) segment: Option<(u64, u64)>,
    pub(super) from: Option<&'a Item>,
    /// Items that are read at most, whether or not they are wanted.
    pub(super) limit: Option<usize>,
}

/// Items that a page is made of, and the key to go on after.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) items: Vec<&'a Item>,
    pub(super) last: Option<Item>,
}

impl Table {
    /// The table that a `CreateTable` asks for.
    pub(super) fn create(body: &Value) -> Result<Table, Refusal> {
        let kinds = list(body, "AttributeDefinitions")?;
        let (partition, sort) = key_of(body, kinds)?;
        let mut indexes = Vec::new();
        for index in list(body, "LocalSecondaryIndexes")? {
            let (same, sort) = key_of(index, kinds)?;
            if same.name != partition.name || index["Projection"]["ProjectionType"] != "ALL" {
                let message =
                    "this double's local indexes have the table's partition key and all attributes";
                return Err(Refusal::invalid(message));
            }
            let name = text(index, "IndexName")?.to_owned();
            indexes.push(Index { name, sort, places: BTreeSet::new() });
        }
        let description = describe(body)?;
        Ok(Table { description, partition, sort, items: BTreeMap::new(), indexes })
    }

    pub(super) fn description(&self) -> Value {
        let mut description = self.description.clone();
        description["ItemCount"] = self.items.len().into();
        description
    }

    /// The place that a key names, which has the table's key attributes and no others.
    pub(super) fn place(&self, key: &Item) -> Result<Place, Refusal> {
        if key.len() != 2 {
            return Err(Refusal::invalid("The provided key element does not match the schema"));
        }
        self.place_of(key)
    }

    fn place_of(&self, item: &Item) -> Result<Place, Refusal> {
        let scalar = |attribute: &KeyAttribute| match item.get(&attribute.name) {
            Some(value) => Scalar::read(value, &attribute.kind),
            None => {
                let name = &attribute.name;
                let message = format!("One of the required keys was not given a value: {name}");
                Err(Refusal::invalid(message))
            }
        };
        Ok(Place::new(scalar(&self.partition)?, vec![scalar(&self.sort)?]))
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Item> {
        self.items.get(place)
    }

    /// Whether an attribute is part of the key.
    pub(super) fn is_key(&self, attribute: &str) -> bool {
        attribute == self.partition.name || attribute == self.sort.name
    }

    /// Puts an item in the place of the one with its key.
    pub(super) fn put(&mut self, item: Item) -> Result<(), Refusal> {
        check_item(&item)?;
        let place = self.place_of(&item)?;
        let places = self.indexes.iter().map(|index| index.place(&place, &item));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        self.remove(&place);
        for (index, place) in self.indexes.iter_mut().zip(places) {
            index.places.extend(place);
        }
        self.items.insert(place, item);
        Ok(())
    }

    /// Removes an item, if there is one.
    pub(super) fn remove(&mut self, place: &Place) {
        let Some(item) = self.items.remove(place) else { return };
        for index in &mut self.indexes {
            // It was put there by the same rule.
            if let Ok(Some(place)) = index.place(place, &item) {
                index.places.remove(&place);
            }
        }
    }

    /// Reads a page.
    pub(super) fn page(&self, asked: &Asked<'_>) -> Result<Page<'_>, Refusal> {
        let index = asked.index.map(|name| self.index(name)).transpose()?;
        let from = asked.from.map(|key| self.start(index, key)).transpose()?;
        let bounds = bounds(asked.segment, from)?;
        let most = asked.limit.unwrap_or(usize::MAX);
        let items: Box<dyn Iterator<Item = &Item>> = match index {
            None => Box::new(self.items.range(bounds).map(|(_, item)| item)),
            Some(index) => {
                let places = index.places.range(bounds);
                Box::new(places.filter_map(|place| self.items.get(&place.without_index())))
            }
        };
        let mut page = Page { items: Vec::new(), last: None };
        let mut bytes = 0;
        for item in items {
            page.items.push(item);
            bytes += size_of_item(item);
            if bytes >= PAGE_BYTES || page.items.len() >= most {
                page.last = Some(self.key(item, index));
                break;
            }
        }
        Ok(page)
    }

    fn index(&self, name: &str) -> Result<&Index, Refusal> {
        let index = self.indexes.iter().find(|index| index.name == name);
        index.ok_or_else(|| {
            Refusal::invalid(format!("The table does not have the specified local index: {name}"))
        })
    }

    /// The place that a scan goes on after.
    fn start(&self, index: Option<&Index>, key: &Item) -> Result<Place, Refusal> {
        let Some(index) = index else { return self.place(key) };
        let place = self.place_of(key)?;
        match index.place(&place, key)? {
            Some(place) if key.len() == 3 => Ok(place),
            _ => Err(Refusal::invalid("The provided starting key is invalid")),
        }
    }

    /// The key attributes of an item, with those of an index where it was read from one.
    fn key(&self, item: &Item, index: Option<&Index>) -> Item {
        let names = [Some(&self.partition), Some(&self.sort), index.map(|index| &index.sort)];
        let of = |name: &KeyAttribute| Some((name.name.clone(), item.get(&name.name)?.clone()));
        names.into_iter().flatten().filter_map(of).collect()
    }
}

impl Index {
    /// Where the index has an item; `None` when it has it not.
    fn place(&self, place: &Place, item: &Item) -> Result<Option<Place>, Refusal> {
        let Some(value) = item.get(&self.sort.name) else { return Ok(None) };
        let sort = Scalar::read(value, &self.sort.kind)?;
        let sort = [vec![sort], place.sort.clone()].concat();
        Ok(Some(Place { sort, ..place.clone() }))
    }
}

/// The places of a segment, after `from`.
fn bounds(
    segment: Option<(u64, u64)>,
    from: Option<Place>,
) -> Result<(Bound<Place>, Bound<Place>), Refusal> {
    let (segment, segments) = segment.unwrap_or((0, 1));
    if segment >= segments {
        let message = "The Segment parameter must be less than parameter TotalSegments";
        return Err(Refusal::invalid(message));
    }
    let begins = |segment: u64| ((u128::from(segment) << 64) / u128::from(segments)) as u64;
    let first = Place::first(begins(segment));
    let end = (segment + 1 < segments).then(|| Place::first(begins(segment + 1)));
    let outside = |from: &Place| *from < first || end.as_ref().is_some_and(|end| from >= end);
    if from.as_ref().is_some_and(outside) {
        let message = "The provided starting key is outside the range of the segment";
        return Err(Refusal::invalid(message));
    }
    let lower = from.map_or(Bound::Included(first), Bound::Excluded);
    Ok((lower, end.map_or(Bound::Unbounded, Bound::Excluded)))
}

/// Partition and sort key of a table or index: this double's have both.
fn key_of(body: &Value, kinds: &[Value]) -> Result<(KeyAttribute, KeyAttribute), Refusal> {
    let [partition, sort] = list(body, "KeySchema")? else {
        return Err(Refusal::invalid("this double's tables and indexes have a sort key"));
    };
    let attribute = |key: &Value, role: &str| {
        let name = text(key, "AttributeName")?;
        let kind = kinds.iter().find(|kind| kind["AttributeName"] == name);
        let kind = kind.and_then(|kind| kind["AttributeType"].as_str());
        match kind.filter(|kind| key["KeyType"] == role && matches!(*kind, "S" | "N")) {
            Some(kind) => Ok(KeyAttribute { name: name.to_owned(), kind: kind.to_owned() }),
            None => Err(Refusal::invalid(format!("{name} is no {role} key of type S or N"))),
        }
    };
    Ok((attribute(partition, "HASH")?, attribute(sort, "RANGE")?))
}

/// What the service tells of a table as soon as it is there. Global indexes are told of and cannot be read.
fn describe(body: &Value) -> Result<Value, Refusal> {
    let mut description = json!({
        "TableName": text(body, "TableName")?,
        "TableStatus": "ACTIVE",
        "KeySchema": body["KeySchema"],
        "AttributeDefinitions": body["AttributeDefinitions"],
    });
    for kind in ["LocalSecondaryIndexes", "GlobalSecondaryIndexes"] {
        let mut indexes = list(body, kind)?.to_vec();
        if kind == "GlobalSecondaryIndexes" {
            indexes.iter_mut().for_each(|index| index["IndexStatus"] = "ACTIVE".into());
        }
        if !indexes.is_empty() {
            description[kind] = indexes.into();
        }
    }
    Ok(description)
}

#[cfg(test)]
mod tests;
