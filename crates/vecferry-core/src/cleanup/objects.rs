//! What of ours is on a cluster beside the record: subscriptions, slots, publications and the fence, found by name in
//! the catalog, so that nothing is missed that the record does not know.
//!
//! Names hold the id of their migration ([`crate::follow::link::stem`]), by which the objects of two migrations on one
//! cluster are told apart. What only begins like ours and holds no id is somebody else's. The fence alone has one name
//! for all: whose it is, the record of the crossing tells.

use crate::cutover::fence::{self, SCHEMA as FENCE};
use crate::error::Result;
use crate::follow::link::PREFIX;
use crate::pg::{QualifiedName, Session};

/// Hexadecimal digits of a migration's id in a name.
const ID_DIGITS: usize = 32;

/// Everything of every migration on one cluster, in its database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Objects {
    /// Subscriptions.
    pub subscriptions: Vec<String>,
    /// Logical slots.
    pub slots: Vec<String>,
    /// Publications.
    pub publications: Vec<String>,
    /// Triggers of the fence: table and name.
    pub triggers: Vec<(QualifiedName, String)>,
    /// Whether the fence's schema is there.
    pub fence: bool,
    /// Id of the migration that raised the fence, where it tells.
    pub fence_of: Option<String>,
}

impl Objects {
    /// Reads them.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when the cluster cannot be read.
    pub(super) async fn read(session: &Session) -> Result<Objects> {
        let named = |column: &str, from: &str| {
            // An underscore stands for any character in LIKE.
            format!(
                "SELECT {column} FROM {from} AND starts_with({column}::text, '{PREFIX}') ORDER BY 1"
            )
        };
        let subscriptions = "pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()";
        let slots =
            "pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()";
        let fence = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
        Ok(Objects {
            subscriptions: names(session, &named("subname", subscriptions)).await?,
            slots: names(session, &named("slot_name", slots)).await?,
            publications: names(session, &named("pubname", "pg_publication WHERE true")).await?,
            triggers: triggers(session).await?,
            fence: session.query_one("look for a fence", fence, &[&FENCE]).await?.get(0),
            fence_of: fence::owner(session).await?,
        })
    }
}

async fn names(session: &Session, sql: &str) -> Result<Vec<String>> {
    let rows = session.query("look for objects of vecferry", sql, &[]).await?;
    let names = rows.iter().map(|row| row.get::<_, String>(0));
    Ok(names.filter(|name| stem_in(name).is_some()).collect())
}

async fn triggers(session: &Session) -> Result<Vec<(QualifiedName, String)>> {
    let sql = "SELECT n.nspname, c.relname, t.tgname FROM pg_trigger t \
               JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace \
               WHERE NOT t.tgisinternal AND f.nspname = $1 AND starts_with(t.tgname::text, $2) ORDER BY 1, 2, 3";
    let rows = session.query("look for the fence's triggers", sql, &[&FENCE, &PREFIX]).await?;
    let name = |row: &tokio_postgres::Row, column| row.get::<_, String>(column);
    Ok(rows
        .iter()
        .map(|row| (QualifiedName::new(name(row, 0), name(row, 1)), name(row, 2)))
        .collect())
}

/// The part of the name that tells the migration, as [`crate::follow::link::stem`] makes it; `None` when there is none.
pub(super) fn stem_in(name: &str) -> Option<&str> {
    let id = name.strip_prefix(PREFIX)?.get(..ID_DIGITS)?;
    let hexadecimal = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let stem = &name[..PREFIX.len() + ID_DIGITS];
    let ends = name.len() == stem.len() || name[stem.len()..].starts_with('_');
    (hexadecimal && ends).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::link::{Link, stem};

    #[test]
    fn a_name_of_ours_tells_its_migration_and_other_names_do_not() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        for name in [Link::forward(id, 12).name, Link::back(id).name, stem(id)] {
            assert_eq!(stem_in(&name), Some(stem(id).as_str()), "{name}");
        }
        for name in
            ["vecferry_", "vecferry_app", "other", "vecferry_0198c0de0000700080000000000000012"]
        {
            assert_eq!(stem_in(name), None, "{name}");
        }
        assert_eq!(stem_in("vecferry_0198c0de00007000800000000000äö01_1"), None);
    }
}
