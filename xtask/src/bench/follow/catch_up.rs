//! How fast a backlog is caught up with, beside a plain subscription set up by hand. Both stand at
//! the same point of the same source, both are switched off while the backlog is written, and each
//! then has the servers to itself. The end is the same for both: the backlog's last row is seen.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vecferry_testkit::{Database, Session};

use super::ground::{Course, Ground};

/// A backlog of gigabytes takes minutes, never this.
const LONGEST: Duration = Duration::from_secs(1800);

/// Short beside a catch-up of seconds, long beside the query.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The application's transactions in the backlog: a document's chunks inserted, some changed.
const INSERT: &str = "
INSERT INTO items
SELECT 'BACKLOG' || lpad(($1::int8 + row_number() OVER ())::text, 19, '0'),
       botid, content, source, embedding
  FROM (SELECT * FROM items WHERE id > $2 AND id < 'A' ORDER BY id LIMIT 50) AS chosen";
const UPDATE: &str = "
UPDATE items SET content = content || '.'
 WHERE id IN (SELECT id FROM items WHERE id > $1 AND id < 'A' ORDER BY id LIMIT 10)";

/// The backlog's last row.
const END: &str =
    "INSERT INTO items SELECT 'END', botid, content, source, embedding FROM items LIMIT 1";

/// Seconds of one round; nothing where the run is without vecferry.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) plain: f64,
    pub(super) vecferry: Option<f64>,
    /// WAL that the backlog took.
    pub(super) bytes: u64,
}

/// A subscription that can be switched on and off.
struct Subscription {
    target: Database,
    name: String,
}

/// Runs one round; who goes first changes, because the second finds the WAL in memory.
pub(super) fn round(ground: &Ground, number: u32) -> Result<CatchUp> {
    let mut course = ground.fresh()?;
    let ours = match ground.vecferry(&course) {
        Some(vecferry) => {
            vecferry.migrate()?;
            // The target goes with its subscription; cleanup is another figure's.
            let target = std::mem::replace(&mut course.target, ground.empty_target()?);
            Some(ground.runtime.block_on(Subscription::find(target))?)
        }
        None => None,
    };
    let plain = plain(ground, course)?;
    ground.runtime.block_on(async {
        let (source, plain) = plain;
        let subscriptions: Vec<&Subscription> = ours.iter().chain([&plain]).collect();
        for subscription in &subscriptions {
            subscription.switch("DISABLE").await?;
        }
        let bytes = backlog(&source, ground.arguments.backlog << 20).await?;
        let mut seconds = Vec::new();
        let reversed = number.is_multiple_of(2);
        let order: Vec<usize> = (0..subscriptions.len()).collect();
        for place in if reversed { order.into_iter().rev().collect() } else { order } {
            seconds.push((place, subscriptions[place].catch_up(&source).await?));
        }
        let of = |wanted: usize| {
            seconds.iter().find(|(place, _)| *place == wanted).map(|(_, seconds)| *seconds)
        };
        let plain = of(subscriptions.len() - 1).context("the plain subscription did not run")?;
        Ok(CatchUp { plain, vecferry: ours.as_ref().and_then(|_| of(0)), bytes })
    })
}

/// What one would do by hand: a slot first, the dump, a subscription on the slot.
fn plain(ground: &Ground, course: Course) -> Result<(Database, Subscription)> {
    let Course { source, target } = course;
    let name = target.name().to_owned();
    ground.runtime.block_on(async {
        source.batch("CREATE PUBLICATION plain FOR TABLE items").await?;
        // Alone, because a slot cannot be made where something was written before.
        let slot = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
        source.batch(&slot).await
    })?;
    // The filled database is what the source is a copy of, and has no publications in it.
    let status = Command::new("bash")
        .args(["-c", r#"set -eo pipefail; "$B/pg_dump" -Fc -d "$S" | "$B/pg_restore" -d "$T""#])
        .env("B", &ground.pg_bin_dir)
        .env("S", ground.filled_url())
        .env("T", target.url())
        .status()
        .context("start pg_dump")?;
    ensure!(status.success(), "the plain copy ended with {status}");
    ground.runtime.block_on(target.batch(&format!(
        "CREATE SUBSCRIPTION \"{name}\" CONNECTION '{}' PUBLICATION plain
           WITH (slot_name = '{name}', create_slot = false, copy_data = false, enabled = false,
                 binary = true)",
        source.url()
    )))?;
    Ok((source, Subscription { target, name }))
}

impl Subscription {
    /// The one that vecferry made.
    async fn find(target: Database) -> Result<Subscription> {
        let sql = "SELECT min(subname), count(*) FROM pg_subscription s
                     JOIN pg_database d ON d.oid = s.subdbid WHERE datname = current_database()";
        let row = target.query_one(sql).await?;
        let (name, count): (Option<String>, i64) = (row.get(0), row.get(1));
        ensure!(count == 1, "vecferry left {count} subscriptions on the target");
        Ok(Subscription { target, name: name.context("no name")? })
    }

    async fn switch(&self, to: &str) -> Result<()> {
        Ok(self.target.batch(&format!("ALTER SUBSCRIPTION \"{}\" {to}", self.name)).await?)
    }

    /// Switches it on until the last row of the backlog is there; in seconds.
    async fn catch_up(&self, source: &Database) -> Result<f64> {
        let session = self.target.connect().await?;
        let look = session.prepare("SELECT 1 FROM items WHERE id = 'END'").await?;
        session.batch_execute("CHECKPOINT").await.context("checkpoint")?;
        let started = Instant::now();
        self.switch("ENABLE").await?;
        while session.query_opt(&look, &[]).await?.is_none() {
            if started.elapsed() > LONGEST {
                bail!("{} had not caught up after {LONGEST:?}", self.name);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        self.switch("DISABLE").await?;
        let count = "SELECT count(*) FROM items";
        let (here, there) = (session.query_one(count, &[]).await?, source.query_one(count).await?);
        let (here, there): (i64, i64) = (here.get(0), there.get(0));
        ensure!(here == there, "{} has {here} rows of {there}", self.name);
        Ok(seconds)
    }
}

/// Writes until so many bytes of WAL are there; how many it became.
async fn backlog(source: &Database, bytes: u64) -> Result<u64> {
    let session = source.connect().await?;
    let (insert, update) = (session.prepare(INSERT).await?, session.prepare(UPDATE).await?);
    let written = session.prepare("SELECT (pg_current_wal_lsn() - '0/0')::int8").await?;
    let start: i64 = session.query_one(&written, &[]).await?.get(0);
    for number in 0.. {
        // Ids are spread evenly over this alphabet, behind their first two characters.
        let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let digit = |of: i64| char::from(digits[(of % 32) as usize]);
        let after = format!("01{}{}", digit(number), digit(number / 32));
        transaction(&session, (&insert, &update), (number * 50, &after)).await?;
        let now: i64 = session.query_one(&written, &[]).await?.get(0);
        if (now - start) as u64 >= bytes {
            break;
        }
    }
    session.batch_execute(END).await.context("end the backlog")?;
    let end: i64 = session.query_one(&written, &[]).await?.get(0);
    Ok((end - start) as u64)
}

async fn transaction(
    session: &Session,
    statements: (&tokio_postgres::Statement, &tokio_postgres::Statement),
    place: (i64, &str),
) -> Result<()> {
    let ((insert, update), (number, after)) = (statements, place);
    session.batch_execute("BEGIN").await?;
    let inserted = session.execute(insert, &[&number, &after]).await.context("write a backlog")?;
    ensure!(inserted > 0 || number > 0, "the filled table is empty");
    session.execute(update, &[&after]).await.context("write a backlog")?;
    session.batch_execute("COMMIT").await.context("write a backlog")
}
