//! Which types may travel in binary. Pure: works on the rows of `types.sql`.
//!
//! A type's binary form is fit for another cluster when it has send and receive functions and holds no OID that is
//! this cluster's own. `reg*` types are OIDs; arrays and composites carry the OIDs of their element types, which
//! differ for every type that is not built in (`array_send`, `record_send` in PostgreSQL's sources).

use std::collections::HashMap;

use serde::Deserialize;

/// OIDs below this are the same in every cluster (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16_384;

/// A row of `types.sql`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireType {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) kind: char,
    pub(super) binary: bool,
    pub(super) element: u32,
    pub(super) is_array: bool,
    pub(super) base: u32,
    pub(super) modifier: i32,
    pub(super) fields: Vec<u32>,
    pub(super) range_of: Option<u32>,
}

/// All types by OID.
pub(super) struct Types {
    by_oid: HashMap<u32, WireType>,
}

impl Types {
    pub(super) fn new(rows: Vec<WireType>) -> Self {
        Self { by_oid: rows.into_iter().map(|row| (row.oid, row)).collect() }
    }

    /// The type below any domain, and the modifier the domain fixes.
    pub(super) fn base(&self, oid: u32) -> Option<(&WireType, Option<i32>)> {
        let mut modifier = None;
        let mut found = self.by_oid.get(&oid)?;
        while found.kind == 'd' {
            modifier = modifier.or(Some(found.modifier).filter(|modifier| *modifier >= 0));
            found = self.by_oid.get(&found.base)?;
        }
        Some((found, modifier))
    }

    /// Why values of the type cannot travel in binary, if they cannot.
    pub(super) fn text_only(&self, oid: u32) -> Option<&'static str> {
        let Some(found) = self.by_oid.get(&oid) else { return Some("unknown type") };
        if !found.binary {
            return Some("no binary functions");
        }
        if found.name.starts_with("reg") && oid < FIRST_USER_OID {
            return Some("holds OIDs of this cluster");
        }
        let carried: Vec<u32> = match found.kind {
            'd' => return self.text_only(found.base),
            'r' | 'm' => return found.range_of.and_then(|subtype| self.text_only(subtype)),
            'c' => found.fields.clone(),
            _ if found.is_array => vec![found.element],
            _ => return None,
        };
        carried.iter().find_map(|inner| {
            if *inner >= FIRST_USER_OID {
                Some("holds OIDs of this cluster")
            } else {
                self.text_only(*inner)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(oid: u32, name: &str) -> WireType {
        WireType {
            oid,
            name: name.into(),
            kind: 'b',
            binary: true,
            element: 0,
            is_array: false,
            base: 0,
            modifier: -1,
            fields: vec![],
            range_of: None,
        }
    }

    #[test]
    fn binary_is_refused_where_it_would_carry_this_clusters_oids() {
        let types = Types::new(vec![
            plain(25, "text"),
            plain(2205, "regclass"),
            WireType { binary: false, ..plain(90, "aclitem") },
            WireType { element: 25, is_array: true, ..plain(1009, "_text") },
            WireType { kind: 'e', ..plain(20_000, "mood") },
            WireType { element: 20_000, is_array: true, ..plain(20_001, "_mood") },
            WireType { kind: 'd', base: 25, modifier: 7, ..plain(20_002, "short") },
            WireType { kind: 'd', base: 20_001, ..plain(20_003, "moods") },
            WireType { kind: 'c', fields: vec![25, 1009], ..plain(20_004, "pair") },
            WireType { kind: 'c', fields: vec![25, 20_000], ..plain(20_005, "tagged") },
            WireType { kind: 'r', range_of: Some(25), ..plain(20_006, "textrange") },
        ]);
        for (oid, binary) in [
            (25, true),
            (2205, false),
            (90, false),
            (1009, true),
            (20_000, true),
            (20_001, false),
            (20_002, true),
            (20_003, false),
            (20_004, true),
            (20_005, false),
            (20_006, true),
            (99_999, false),
        ] {
            assert_eq!(types.text_only(oid).is_none(), binary, "{oid}");
        }
        let (base, modifier) = types.base(20_002).unwrap();
        assert_eq!((base.name.as_str(), modifier), ("text", Some(7)));
    }
}
