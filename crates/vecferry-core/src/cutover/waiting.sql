-- What keeps the fence of the tables $1 (OIDs) waiting: transactions older than a minute that hold a lock against it,
-- and prepared ones. In words.
(SELECT format('process %s (%s) has held a lock on %s since %s', a.pid, COALESCE(NULLIF(a.application_name, ''), a.usename),
               min(l.relation::regclass::text), to_char(a.xact_start, 'HH24:MI:SS'))
 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::oid[]) AND a.backend_type = 'client backend'
   AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                  'AccessExclusiveLock')
   AND a.xact_start < now() - interval '1 minute' AND a.pid <> pg_backend_pid()
 GROUP BY a.pid, a.application_name, a.usename, a.xact_start ORDER BY a.xact_start LIMIT 5)
UNION ALL
(SELECT format('prepared transaction %L has been open since %s', gid, to_char(prepared, 'YYYY-MM-DD HH24:MI:SS'))
 FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 5)
