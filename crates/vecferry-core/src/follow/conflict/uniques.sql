-- The unique indexes of table $1 whose keys are plain columns: without those over expressions or some of the rows only,
-- those checked at the end of a transaction, and those that are exclusion constraints.
SELECT x.relname::text,
       -- The column is there since PostgreSQL 15.
       NOT COALESCE((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
       array_agg(a.attname::text ORDER BY k.n),
       array_agg(format('%I.%I', tn.nspname, t.typname) ORDER BY k.n),
       array_agg(format('OPERATOR(%I.%s)', opn.nspname, op.oprname) ORDER BY k.n)
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY AS k(attnum, opclass, n)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  JOIN pg_catalog.pg_opclass oc ON oc.oid = k.opclass
  JOIN pg_catalog.pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
  JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3
       AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
  JOIN pg_catalog.pg_operator op ON op.oid = ao.amopopr
  JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace
 WHERE i.indrelid = $1 AND i.indisunique AND i.indisready AND i.indislive AND i.indimmediate
   AND NOT i.indisexclusion AND i.indpred IS NULL AND i.indexprs IS NULL AND k.n <= i.indnkeyatts
 GROUP BY i.indexrelid, x.relname, i.indisprimary, i.indnkeyatts, to_jsonb(i)
HAVING count(*) = i.indnkeyatts
 ORDER BY i.indisprimary DESC, x.relname
