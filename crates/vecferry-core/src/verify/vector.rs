//! Whether the vectors are sound: NULLs, values that are not finite, zero norms, dimensions. The servers count, part
//! by part; pure here: the queries, and what the answers mean.

use serde::Serialize;

use super::content::{Scope, filter};
use crate::copy::part::Part;
use crate::inventory::{Column, Table};
use crate::pg::{TextRow, quote_ident};

/// The answer about vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Vectors {
    /// Whether no column of the target is worse than on the source.
    pub matches: bool,
    /// How long it took.
    pub seconds: f64,
    /// Vectors of the target looked at.
    pub vectors: u64,
    /// By column, in the order of tables and columns.
    pub columns: Vec<VectorColumn>,
}

/// One column of vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VectorColumn {
    /// Table, `schema.name`.
    pub table: String,
    /// Column.
    pub column: String,
    /// Whether the target is no worse than the source.
    pub matches: bool,
    /// Whether that is certain; false for a table written so often that it could not be shown.
    pub proven: bool,
    /// The source's counts; `None` when the column holds no vectors there, and against the record.
    pub source: Option<VectorCounts>,
    /// The target's counts.
    pub target: VectorCounts,
    /// What is worse, in words.
    pub differences: Vec<String>,
}

/// What a column's vectors are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VectorCounts {
    /// Rows looked at.
    pub rows: u64,
    /// Rows without a vector.
    pub nulls: u64,
    /// Vectors with a NaN or infinite element.
    pub not_finite: u64,
    /// Vectors of length zero, which have no direction and no cosine distance.
    pub zero: u64,
    /// Fewest dimensions; `None` without a vector.
    pub min_dimensions: Option<u32>,
    /// Most dimensions.
    pub max_dimensions: Option<u32>,
}

/// Vector columns that both tables have by name; the target decides what is one.
pub(super) fn columns<'a>(source: &'a Table, target: &'a Table) -> Vec<(&'a Column, &'a Column)> {
    let vectors = target.columns.iter().filter(|column| column.is_vector());
    vectors.filter_map(|ours| Some((source.column(&ours.name)?, ours))).collect()
}

/// The query that counts a part's vectors of these columns: rows, then per column NULLs, not finite, zero, and the
/// fewest and most dimensions. `schema` is the extension's on the side that is asked.
pub(super) fn query(scope: &Scope, part: &Part, columns: &[&Column], schema: &str) -> String {
    let schema = quote_ident(schema);
    let (mut inner, mut outer) = (Vec::new(), vec!["count(*)".to_owned()]);
    for (at, column) in columns.iter().enumerate() {
        let name = quote_ident(&column.name);
        let base = format!("{name}::{schema}.{}", quote_ident(&column.base_type));
        let norm = if column.base_type == "vector" { "vector_norm" } else { "l2_norm" };
        let dimensions = match (column.base_type.as_str(), column.dimensions) {
            ("sparsevec", Some(fixed)) => {
                format!("CASE WHEN {name} IS NOT NULL THEN {fixed} END")
            }
            // pgvector has no function for it; the text ends with `/dimensions`.
            ("sparsevec", None) => format!("split_part({name}::text, '/', 2)::int"),
            _ => format!("{schema}.vector_dims({base})"),
        };
        inner.push(format!("{schema}.{norm}({base}) AS n{at}, {dimensions} AS d{at}"));
        outer.push(format!(
            "count(*) FILTER (WHERE n{at} IS NULL), \
             count(*) FILTER (WHERE n{at} IN ('NaN', 'Infinity')), \
             count(*) FILTER (WHERE n{at} = 0), min(d{at}), max(d{at})"
        ));
    }
    // OFFSET 0 keeps the planner from computing each norm three times.
    format!(
        "SELECT {} FROM (SELECT {} FROM ONLY {}{} OFFSET 0) AS v",
        outer.join(", "),
        inner.join(", "),
        scope.table,
        filter(&scope.conditions(part))
    )
}

/// Adds up the parts' answers for the column at place `at` of the query.
pub(super) fn add_up(rows: &[TextRow], at: usize) -> VectorCounts {
    let mut counts = VectorCounts::default();
    for row in rows {
        let value = |place: usize| row.get(place).and_then(|value| value.as_deref());
        let number = |place| value(place).and_then(|text| text.parse().ok()).unwrap_or(0);
        let first = 1 + 5 * at;
        counts.rows += number(0);
        counts.nulls += number(first);
        counts.not_finite += number(first + 1);
        counts.zero += number(first + 2);
        let dimensions = |place| value(place).and_then(|text| text.parse().ok());
        let least = [counts.min_dimensions, dimensions(first + 3)];
        counts.min_dimensions = least.into_iter().flatten().min();
        let most = [counts.max_dimensions, dimensions(first + 4)];
        counts.max_dimensions = most.into_iter().flatten().max();
    }
    counts
}

/// What is worse on the target than on the source, in words.
pub(super) fn compare(source: Option<&VectorCounts>, target: &VectorCounts) -> Vec<String> {
    let mut differences = Vec::new();
    let none = VectorCounts::default();
    let theirs = source.unwrap_or(&none);
    for (what, ours, theirs) in [
        ("NULLs", target.nulls, theirs.nulls),
        ("vectors that are not finite", target.not_finite, theirs.not_finite),
        ("vectors of length zero", target.zero, theirs.zero),
    ] {
        if ours > theirs {
            differences.push(format!("{ours} {what}, on the source {theirs}"));
        }
    }
    let range = |counts: &VectorCounts| match (counts.min_dimensions, counts.max_dimensions) {
        (Some(least), Some(most)) if least == most => format!("{least} dimensions"),
        (Some(least), Some(most)) => format!("{least} to {most} dimensions"),
        _ => "no vectors".to_owned(),
    };
    match source {
        None => differences.push("the column holds no vectors on the source".into()),
        Some(source) if range(source) != range(target) => {
            differences.push(format!("{}, on the source {}", range(target), range(source)));
        }
        Some(_) => {}
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(nulls: u64, not_finite: u64, zero: u64, least: u32, most: u32) -> VectorCounts {
        VectorCounts {
            rows: 100,
            nulls,
            not_finite,
            zero,
            min_dimensions: Some(least),
            max_dimensions: Some(most),
        }
    }

    #[test]
    fn the_same_flaws_on_both_sides_are_fine_and_more_on_the_target_are_not() {
        let source = counts(3, 0, 2, 8, 8);
        assert!(compare(Some(&source), &source).is_empty());
        assert!(compare(Some(&source), &counts(0, 0, 0, 8, 8)).is_empty());
        for (target, said) in [
            (counts(4, 0, 2, 8, 8), "4 NULLs, on the source 3"),
            (counts(3, 1, 2, 8, 8), "1 vectors that are not finite, on the source 0"),
            (counts(3, 0, 5, 8, 8), "5 vectors of length zero, on the source 2"),
            (counts(3, 0, 2, 7, 8), "7 to 8 dimensions, on the source 8 dimensions"),
        ] {
            assert_eq!(compare(Some(&source), &target), [said]);
        }
        assert_eq!(compare(None, &counts(0, 0, 0, 8, 8)).len(), 1);
        assert_eq!(compare(Some(&source), &VectorCounts::default()).len(), 1);
    }

    #[test]
    fn parts_add_up_and_an_empty_part_changes_nothing() {
        let row = |values: &[&str]| -> TextRow {
            values.iter().map(|value| (!value.is_empty()).then(|| (*value).to_owned())).collect()
        };
        let rows = [
            row(&["10", "1", "0", "2", "3", "3", "0", "0", "0", "8", "8"]),
            row(&["5", "0", "1", "0", "2", "4", "5", "0", "0", "", ""]),
            row(&["0", "0", "0", "0", "", "", "0", "0", "0", "", ""]),
        ];
        let first = VectorCounts { rows: 15, ..counts(1, 1, 2, 2, 4) };
        assert_eq!(add_up(&rows, 0), first);
        assert_eq!(add_up(&rows, 1), VectorCounts { rows: 15, ..counts(5, 0, 0, 8, 8) });
    }
}
