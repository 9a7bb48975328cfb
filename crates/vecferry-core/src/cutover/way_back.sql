-- What the target has left for a slot named $1 and who sends from it.
SELECT current_setting('wal_level'),
       current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots WHERE slot_name <> $1),
       current_setting('max_wal_senders')::bigint - (SELECT count(*) FROM pg_stat_replication),
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
         OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'MEMBER'))
