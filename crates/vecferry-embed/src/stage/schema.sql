-- What a worker leaves on the target besides the application's rows: documents whose chunks are embedded and wait for
-- the swap of their bot, and how the last attempt of each bot ended. Logged tables: they survive a crash of the server.
-- The chunks are in one table for each type of embedding, `vecferry.staged_chunk_<type>`, made by the worker.

CREATE SCHEMA IF NOT EXISTS vecferry;

-- One row per bot: its last swap, written in the transaction that swapped its rows. An attempt that failed writes its
-- row too (`swapped` false), but never over a swap of the same migration: what is proven stays proven.
CREATE TABLE IF NOT EXISTS vecferry.bot_result (
  migration text NOT NULL,
  bot text NOT NULL,
  token text NOT NULL,
  exec_id text NOT NULL,
  model text NOT NULL,
  dimensions int NOT NULL,
  swapped boolean NOT NULL,
  rows bigint NOT NULL,
  documents int NOT NULL,
  reused bigint NOT NULL,
  tokens bigint NOT NULL,
  lost jsonb NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, bot)
);

-- One row per document at work. `complete` is set in the transaction that writes the last of its chunks, `lost` when
-- there will be none. `run` names the process that answers for the row: a worker that lost its connection and comes
-- back to another name has been replaced.
CREATE TABLE IF NOT EXISTS vecferry.staged_document (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  migration text NOT NULL,
  bot text NOT NULL,
  source text NOT NULL,
  version text,
  fingerprint text NOT NULL,
  run text NOT NULL,
  complete boolean NOT NULL DEFAULT false,
  chunks int NOT NULL DEFAULT 0,
  lost jsonb,
  UNIQUE (migration, bot, source)
);
