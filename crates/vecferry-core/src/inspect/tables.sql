-- One JSON array: the `Table`s of inventory.rs. $1: names of extensions' and our own schemas are left out by the
-- dependency on an extension and by name.
WITH relation AS (
  SELECT c.*, n.nspname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry', 'vecferry_fence')
    AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
    AND NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
),
columns AS (
  SELECT a.attrelid, json_agg(json_build_object(
    'name', a.attname,
    'type_oid', a.atttypid::bigint,
    'type_name', format_type(a.atttypid, a.atttypmod),
    'type_modifier', a.atttypmod,
    'not_null', a.attnotnull,
    'generated', CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END,
    'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
    'default', pg_get_expr(d.adbin, d.adrelid),
    'collation', (SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
                  FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
                  WHERE co.oid = a.attcollation AND a.attcollation <> t.typcollation)
  ) ORDER BY a.attnum) AS list
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT oid FROM relation)
  GROUP BY a.attrelid
),
indexes AS (
  SELECT i.indrelid, json_agg(json_build_object(
    'oid', i.indexrelid::bigint,
    'name', ic.relname,
    'definition', pg_get_indexdef(i.indexrelid),
    'method', am.amname,
    'options', COALESCE(to_json(ic.reloptions), '[]'::json),
    'unique', i.indisunique,
    'valid', i.indisvalid,
    'columns', COALESCE((SELECT json_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE k.n <= i.indnkeyatts), '[]'::json),
    'partial', i.indpred IS NOT NULL,
    'operator_class', (SELECT opcname FROM pg_opclass WHERE oid = (i.indclass::oid[])[0]),
    'bytes', pg_relation_size(i.indexrelid),
    'constraint', (SELECT json_build_object('oid', k.oid::bigint, 'name', k.conname, 'kind', k.contype,
                     'definition', pg_get_constraintdef(k.oid),
                     'referenced', EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = i.indexrelid))
                   FROM pg_constraint k
                   WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = i.indrelid LIMIT 1),
    'attached', ic.relispartition,
    'replica_identity', i.indisreplident,
    'clustered', i.indisclustered
  ) ORDER BY ic.relname) AS list
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_am am ON am.oid = ic.relam
  WHERE i.indrelid IN (SELECT oid FROM relation)
  GROUP BY i.indrelid
),
constraints AS (
  SELECT k.conrelid, json_agg(json_build_object('oid', k.oid::bigint, 'name', k.conname, 'kind', k.contype,
           'definition', pg_get_constraintdef(k.oid), 'referenced', false) ORDER BY k.conname) AS list
  FROM pg_constraint k
  WHERE k.contype IN ('c', 'f', 't') AND k.conrelid IN (SELECT oid FROM relation)
  GROUP BY k.conrelid
),
-- The primary key, else the first unique index, all of whose columns are NOT NULL.
keys AS (
  SELECT DISTINCT ON (i.indrelid) i.indrelid, i.indisprimary,
    (SELECT json_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts) AS list
  FROM pg_index i
  WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND i.indrelid IN (SELECT oid FROM relation)
    AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) k(attnum)
                    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE NOT a.attnotnull)
  ORDER BY i.indrelid, i.indisprimary DESC, i.indnatts, i.indexrelid
)
SELECT COALESCE(json_agg(json_build_object(
  'oid', r.oid::bigint,
  'name', json_build_object('schema', r.nspname, 'name', r.relname),
  'kind', CASE r.relkind WHEN 'r' THEN 'ordinary' WHEN 'p' THEN 'partitioned' ELSE 'foreign' END,
  'unlogged', r.relpersistence = 'u',
  'partition_of', (SELECT json_build_object('schema', pn.nspname, 'name', p.relname)
                   FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
                   WHERE h.inhrelid = r.oid AND r.relispartition),
  'relfilenode', COALESCE(pg_relation_filenode(r.oid), 0)::bigint,
  'heap_bytes', CASE WHEN r.relkind = 'r' THEN pg_relation_size(r.oid) ELSE 0 END,
  'table_bytes', CASE WHEN r.relkind = 'r' THEN pg_table_size(r.oid) ELSE 0 END,
  'estimated_rows', CASE WHEN r.reltuples >= 0 AND r.relkind = 'r' THEN r.reltuples::bigint END,
  'columns', COALESCE(columns.list, '[]'::json),
  'key', COALESCE(keys.list, '[]'::json),
  'has_primary_key', COALESCE(keys.indisprimary, false),
  'replica_identity', r.relreplident,
  'indexes', COALESCE(indexes.list, '[]'::json),
  'constraints', COALESCE(constraints.list, '[]'::json),
  'triggers', COALESCE((SELECT json_agg(t.tgname ORDER BY t.tgname) FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
    JOIN pg_namespace fn ON fn.oid = f.pronamespace
    WHERE t.tgrelid = r.oid AND NOT t.tgisinternal AND fn.nspname NOT IN ('vecferry', 'vecferry_fence')), '[]'::json),
  'row_security', r.relrowsecurity,
  'privileges', (SELECT COALESCE(json_agg(p), '[]'::json) FROM (
      SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'TRUNCATE']) p WHERE has_table_privilege(r.oid, p)
      UNION ALL SELECT 'OWNER' WHERE pg_has_role(r.relowner, 'USAGE')) x(p))
) ORDER BY r.nspname, r.relname), '[]'::json)::text
FROM relation r
LEFT JOIN columns ON columns.attrelid = r.oid
LEFT JOIN indexes ON indexes.indrelid = r.oid
LEFT JOIN constraints ON constraints.conrelid = r.oid
LEFT JOIN keys ON keys.indrelid = r.oid
