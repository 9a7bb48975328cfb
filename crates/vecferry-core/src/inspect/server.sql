-- One JSON object: the `Server` of inventory.rs, except what needs rights that may be missing.
SELECT json_build_object(
  'version_num', current_setting('server_version_num')::int,
  'version', split_part(current_setting('server_version'), ' ', 1),
  'system_identifier', NULL,
  'timeline', NULL,
  'in_recovery', pg_is_in_recovery(),
  'aurora', EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version'),
  'database', current_database(),
  'database_oid', d.oid::bigint,
  'encoding', pg_encoding_to_char(d.encoding),
  'role', current_user,
  'superuser', r.rolsuper,
  'can_create', has_database_privilege(d.oid, 'CREATE'),
  'encrypted', COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
  'max_connections', current_setting('max_connections')::int,
  'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type IS NULL OR backend_type = 'client backend'),
  'reserved_connections', current_setting('superuser_reserved_connections')::int,
  'shared_buffers', pg_size_bytes(current_setting('shared_buffers')),
  'maintenance_work_mem', pg_size_bytes(current_setting('maintenance_work_mem')),
  'max_parallel_maintenance_workers', current_setting('max_parallel_maintenance_workers')::int,
  'available_memory', NULL,
  'wal_level', current_setting('wal_level'),
  'max_wal_size', pg_size_bytes(current_setting('max_wal_size')),
  'can_set_replication_role', r.rolsuper
)::text
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user
