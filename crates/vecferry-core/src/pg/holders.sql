-- Other sessions that hold locks on user tables of this database, or wait for one that everybody queues behind; one
-- line for each session, strongest lock first.
SELECT format('process %s (%s%s) %s %s on %s', pid, COALESCE(NULLIF(application_name, ''), 'no application name'),
              COALESCE(', role ' || usename, ''), CASE WHEN granted THEN 'holds' ELSE 'waits for' END, mode, name)
FROM (
  SELECT DISTINCT ON (a.pid) a.pid, a.application_name, a.usename, l.granted, l.mode, l.relation::regclass::text AS name,
         array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
           'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock', 'AccessShareLock'], l.mode) AS weakness
  FROM pg_locks l
  JOIN pg_stat_activity a USING (pid)
  JOIN pg_class c ON c.oid = l.relation
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE l.locktype = 'relation' AND (l.granted OR l.mode = 'AccessExclusiveLock')
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND c.relkind IN ('r', 'p', 'm', 'f')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'vecferry')
    AND COALESCE(a.application_name, '') NOT LIKE 'vecferry %'
  ORDER BY a.pid, weakness, name
) held
ORDER BY weakness, pid
