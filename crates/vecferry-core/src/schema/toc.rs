//! The table of contents of a pg_dump archive, as `pg_restore --list` prints it: which entries to restore. Pure.
//!
//! A line is `dumpId; catalogOid objectOid KIND schema tag owner`. Kind, schema and tag may hold spaces, so objects
//! are told apart by their two OIDs, which are the source's; entries without OIDs (comments, grants, attachments)
//! belong to the object that their text names.

use std::collections::HashSet;

/// Kinds of entries that consist of several words; everything else is one word.
const KINDS_OF_SEVERAL_WORDS: [&str; 22] = [
    "ACCESS METHOD",
    "CHECK CONSTRAINT",
    "DEFAULT ACL",
    "EVENT TRIGGER",
    "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "INDEX ATTACH",
    "MATERIALIZED VIEW DATA",
    "MATERIALIZED VIEW",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURAL LANGUAGE",
    "ROW SECURITY",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "SHELL TYPE",
    "STATISTICS DATA",
    "TABLE ATTACH",
    "TEXT SEARCH",
    "USER MAPPING",
];

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The whole line, to be handed back to pg_restore.
    pub(super) line: String,
    /// OID of the object's catalog on the source; 0 for entries without an object of their own.
    pub(super) catalog: u32,
    /// OID of the object on the source; 0 likewise.
    pub(super) object: u32,
    /// Kind: `TABLE`, `FK CONSTRAINT`, …
    pub(super) kind: String,
    /// Schema (`-` for none), tag and owner as one text.
    pub(super) subject: String,
}

/// Parses a list; comment lines and empty ones are passed over.
pub(super) fn parse(list: &str) -> Vec<Entry> {
    list.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Entry> {
    let (id, rest) = line.split_once("; ")?;
    id.parse::<u32>().ok()?;
    let mut words = rest.splitn(3, ' ');
    let (catalog, object) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let rest = words.next()?;
    let several = KINDS_OF_SEVERAL_WORDS.iter().find(|kind| {
        rest.strip_prefix(**kind).is_some_and(|after| after.is_empty() || after.starts_with(' '))
    });
    let kind = several.copied().unwrap_or_else(|| rest.split(' ').next().unwrap_or(rest));
    Some(Entry {
        line: line.to_owned(),
        catalog,
        object,
        kind: kind.to_owned(),
        subject: rest[kind.len()..].trim_start().to_owned(),
    })
}

/// What must not be restored.
#[derive(Debug, Clone, Default)]
pub(super) struct Exclusions {
    /// Objects by catalog and OID that are on the target already or not selected; what speaks of them goes with them.
    pub(super) objects: HashSet<(u32, u32)>,
    /// Objects that we have built; their comments and attachments are still to come.
    pub(super) built: HashSet<(u32, u32)>,
}

/// Splits the entries into those to restore, in order, and those to leave.
pub(super) fn filter(entries: Vec<Entry>, exclusions: &Exclusions) -> (Vec<Entry>, Vec<Entry>) {
    let excluded = |entry: &Entry| {
        entry.kind == "EXTENSION"
            // Large objects are copied as rows are, with what belongs to them; pg_dump before 17 lists them here.
            || entry.kind == "BLOB"
            || entry.subject.starts_with("- LARGE OBJECT ")
            || (entry.kind == "COMMENT" && entry.subject.starts_with("- EXTENSION "))
            || (entry.object != 0 && exclusions.objects.contains(&(entry.catalog, entry.object)))
    };
    let left: Vec<Entry> = entries.iter().filter(|entry| excluded(entry)).cloned().collect();
    let dependent = |entry: &Entry| {
        // A refresh carries the view's OID without its catalog.
        let refreshed = entry.kind == "MATERIALIZED VIEW DATA"
            && left
                .iter()
                .any(|other| other.kind == "MATERIALIZED VIEW" && other.object == entry.object);
        refreshed || (entry.object == 0 && left.iter().any(|other| speaks_of(entry, other)))
    };
    let built = |entry: &Entry| {
        entry.object != 0 && exclusions.built.contains(&(entry.catalog, entry.object))
    };
    entries.into_iter().partition(|entry| !excluded(entry) && !built(entry) && !dependent(entry))
}

/// Whether an entry without OIDs is about `other`: the same subject (an attachment, an ownership), the subject with
/// its kind in front (a comment, a grant), or a column of it (`items.embedding owner` is one of `items owner`).
fn speaks_of(entry: &Entry, other: &Entry) -> bool {
    if entry.subject == other.subject {
        return true;
    }
    // A schema may hold spaces, so every space may be the one behind it.
    other.subject.match_indices(' ').any(|(at, _)| {
        let (schema, named) = (&other.subject[..at], &other.subject[at + 1..]);
        let Some(about) =
            entry.subject.strip_prefix(schema).and_then(|rest| rest.strip_prefix(' '))
        else {
            return false;
        };
        let name = named.rsplit_once(' ').map_or(named, |(name, _owner)| name);
        let column = about.strip_prefix("COLUMN ").and_then(|column| column.strip_prefix(name));
        about
            .strip_prefix(other.kind.as_str())
            .is_some_and(|rest| rest.strip_prefix(' ') == Some(named))
            || column.is_some_and(|rest| rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
; comment
7; 2615 16722 SCHEMA - Sch ema postgres
2; 3079 16384 EXTENSION - vector 
2847; 0 0 COMMENT - EXTENSION vector 
353; 1255 16745 FUNCTION public f(integer, text) postgres
223; 1259 16724 TABLE Sch ema p postgres
224; 1259 16728 TABLE Sch ema p1 postgres
221; 1259 16712 TABLE public items postgres
2848; 0 0 COMMENT public TABLE items postgres
2851; 0 0 COMMENT public COLUMN items.id postgres
2852; 0 0 COMMENT public COLUMN items2.id postgres
2849; 0 0 ACL public TABLE items postgres
226; 1259 16738 MATERIALIZED VIEW public mv postgres
227; 1259 16750 SEQUENCE public s postgres
2850; 0 0 SEQUENCE OWNED BY public s postgres
2677; 0 0 TABLE ATTACH Sch ema p1 postgres
2682; 2606 16720 CONSTRAINT public items items_pkey postgres
2838; 0 16738 MATERIALIZED VIEW DATA public mv postgres
";

    fn left_for(objects: &[(u32, u32)]) -> Vec<String> {
        let exclusions =
            Exclusions { objects: objects.iter().copied().collect(), ..Exclusions::default() };
        let (_, left) = filter(parse(LIST), &exclusions);
        left.iter().map(|entry| format!("{} {}", entry.kind, entry.subject)).collect()
    }

    #[test]
    fn lines_are_taken_apart_by_kind_and_oid() {
        let entries = parse(LIST);
        assert_eq!(entries.len(), 17);
        assert_eq!(
            (entries[12].kind.as_str(), entries[12].subject.as_str()),
            ("SEQUENCE", "public s postgres")
        );
        assert_eq!((entries[13].kind.as_str(), entries[13].object), ("SEQUENCE OWNED BY", 0));
        assert_eq!(
            (entries[16].kind.as_str(), entries[16].object),
            ("MATERIALIZED VIEW DATA", 16738)
        );
    }

    #[test]
    fn extensions_are_always_left_to_us() {
        assert_eq!(left_for(&[]), ["EXTENSION - vector ", "COMMENT - EXTENSION vector "]);
    }

    #[test]
    fn an_object_that_is_left_takes_its_comments_grants_and_attachments_along() {
        let left = left_for(&[(1259, 16712), (1259, 16728), (1259, 16750), (1259, 16738)]);
        for expected in [
            "TABLE public items postgres",
            "COMMENT public TABLE items postgres",
            "COMMENT public COLUMN items.id postgres",
            "ACL public TABLE items postgres",
            "TABLE ATTACH Sch ema p1 postgres",
            "SEQUENCE OWNED BY public s postgres",
            "MATERIALIZED VIEW DATA public mv postgres",
        ] {
            assert!(left.iter().any(|line| line == expected), "{expected} missing from {left:#?}");
        }
        assert!(
            !left.iter().any(|line| line.contains("items2") || line.contains("CONSTRAINT")),
            "{left:#?}"
        );
    }
}
