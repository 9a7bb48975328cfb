//! What `vecferry init` writes: every key with its default, commented out.

/// The commented settings file.
pub(crate) const TEMPLATE: &str = r##"# Settings of vecferry. Flags and VECFERRY_* variables win over this file; what is commented out shows the default.

# Where the data is and where it goes. Leave passwords out of this file: VECFERRY_SOURCE_PASSWORD and
# VECFERRY_TARGET_PASSWORD, or PGPASSWORD, are read when the URL has none. In a URL's password, write @ as %40,
# / as %2F, # as %23 and % as %25.
# source = "postgresql://user@source-host:5432/database?sslmode=verify-full"
# target = "postgresql://user@target-host:5432/database?sslmode=verify-full"
# Secrets of AWS Secrets Manager (ARN or name) give user and password, and what the URLs leave out of host, port and
# database; they are read again when a password was rotated.
# source_secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:source"
# target_secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:target"

# Connections that copy at the same time, on each side.
# jobs = 4
# Size of the part of a table that one connection copies at a time.
# part_size = "64MiB"

# Tables to move and to leave: schema.table with * and ?. All user tables when include is empty.
# include = []
# exclude = []

# Rows that are on the target already: refuse to start, keep (bots that have rows there keep them), or replace.
# existing = "refuse"

# How long to wait for a lock that somebody holds, on either side.
# lock_timeout = "30s"

# Memory of the target that index builds may use together, and how many indexes are built at the same time.
# Both are derived from the target's memory when they are not set.
# index_memory = "8GiB"
# index_jobs = 2
# `lists` of IVFFlat indexes: keep what their definitions say, or auto for as many as suit the rows.
# ivfflat_lists = "keep"

# Directory of pg_dump and pg_restore; found on PATH when not set. Relative to this file.
# pg_bin_dir = "/usr/lib/postgresql/18/bin"

# How often to go on by itself after a lost connection.
# retries = 3

# Follow a source that stays in use (migrate --method follow): return when the target has caught up instead of
# watching until the cutover.
# detach = false
# Give tables of the source without a replica identity one; cleanup sets back what was there.
# set_replica_identity = false
# How the servers reach each other, where that is not how this machine reaches them. Without a password they take that
# of source and target when the user is the same.
# source_from_target = "postgresql://user@source-host:5432/database"
# target_from_source = "postgresql://user@target-host:5432/database"
# When changes begin to be applied: last (all indexes built first), first (the keys only), or auto (as the plan advises).
# apply_start = "auto"
# What `cutover` and `rollback` run to point the application at the other cluster (sh -c; the address is in
# VECFERRY_SWITCH_URL and the PG* variables). You point it yourself when it is empty.
# switch = ""
# Or the secret of AWS Secrets Manager that the application reads its database from: its host, port, dbname, username and
# password become the other cluster's.
# switch_secret = ""

# A delta (migrate --method delta): when the source was as it is, and what becomes of bots with documents on the web, of
# which nobody can tell what changed: keep their copied rows, or reembed them.
# source_time = "2026-03-01T12:00:00Z"
# web = "keep"

# SQLite file for the state of a re-embedding, when this machine has no route to the target; it is kept on the target
# when not set. Relative to this file.
# state = "vecferry.sqlite"

# TOML file of prices that go before the published ones, value by value: aurora_acu_hour = 0.14 and the like, in USD.
# Relative to this file.
# prices = "prices.toml"

# The table that holds the chunks, its columns, and the search the application makes. An empty bot means that the
# table serves one bot only.
# [knowledge]
# profile = "bedrock-chat"
# table = "public.items"
# id = "id"
# bot = "botid"
# content = "content"
# source = "source"
# embedding = "embedding"
# operator = "<->"
# limit = 20

# What only re-embedding (bots, migrate --method reembed, worker) reads.

# Where bots are listed: Bedrock Chat's DynamoDB table, or a TOML or JSON file. The table is read through its index
# LastBotUsedIndex, which only bots are in; full_scan reads all of it.
# [bots]
# table = "ConversationTable"
# file = "bots.toml"
# full_scan = false

# The AWS account; as the AWS CLI finds it when not set.
# [aws]
# region = "us-east-1"
# profile = "default"

# The embedding model, and who runs it: bedrock, openai (any compatible service at url, key in VECFERRY_MODEL_KEY) or
# local (a sentence-transformer's folder). source_model made the source's embeddings: where it is the same, unchanged
# chunks are not paid for again. Limits are those of the whole account, divided among the tasks. price is in USD for a
# million tokens and known for Bedrock's models.
# [embedding]
# provider = "bedrock"
# model = "cohere.embed-multilingual-v3"
# dimensions = 1024
# region = "us-east-1"
# url = "https://embeddings.example.com/v1"
# folder = "all-MiniLM-L6-v2"
# source_model = "cohere.embed-multilingual-v3"
# requests_per_minute = 2000
# tokens_per_minute = 300000
# price = 0.1

# Documents: the bucket of uploaded files; what becomes of a bot with documents that cannot be embedded (fail, keep-old
# or accept); hosts and networks inside private address ranges that pages may be read from.
# [documents]
# bucket = "documentbucket"
# lost_documents = "fail"
# allow_private = []
# ignore_robots = false
# max_page = "64MiB"
# timeout = "5min"

# Workers, one per bot: in this process (local), or as tasks of ECS. Rate and number are derived from the account's
# quotas when they are not set.
# [tasks]
# runner = "local"
# cluster = "default"
# task_definition = "embedding:1"
# container = "Container"
# subnets = []
# security_groups = []
# assign_public_ip = false
# launch_rate = 10
# in_flight = 50
# attempts = 3
# poll = "5s"
# busy_wait = "30min"
"##;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TEMPLATE;
    use crate::cli::{Delta, Follow, Selection, Work};
    use crate::settings::Settings;
    use crate::settings::file::{
        AWS_KEYS, BOTS_KEYS, DOCUMENTS_KEYS, EMBEDDING_KEYS, File, KEYS, KNOWLEDGE_KEYS, TASKS_KEYS,
    };
    use vecferry_core::delta::WebPolicy;
    use vecferry_core::policy::{Clusters, Policy};

    /// The template with its settings in force: a comment that is a setting starts with `# word = ` or `# [`.
    fn in_force() -> String {
        let setting = |line: &&str| {
            line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
                || line.starts_with('[')
        };
        let lines = TEMPLATE.lines().filter_map(|line| line.strip_prefix("# ").filter(setting));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_template_shows_every_key() {
        let shown = in_force();
        for key in [&KEYS[..], &KNOWLEDGE_KEYS, &BOTS_KEYS, &AWS_KEYS, &EMBEDDING_KEYS]
            .concat()
            .into_iter()
            .chain(DOCUMENTS_KEYS)
            .chain(TASKS_KEYS)
        {
            let shows =
                |line: &str| line.starts_with(&format!("{key} = ")) || line == format!("[{key}]");
            assert!(shown.lines().any(shows), "{key}");
        }
    }

    #[test]
    fn the_template_shows_the_defaults() {
        let file = File::parse(&in_force(), Path::new("v.toml")).unwrap();
        let settings = Settings::of(file);
        let mut policy = settings.policy(&Selection::default(), &Work::default());
        // These three have no value of their own to show.
        (policy.index_memory, policy.index_jobs, policy.pg_bin_dir) = (None, None, None);
        assert_eq!(format!("{policy:?}"), format!("{:?}", Policy::default()));
        let dsn = || "postgres://u@h/d".parse().unwrap();
        let clusters = Clusters { source: dsn(), target: dsn() };
        let mut follow = settings.follow(&Follow::default(), &clusters).unwrap();
        // Nor have these two.
        (follow.source_from_target, follow.target_from_source) = (None, None);
        assert_eq!(format!("{follow:?}"), format!("{:?}", Policy::default().follow));
        assert!(!settings.detach(false));
        assert_eq!(settings.web(&Delta::default()), Some(WebPolicy::default()));
        assert!(File::parse(TEMPLATE, Path::new("v.toml")).is_ok());
    }
}
