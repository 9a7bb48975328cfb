//! Index builds over the probe's rows, inside its transaction.

use std::time::Instant;

use super::shape::Shape;
use crate::error::{Error, Result};
use crate::index::memory::indexed_value;
use crate::inventory::Index;
use crate::pg::{QualifiedName, WireConnection};
use crate::plan::{Build, DEFAULT_EF_CONSTRUCTION, DEFAULT_LISTS, DEFAULT_M};

/// Rows to index: an HNSW build over these takes a second on a slow server.
const MOST_ROWS: u64 = 4000;
/// A build that takes longer is given up. Memory for [`MOST_ROWS`] of the widest vectors.
const SETTINGS: &str =
    "SET LOCAL statement_timeout = '4s'; SET LOCAL maintenance_work_mem = '128MB'";
/// IVFFlat wants some rows in each list, or its k-means has nothing to do.
const ROWS_PER_LIST: u64 = 20;

/// Builds one index of each kind over rows of `table` and rolls each back. Returns what was measured and what was
/// not, with the reason. `vectors`: the table's vectors are vectors, not bytes.
pub(super) async fn measure(
    target: &mut WireConnection,
    shape: &Shape,
    table: &QualifiedName,
    vectors: bool,
) -> Result<(Vec<Build>, Vec<String>)> {
    let small = QualifiedName::new(&table.schema, "indexed");
    let setup = format!(
        "{SETTINGS}; CREATE TABLE {small} AS SELECT * FROM {table} LIMIT {MOST_ROWS}; \
         ALTER TABLE {small} SET (parallel_workers = {}); SELECT count(*)::text FROM {small}",
        shape.parallel
    );
    let answer = target.simple("prepare rows to index", &setup).await?;
    let rows: u64 = answer.last().and_then(|row| row.first()?.as_ref()?.parse().ok()).unwrap_or(0);
    let (mut builds, mut left_out) = (vec![], vec![]);
    for index in &shape.indexes {
        if index.is_vector() && !vectors {
            left_out.push(format!(
                "building index {} was not measured: pgvector is not on the target",
                index.name
            ));
            continue;
        }
        match build(target, shape, &small, (index, rows)).await {
            Ok(build) => builds.push(build),
            Err(Error::Postgres { failure, .. }) => {
                left_out.push(format!("building index {} was not measured: {failure}", index.name));
                target.simple("give up a build", "ROLLBACK TO build").await?;
            }
            Err(other) => return Err(other),
        }
    }
    Ok((builds, left_out))
}

async fn build(
    target: &mut WireConnection,
    shape: &Shape,
    table: &QualifiedName,
    (index, rows): (&Index, u64),
) -> Result<Build> {
    target.simple("mark the probe's place", "SAVEPOINT build").await?;
    let (statement, parameter) = statement(index, table, rows);
    let started = Instant::now();
    target.simple("build an index for the probe", &statement).await?;
    let seconds = started.elapsed().as_secs_f64();
    target.simple("drop the probe's index", "ROLLBACK TO build").await?;
    let dimensions = indexed_value(&shape.table, index).filter(|_| index.is_vector());
    Ok(Build {
        method: index.method.clone(),
        rows,
        dimensions: dimensions.map_or(0, |(_, dimensions)| dimensions),
        parameter,
        ef_construction: match index.method.as_str() {
            "hnsw" => index.option("ef_construction").unwrap_or(DEFAULT_EF_CONSTRUCTION),
            _ => 0,
        },
        seconds,
    })
}

/// The source's index on the probe's table, and its `m` or `lists`.
fn statement(index: &Index, table: &QualifiedName, rows: u64) -> (String, u64) {
    // `CREATE [UNIQUE] INDEX name ON [ONLY] table USING method (…) [WITH (…)] [WHERE …]`; uniqueness and table go.
    let what = index.definition.split_once(" USING ").map_or("", |(_, what)| what);
    let create = format!("CREATE INDEX ON {table} USING {what}");
    match index.method.as_str() {
        "hnsw" => (create, index.option("m").unwrap_or(DEFAULT_M)),
        "ivfflat" => {
            let wanted = index.option("lists").unwrap_or(DEFAULT_LISTS);
            let lists = wanted.min((rows / ROWS_PER_LIST).max(1));
            (with_lists(&create, index.option("lists"), lists), lists)
        }
        _ => (create, 0),
    }
}

fn with_lists(create: &str, written: Option<u64>, lists: u64) -> String {
    let new = format!("lists='{lists}'");
    match (written, create.find(" WHERE ")) {
        (Some(old), _) => create.replace(&format!("lists='{old}'"), &new),
        (None, Some(at)) => format!("{} WITH ({new}){}", &create[..at], &create[at..]),
        (None, None) => format!("{create} WITH ({new})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_sources_definition_is_built_on_the_probes_table() {
        let table = QualifiedName::new("p", "indexed");
        let mut index = sample::index("v", "ivfflat", &["embedding"], "vector_l2_ops");
        index.definition = "CREATE UNIQUE INDEX v ON public.items USING ivfflat (embedding public.vector_l2_ops) WITH (lists='100') WHERE (a > 1)".into();
        index.options = vec!["lists=100".into()];
        let (sql, lists) = statement(&index, &table, 400);
        assert_eq!(lists, 20);
        assert_eq!(
            sql,
            "CREATE INDEX ON \"p\".\"indexed\" USING ivfflat (embedding public.vector_l2_ops) WITH (lists='20') WHERE (a > 1)"
        );
        index.options.clear();
        index.definition =
            "CREATE INDEX v ON public.items USING ivfflat (embedding) WHERE (a > 1)".into();
        assert!(
            statement(&index, &table, 4000)
                .0
                .ends_with("(embedding) WITH (lists='100') WHERE (a > 1)")
        );
        index.method = "btree".into();
        assert_eq!(statement(&index, &table, 4000).1, 0);
    }
}
