-- Partitioned tables above the tables of migration $1.
SELECT DISTINCT n.nspname::text, c.relname::text
FROM vecferry.relation r
JOIN pg_namespace rn ON rn.nspname = r.schema
JOIN pg_class rc ON rc.relnamespace = rn.oid AND rc.relname = r.name
CROSS JOIN LATERAL pg_partition_ancestors(rc.oid) a(oid)
JOIN pg_class c ON c.oid = a.oid AND c.relkind = 'p'
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.migration = $1
ORDER BY 1, 2
