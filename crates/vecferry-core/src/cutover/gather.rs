//! Reads the facts of [`mod@super::decide`] from both clusters. Changes nothing: what it tries is rolled back.

use super::decide::{Facts, FenceFacts, WayBackFacts};
use super::step::{Direction, Step};
use super::switch::Order;
use super::{Options, fence, way_back};
use crate::copy::resume::altered;
use crate::error::Result;
use crate::follow::identity;
use crate::follow::link::{Link, stem};
use crate::follow::links;
use crate::follow::state::read_link;
use crate::inspect::inspect;
use crate::inventory::Inventory;
use crate::pg::{QualifiedName, Session};
use crate::policy::{Clusters, Method, Policy};
use crate::source::SourceIdentity;
use crate::store::{self, CrossingRecord, MigrationRecord, RelationRecord};

/// The two clusters, and what is asked of them.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub clusters: &'a Clusters,
    pub policy: &'a Policy,
    pub options: &'a Options,
    pub source: &'a Session,
    pub target: &'a Session,
}

impl<'a> Ground<'a> {
    /// What the switch is told.
    pub(super) fn order<'b>(&self, migration: &'b str) -> Order<'b>
    where
        'a: 'b,
    {
        let direction = self.options.direction;
        let to = self.clusters.at(direction.receiver());
        Order { direction, to, migration, timeout: self.options.switch_timeout }
    }

    /// Sender and receiver of the crossing.
    pub(super) fn ends(&self) -> (&'a Session, &'a Session) {
        match self.options.direction {
            Direction::Cutover => (self.source, self.target),
            Direction::Rollback => (self.target, self.source),
        }
    }
}

/// The facts and the records they come from.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    pub facts: Facts,
    pub migration: Option<MigrationRecord>,
    pub relations: Vec<RelationRecord>,
    pub cutover: Option<CrossingRecord>,
    pub rollback: Option<CrossingRecord>,
}

impl Gathered {
    /// Names of the tables that are moved.
    pub(super) fn tables(&self) -> Vec<QualifiedName> {
        self.relations.iter().map(|record| record.relation.name.clone()).collect()
    }

    /// The record of a direction.
    pub(super) fn crossing(&self, direction: Direction) -> Option<&CrossingRecord> {
        match direction {
            Direction::Cutover => self.cutover.as_ref(),
            Direction::Rollback => self.rollback.as_ref(),
        }
    }
}

/// Reads everything.
///
/// # Errors
/// [`crate::Error::Postgres`] when a side cannot be read: what is not known is no reason to go.
pub(super) async fn gather(ground: Ground<'_>) -> Result<Gathered> {
    let mut gathered = Gathered {
        facts: nothing(ground.options),
        migration: None,
        relations: Vec::new(),
        cutover: None,
        rollback: None,
    };
    if !store::exists(ground.target).await? {
        return Ok(gathered);
    }
    let Some(record) = MigrationRecord::newest(ground.target).await? else { return Ok(gathered) };
    let id = record.id.clone();
    gathered.relations = RelationRecord::all(ground.target, &id).await?;
    gathered.cutover = CrossingRecord::read(ground.target, &id, Direction::Cutover).await?;
    gathered.rollback = CrossingRecord::read(ground.target, &id, Direction::Rollback).await?;
    let inventory = inspect(ground.source).await?;
    let tables = gathered.tables();
    let facts = &mut gathered.facts;
    let replicates = record.route.method() == Method::Follow;
    facts.migration = Some((record.route.method(), record.phase));
    facts.fenced = replicates || ground.options.fence;
    facts.no_switch = no_switch(ground, &id).await?;
    let identity = SourceIdentity::new(&ground.clusters.source, &inventory);
    facts.other_source = identity.conflict_with(&record.source);
    facts.cutover = gathered.cutover.as_ref().map(|record| (record.step, record.way_back));
    facts.rollback = gathered.rollback.as_ref().map(|record| record.step);
    facts.altered = altered(ground.policy, &inventory, &gathered.relations);
    if replicates {
        read_links(ground, &id, facts).await?;
    }
    if facts.fenced {
        read_sender(ground, &id, &tables, facts).await?;
    }
    if ground.options.direction == Direction::Cutover {
        facts.indexes = indexes(ground.target, &id).await?;
    }
    if replicates && ground.options.direction == Direction::Cutover {
        facts.materialized_views = materialized_views(&inventory);
        let switched = facts.cutover.is_some_and(|(step, _)| !step.is_before_the_switch());
        if ground.options.way_back && !switched && facts.other_source.is_none() {
            facts.way_back = Some(read_way_back(ground, &id, &gathered.relations).await?);
        }
    }
    gathered.migration = Some(record);
    Ok(gathered)
}

fn nothing(options: &Options) -> Facts {
    Facts {
        direction: options.direction,
        migration: None,
        other_source: None,
        cutover: None,
        rollback: None,
        busy: None,
        links: Vec::new(),
        max_lag: options.max_lag,
        altered: Vec::new(),
        indexes: Vec::new(),
        fenced: true,
        fence: FenceFacts::default(),
        no_switch: None,
        way_back: None,
        in_the_way: Vec::new(),
        large_objects: 0,
        materialized_views: Vec::new(),
    }
}

/// Why the application could not be switched. A crossing at its switch finds out by switching.
async fn no_switch(ground: Ground<'_>, id: &str) -> Result<Option<String>> {
    let Some(switch) = &ground.options.switch else { return Ok(None) };
    switch.obstacle(ground.order(id)).await
}

/// The links that a crossing of this direction drains.
pub(super) async fn links_of(
    target: &Session,
    id: &str,
    direction: Direction,
) -> Result<Vec<Link>> {
    match direction {
        Direction::Cutover => links(target, id).await,
        Direction::Rollback => Ok(vec![Link::back(id)]),
    }
}

async fn read_links(ground: Ground<'_>, id: &str, facts: &mut Facts) -> Result<()> {
    let (sender, receiver) = ground.ends();
    for link in links_of(ground.target, id, ground.options.direction).await? {
        facts.links.push(read_link(sender, receiver, &link).await?);
    }
    Ok(())
}

async fn read_sender(
    ground: Ground<'_>,
    id: &str,
    tables: &[QualifiedName],
    facts: &mut Facts,
) -> Result<()> {
    let (sender, _) = ground.ends();
    let sql = "SELECT to_regnamespace('vecferry_fence') IS NOT NULL \
               OR has_database_privilege(current_database(), 'CREATE')";
    let may_create = sender.query_one("read privileges", sql, &[]).await?.get(0);
    let targets = fence::targets(sender, tables).await?;
    let plain = |names: Vec<&QualifiedName>| names.into_iter().map(QualifiedName::plain).collect();
    let there = |name: &&QualifiedName| targets.iter().any(|target| target.name == **name);
    let oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
    facts.fence = FenceFacts {
        may_create,
        of_another: fence::owner(sender).await?.is_some_and(|owner| owner != id),
        fed_by: fed_by(sender, id, &oids).await?,
        forbidden: plain(targets.iter().filter(|t| !t.allowed).map(|t| &t.name).collect()),
        missing: plain(tables.iter().filter(|name| !there(name)).collect()),
    };
    let sql = include_str!("waiting.sql");
    let rows = sender.query("look for transactions in the way", sql, &[&oids]).await?;
    facts.in_the_way = rows.iter().map(|row| row.get(0)).collect();
    let sql = "SELECT count(*) FROM pg_largeobject_metadata";
    let objects: i64 = sender.query_one("count the large objects", sql, &[]).await?.get(0);
    facts.large_objects = objects.cast_unsigned();
    Ok(())
}

/// Subscriptions other than this migration's that write to these tables.
async fn fed_by(sender: &Session, id: &str, oids: &[u32]) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT s.subname::text FROM pg_subscription s \
               JOIN pg_database d ON d.oid = s.subdbid JOIN pg_subscription_rel r ON r.srsubid = s.oid \
               WHERE d.datname = current_database() AND s.subenabled AND r.srrelid = ANY ($1::oid[]) \
               AND NOT starts_with(s.subname::text, $2) ORDER BY 1";
    let ours = stem(id);
    let rows = sender.query("look for subscriptions", sql, &[&oids, &ours]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn indexes(target: &Session, id: &str) -> Result<Vec<String>> {
    let sql = "SELECT format('%s.%s', r.schema, b.name) FROM vecferry.index_build b \
               JOIN vecferry.relation r ON r.migration = b.migration AND r.oid = b.relation \
               WHERE b.migration = $1 AND (b.finished_at IS NULL OR NOT EXISTS ( \
                 SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 JOIN pg_index i ON i.indexrelid = c.oid \
                 WHERE n.nspname = r.schema AND c.relname = b.name AND i.indisvalid)) ORDER BY 1";
    let rows = target.query("look at the indexes", sql, &[&id]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn materialized_views(inventory: &Inventory) -> Vec<String> {
    let views = inventory.views.iter().filter(|view| view.materialized && view.populated);
    views.map(|view| view.name.plain()).collect()
}

async fn read_way_back(
    ground: Ground<'_>,
    id: &str,
    relations: &[RelationRecord],
) -> Result<WayBackFacts> {
    let link = Link::back(id);
    let sql = include_str!("way_back.sql");
    let row = ground.target.query_one("read what is left for a slot", sql, &[&link.name]).await?;
    // The setting is new in 18; what one server has, another calls by the older name.
    let sql = "SELECT current_setting('max_logical_replication_workers')::bigint \
                 - (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL), \
               COALESCE(current_setting('max_active_replication_origins', true), \
                 current_setting('max_replication_slots'))::bigint \
                 - (SELECT count(*) FROM pg_subscription WHERE subname <> $1)";
    let left = ground.source.query_one("read what is left for apply", sql, &[&link.name]).await?;
    let address = crate::follow::target_from_source(ground.clusters, ground.policy);
    let target = inspect(ground.target).await?;
    let moved = |name: &QualifiedName| relations.iter().any(|one| one.relation.name == *name);
    let lacking = target
        .tables
        .iter()
        .filter(|table| moved(&table.name) && identity::obstacle(table).is_some());
    Ok(WayBackFacts {
        wal_level: row.get(0),
        free_slots: row.get(1),
        free_senders: row.get(2),
        may_replicate: row.get::<_, Option<bool>>(3).unwrap_or(false),
        free_workers: left.get(0),
        free_origins: left.get(1),
        refused: way_back::refused(ground.source, &link, &address).await?,
        identities: lacking.map(|table| (table.name.plain(), identity::mend(table))).collect(),
    })
}

/// Whether this crossing was begun and may have a fence up.
pub(super) fn may_be_fenced(record: Option<&CrossingRecord>) -> bool {
    record.is_some_and(|record| !matches!(record.step, Step::Undone | Step::Finished))
}
