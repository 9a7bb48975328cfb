-- The record of re-embeddings in a file; the same rows as in schema.sql. Times are RFC 3339, lists are JSON.
CREATE TABLE IF NOT EXISTS run (
  id TEXT PRIMARY KEY,
  settings TEXT NOT NULL,
  started_at TEXT NOT NULL,
  finished_at TEXT,
  seconds REAL NOT NULL DEFAULT 0,
  last_error TEXT,
  estimate TEXT
) STRICT;

CREATE TABLE IF NOT EXISTS bot_state (
  run TEXT NOT NULL REFERENCES run ON DELETE CASCADE,
  owner TEXT NOT NULL,
  bot TEXT NOT NULL,
  title TEXT NOT NULL,
  documents INTEGER NOT NULL,
  state TEXT NOT NULL,
  token TEXT,
  task TEXT,
  retryable INTEGER,
  attempts INTEGER NOT NULL,
  reason TEXT,
  rows INTEGER,
  tokens INTEGER,
  reused INTEGER,
  finished_at TEXT,
  PRIMARY KEY (run, owner, bot)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS bot_attempt (
  run TEXT NOT NULL,
  owner TEXT NOT NULL,
  bot TEXT NOT NULL,
  number INTEGER NOT NULL,
  token TEXT NOT NULL,
  task TEXT,
  launched_at TEXT NOT NULL,
  seen TEXT,
  ended TEXT,
  PRIMARY KEY (run, owner, bot, number),
  FOREIGN KEY (run, owner, bot) REFERENCES bot_state ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
