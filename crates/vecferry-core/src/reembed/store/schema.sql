-- The record of re-embeddings, beside vecferry.migration, which has a row for each with method `reembed`. Its phase is
-- `embedding` until every bot is proven or skipped. Times are the orchestrator's and for people only.
CREATE TABLE IF NOT EXISTS vecferry.bot_run (
  migration text PRIMARY KEY REFERENCES vecferry.migration ON DELETE CASCADE,
  settings jsonb NOT NULL,
  estimate jsonb
);
-- What a run was expected to take came later than the rest. Whoever does not know the column does without it.
ALTER TABLE vecferry.bot_run ADD COLUMN IF NOT EXISTS estimate jsonb;

-- One row per bot. `token` and `task` are those of the attempt under way; `reason` is why the bot failed, was skipped,
-- or why its last attempt gave no proof.
CREATE TABLE IF NOT EXISTS vecferry.bot_state (
  migration text NOT NULL REFERENCES vecferry.migration ON DELETE CASCADE,
  owner text NOT NULL,
  bot text NOT NULL,
  title text NOT NULL,
  documents int NOT NULL,
  state text NOT NULL,
  token text,
  task text,
  retryable boolean,
  attempts int NOT NULL,
  reason text,
  rows bigint,
  tokens bigint,
  reused bigint,
  finished_at timestamptz,
  PRIMARY KEY (migration, owner, bot)
);

-- One row per attempt, durable before the task is launched. `seen` holds the transactions that had written the bot's
-- rows before.
CREATE TABLE IF NOT EXISTS vecferry.bot_attempt (
  migration text NOT NULL,
  owner text NOT NULL,
  bot text NOT NULL,
  number int NOT NULL,
  token text NOT NULL,
  task text,
  launched_at timestamptz NOT NULL,
  seen jsonb,
  ended jsonb,
  PRIMARY KEY (migration, owner, bot, number),
  FOREIGN KEY (migration, owner, bot) REFERENCES vecferry.bot_state ON DELETE CASCADE
);
