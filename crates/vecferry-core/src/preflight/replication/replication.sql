-- One JSON object: `Replication` of facts.rs. Every version since 14, any role: what a role may not see is missing from
-- lists and counts.
WITH me AS (SELECT oid, rolsuper, rolreplication FROM pg_roles WHERE rolname = current_user),
relation AS (
  SELECT c.oid, c.relname, c.relowner, n.nspname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry')
    AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
),
held AS (SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'USAGE'))
SELECT json_build_object(
  'max_slots', current_setting('max_replication_slots')::int,
  'slots', (SELECT COALESCE(json_agg(slot_name ORDER BY slot_name), '[]'::json) FROM pg_replication_slots),
  'max_senders', current_setting('max_wal_senders')::int,
  'senders', (SELECT COALESCE(json_agg(COALESCE(NULLIF(application_name, ''), 'process ' || pid) ORDER BY pid), '[]'::json)
              FROM pg_stat_replication),
  'max_apply_workers', current_setting('max_logical_replication_workers')::int,
  'apply_workers', (SELECT COALESCE(json_agg(subname ORDER BY subname), '[]'::json) FROM pg_stat_subscription WHERE pid IS NOT NULL),
  'max_workers', current_setting('max_worker_processes')::int,
  -- Whatever is no client and none of the server's own processes; parallel workers come and go.
  'workers', (SELECT COALESCE(json_agg(backend_type ORDER BY backend_type), '[]'::json) FROM pg_stat_activity
              WHERE backend_type NOT IN ('client backend', 'autovacuum launcher', 'autovacuum worker', 'background writer',
                'checkpointer', 'walwriter', 'walsender', 'walreceiver', 'walsummarizer', 'slotsync worker', 'startup',
                'archiver', 'logger', 'stats collector', 'io worker', 'standalone backend', 'parallel worker')),
  'max_origins', COALESCE(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int,
  'origins', (SELECT COALESCE(json_agg(roname ORDER BY roname), '[]'::json) FROM pg_replication_origin),
  'may_replicate', (SELECT rolsuper OR rolreplication OR EXISTS (SELECT FROM held WHERE rolname = 'rds_replication') FROM me),
  'may_subscribe', (SELECT rolsuper OR EXISTS (SELECT FROM held WHERE rolname IN ('pg_create_subscription', 'rds_superuser')) FROM me),
  'rds', EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser'),
  'kept_wal', (SELECT NULLIF(setting::bigint, -1) * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
  'decoding_memory', pg_size_bytes(current_setting('logical_decoding_work_mem')),
  'senders_time_out', (SELECT setting::bigint > 0 FROM pg_settings WHERE name = 'wal_sender_timeout'),
  'idle_slot_timeout', (SELECT current_setting(name) FROM pg_settings
                        WHERE name = 'idle_replication_slot_timeout' AND setting::bigint > 0),
  -- A slot waits for them, those of other databases too. The age of another role's is hidden from an ordinary one.
  'open_transactions', (SELECT COALESCE(json_agg(json_build_object('pid', pid, 'name',
        COALESCE(NULLIF(application_name, ''), usename, 'another role'), 'seconds', extract(epoch FROM now() - xact_start)::float8)
        ORDER BY xact_start), '[]'::json)
      FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()),
  'prepared', (SELECT COALESCE(json_agg(json_build_object('name', gid, 'seconds',
        extract(epoch FROM now() - prepared)::float8) ORDER BY prepared), '[]'::json) FROM pg_prepared_xacts),
  'owners', (SELECT COALESCE(json_agg(json_build_object('table', json_build_object('schema', nspname, 'name', relname),
        'owner', pg_get_userbyid(relowner), 'may_become', CASE
          WHEN current_setting('server_version_num')::int < 160000 THEN pg_has_role(relowner, 'MEMBER')
          ELSE pg_has_role(relowner, 'SET') END,
        -- As the fence of a cutover: locks the table, then puts a trigger on it.
        'may_fence', has_table_privilege(oid, 'TRIGGER') AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE'))), '[]'::json) FROM relation),
  'firing', (SELECT COALESCE(json_agg(json_build_object('table', json_build_object('schema', nspname, 'name', relname),
        'trigger', tgname) ORDER BY nspname, relname, tgname), '[]'::json)
      FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT tgisinternal AND tgenabled IN ('A', 'R'))
)::text
