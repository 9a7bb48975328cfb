//! The phase that ends a copy: `VACUUM (ANALYZE)`, table by table. Nothing of it is recorded; killed, it begins with the
//! first table again.

use crate::error::{Error, Result};
use crate::migration::Run;
use crate::pg::QualifiedName;

impl Run<'_> {
    /// Statistics and visibility map of every table, so that the planner's first choice is a good one.
    pub(crate) async fn analyze(&self) -> Result<()> {
        let sql = "SELECT schema, name FROM vecferry.relation WHERE migration = $1 \
                   ORDER BY schema, name";
        for row in self.control.query("read the record's tables", sql, &[&self.id]).await? {
            self.vacuum("VACUUM (ANALYZE)", &row).await?;
        }
        // Autovacuum never analyses a partitioned parent, and its partitions' statistics do not serve it.
        let sql = include_str!("partitioned_parents.sql");
        for row in self.control.query("read the partitioned tables", sql, &[&self.id]).await? {
            self.vacuum("ANALYZE", &row).await?;
        }
        Ok(())
    }

    async fn vacuum(&self, command: &str, row: &tokio_postgres::Row) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let doing = format!("{} {}", command.to_lowercase(), table.plain());
        self.control.batch(&doing, &format!("{command} {table}")).await
    }
}
