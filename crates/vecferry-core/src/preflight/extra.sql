-- One JSON object: `Extra` of facts.rs. Every version since 14, any role: what is missing is asked for softly.
WITH me AS (SELECT oid, rolconnlimit, rolsuper FROM pg_roles WHERE rolname = current_user),
db AS (SELECT oid, datconnlimit FROM pg_database WHERE datname = current_database()),
user_schema AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry')
    AND nspname NOT LIKE 'pg\_toast%' AND nspname NOT LIKE 'pg\_temp%'
),
relation AS (
  SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, n.nspname
  FROM pg_class c JOIN user_schema n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't'
),
-- Sessions of clients, ours apart: they are gone before the migration starts.
activity AS (
  SELECT usesysid, datid FROM pg_stat_activity
  WHERE (backend_type IS NULL OR backend_type = 'client backend') AND COALESCE(application_name, '') NOT LIKE 'vecferry%'
)
SELECT json_build_object(
  'identity', json_build_object('started_at', pg_postmaster_start_time()::text,
     'address', host(inet_server_addr()) || ':' || inet_server_port(), 'backend_pid', pg_backend_pid()),
  'available', (SELECT COALESCE(json_agg(json_build_object('name', v.name, 'version', v.version, 'superuser', v.superuser,
                  'trusted', COALESCE((to_jsonb(v)->>'trusted')::boolean, false))), '[]'::json)
                FROM pg_available_extension_versions v),
  'used_extensions', (SELECT COALESCE(json_agg(x.extname), '[]'::json) FROM pg_extension x WHERE EXISTS (
      SELECT FROM pg_depend m JOIN pg_depend u ON u.refclassid = m.classid AND u.refobjid = m.objid
      WHERE m.refclassid = 'pg_extension'::regclass AND m.refobjid = x.oid AND m.deptype = 'e'
        AND u.deptype IN ('n', 'a')
        AND NOT EXISTS (SELECT FROM pg_depend o WHERE o.classid = u.classid AND o.objid = u.objid AND o.deptype = 'e'))),
  'role_settings', (SELECT COALESCE(json_agg(DISTINCT c), '[]'::json) FROM pg_db_role_setting s, unnest(s.setconfig) c
      WHERE s.setdatabase IN (0, (SELECT oid FROM db)) AND s.setrole IN (0, (SELECT oid FROM me))
        AND c ~ '^(statement_timeout|lock_timeout|idle_in_transaction_session_timeout|idle_session_timeout|transaction_timeout)='),
  'can_export_snapshot', has_function_privilege('pg_catalog.pg_export_snapshot()', 'EXECUTE'),
  'schemas', (SELECT COALESCE(json_agg(json_build_object('name', nspname, 'usage', has_schema_privilege(oid, 'USAGE'),
                'create', has_schema_privilege(oid, 'CREATE')) ORDER BY nspname), '[]'::json) FROM user_schema),
  'hidden_rows', (SELECT COALESCE(json_agg(json_build_object('schema', nspname, 'name', relname)), '[]'::json)
      FROM relation WHERE relkind IN ('r', 'p') AND relrowsecurity AND row_security_active(oid)),
  'unreadable_sequences', (SELECT COALESCE(json_agg(json_build_object('schema', nspname, 'name', relname)), '[]'::json)
      FROM relation WHERE relkind = 'S' AND NOT has_table_privilege(oid, 'SELECT')),
  'unreadable_large_objects', (SELECT count(*) FROM pg_largeobject_metadata l
      WHERE NOT (SELECT rolsuper FROM me) AND NOT pg_has_role(l.lomowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM aclexplode(l.lomacl) a WHERE a.privilege_type = 'SELECT'
                        AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))),
  'event_triggers', (SELECT COALESCE(json_agg(evtname ORDER BY evtname), '[]'::json) FROM pg_event_trigger WHERE evtenabled <> 'D'),
  'all_roles', (SELECT COALESCE(json_agg(rolname), '[]'::json) FROM pg_roles),
  'held_roles', (SELECT COALESCE(json_agg(rolname), '[]'::json) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')),
  'read_only', current_setting('transaction_read_only')::boolean,
  'connections', json_build_object(
     'used', (SELECT count(*) FROM activity),
     'reserved', COALESCE(current_setting('reserved_connections', true)::int, 0),
     'role_used', (SELECT count(*) FROM activity WHERE usesysid = (SELECT oid FROM me)),
     'role_limit', (SELECT NULLIF(rolconnlimit, -1) FROM me WHERE NOT rolsuper),
     'database_used', (SELECT count(*) FROM activity WHERE datid = (SELECT oid FROM db)),
     'database_limit', (SELECT NULLIF(datconnlimit, -1) FROM db WHERE NOT (SELECT rolsuper FROM me))),
  'has_store', to_regnamespace('vecferry') IS NOT NULL,
  'migration_running', EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM db) AND a.application_name LIKE 'vecferry%'),
  'managed_superuser', EXISTS (SELECT FROM pg_roles r WHERE pg_has_role(r.oid, 'MEMBER') AND NOT (SELECT rolsuper FROM me)
      AND r.rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin', 'neon_superuser'))
)::text
