//! Sets the receiver's sequences beyond the sender's. Safe to repeat: a sequence never goes back.

use std::collections::HashMap;

use super::position::{Sequence, position};
use crate::error::{Error, Result};
use crate::pg::{QualifiedName, Session};

/// Sets every sequence that is on both sides, `margin` values beyond the sender's.
///
/// # Errors
/// [`Error::Refused`] when the role may not read a sequence, [`Error::Postgres`] otherwise.
pub(crate) async fn set_beyond(sender: &Session, receiver: &Session, margin: u64) -> Result<()> {
    let theirs = read(sender).await?;
    let ours: HashMap<QualifiedName, Sequence> = read(receiver).await?.into_iter().collect();
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, sequence) in theirs {
        let Some(twin) = ours.get(&name) else { continue };
        if let Some(value) = position(&sequence, twin, margin) {
            names.push(name.to_string());
            values.push(value);
        }
    }
    let sql = "SELECT setval(s.name::regclass, s.value) FROM unnest($1::text[], $2::bigint[]) s(name, value)";
    receiver.query("set the sequences", sql, &[&names, &values]).await?;
    Ok(())
}

async fn read(session: &Session) -> Result<Vec<(QualifiedName, Sequence)>> {
    let sql = include_str!("../verify/sequences.sql");
    let mut sequences = Vec::new();
    for row in session.query("read the sequences", sql, &[]).await? {
        let name = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        if !row.get::<_, bool>(8) {
            return Err(Error::Refused {
                side: session.side(),
                what: format!("the position of sequence {} may not be read", name.plain()),
                hint: Some(format!("GRANT SELECT ON SEQUENCE {name} to the role")),
            });
        }
        let sequence = Sequence {
            last: row.get(7),
            increment: row.get(3),
            min: row.get(4),
            max: row.get(5),
            cycle: row.get(6),
        };
        sequences.push((name, sequence));
    }
    Ok(sequences)
}
