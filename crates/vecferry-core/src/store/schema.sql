-- The record of migrations, on the target, so that it commits together with the rows it speaks of and can be read
-- from any machine. Layout version 2; `vecferry cleanup` drops all of it.
CREATE SCHEMA IF NOT EXISTS vecferry;

-- One row per migration. `phase` is the phase in progress; everything before it is complete.
CREATE TABLE IF NOT EXISTS vecferry.migration (
  id text PRIMARY KEY,
  layout int NOT NULL DEFAULT 2,
  method text NOT NULL,
  route text NOT NULL,
  source jsonb NOT NULL,
  phase text NOT NULL,
  phase_seconds jsonb NOT NULL DEFAULT '{}',
  estimates jsonb NOT NULL DEFAULT '{}',
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  last_error text
);

-- The schema as pg_dump wrote it, and which of its objects are which, so that the constraints phase needs no source.
CREATE TABLE IF NOT EXISTS vecferry.archive (
  migration text PRIMARY KEY REFERENCES vecferry.migration ON DELETE CASCADE,
  dump bytea NOT NULL,
  objects jsonb NOT NULL
);

-- One row per slot of a `follow`, written before the slot is made on the source, so that no slot is ever without a
-- record. Publication, slot and subscription have names made of the migration's id and the ordinal.
CREATE TABLE IF NOT EXISTS vecferry.link (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  ordinal int NOT NULL,
  consistent_point text,
  PRIMARY KEY (migration, ordinal)
);

-- Tables of the source whose replica identity was set for `follow`, written before it is set; `statement` sets back
-- what was there.
CREATE TABLE IF NOT EXISTS vecferry.replica_identity (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  schema text NOT NULL,
  name text NOT NULL,
  statement text NOT NULL,
  PRIMARY KEY (migration, schema, name)
);

-- One row per `delta`, written with the schema: the time of its source, and what becomes of bots on the web.
CREATE TABLE IF NOT EXISTS vecferry.delta (
  migration text PRIMARY KEY REFERENCES vecferry.migration ON DELETE CASCADE,
  taken_at timestamptz NOT NULL,
  web text NOT NULL
);

-- One row per bot of a `delta` whose copied rows do not stay: `reembed` or `remove`, with the number of documents by
-- reason. The rows of those to remove are deleted in the transaction that writes this.
CREATE TABLE IF NOT EXISTS vecferry.delta_bot (
  migration text NOT NULL REFERENCES vecferry.delta ON DELETE CASCADE,
  bot text NOT NULL,
  choice text NOT NULL,
  reasons jsonb NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, bot)
);

-- One row per table that is moved, written with the schema. `link` is the ordinal of the slot that sends its changes;
-- NULL in a `copy`.
CREATE TABLE IF NOT EXISTS vecferry.relation (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  oid bigint NOT NULL,
  schema text NOT NULL,
  name text NOT NULL,
  relfilenode bigint NOT NULL,
  shape text NOT NULL,
  columns text[] NOT NULL,
  format text NOT NULL,
  bot text,
  existed boolean NOT NULL,
  preserved jsonb NOT NULL,
  link int,
  PRIMARY KEY (migration, oid)
);

-- One row per part. `finished_at` is set in the transaction that holds the part's rows.
CREATE TABLE IF NOT EXISTS vecferry.part (
  migration text NOT NULL,
  relation bigint NOT NULL,
  ordinal int NOT NULL,
  first_page bigint NOT NULL,
  end_page bigint,
  planned_bytes bigint NOT NULL,
  rows bigint,
  bytes bigint,
  digest text,
  seconds double precision,
  snapshot_xmin bigint,
  snapshot_xmax bigint,
  finished_at timestamptz,
  PRIMARY KEY (migration, relation, ordinal),
  FOREIGN KEY (migration, relation) REFERENCES vecferry.relation ON DELETE CASCADE
);

-- Digest per bot of each finished part; `bot` holds the COPY bytes of the bot column, NULL for rows without a bot.
CREATE TABLE IF NOT EXISTS vecferry.part_bot (
  migration text NOT NULL,
  relation bigint NOT NULL,
  ordinal int NOT NULL,
  bot bytea,
  rows bigint NOT NULL,
  digest text NOT NULL,
  FOREIGN KEY (migration, relation, ordinal) REFERENCES vecferry.part ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS part_bot_part ON vecferry.part_bot (migration, relation, ordinal);

-- One row per index to build, written with the schema; `finished_at` is set in the transaction that builds it.
-- `origin` is `source`, or `target` for an index of a prepared table that was dropped before the load.
CREATE TABLE IF NOT EXISTS vecferry.index_build (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  ordinal int NOT NULL,
  relation bigint NOT NULL,
  name text NOT NULL,
  origin text NOT NULL,
  plan jsonb NOT NULL,
  seconds double precision,
  notices text[],
  finished_at timestamptz,
  PRIMARY KEY (migration, ordinal)
);

-- Objects other than tables' rows that the migration created, in the order of creation.
CREATE TABLE IF NOT EXISTS vecferry.created (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  ordinal int NOT NULL,
  kind text NOT NULL,
  identity text NOT NULL,
  PRIMARY KEY (migration, ordinal)
);

-- One row per large object copied, written with it.
CREATE TABLE IF NOT EXISTS vecferry.large_object (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  oid bigint NOT NULL,
  bytes bigint NOT NULL,
  digest text NOT NULL,
  PRIMARY KEY (migration, oid)
);

-- One row per migration and direction (`cutover`, `rollback`): how far its crossing is. `stages` lists what was done as
-- [name, seconds]; `fenced_at` to `switched_at` is the downtime.
CREATE TABLE IF NOT EXISTS vecferry.crossing (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  direction text NOT NULL,
  step text NOT NULL,
  way_back boolean NOT NULL,
  fence_lsn text,
  stages jsonb NOT NULL DEFAULT '[]',
  begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  fenced_at timestamptz,
  switched_at timestamptz,
  finished_at timestamptz,
  last_error text,
  PRIMARY KEY (migration, direction)
);
