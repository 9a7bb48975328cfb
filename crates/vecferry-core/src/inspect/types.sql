-- One JSON array: every type, with what decides whether its binary form means the same on another cluster.
SELECT json_agg(json_build_object(
  'oid', t.oid::bigint,
  'name', t.typname,
  'kind', t.typtype,
  'binary', t.typsend <> 0 AND t.typreceive <> 0,
  'element', t.typelem::bigint,
  'is_array', t.typsubscript = 'array_subscript_handler'::regproc AND t.typlen = -1,
  'base', t.typbasetype::bigint,
  'modifier', t.typtypmod,
  'fields', COALESCE((SELECT json_agg(a.atttypid::bigint ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped AND t.typtype = 'c'), '[]'::json),
  'range_of', (SELECT g.rngsubtype::bigint FROM pg_range g WHERE g.rngtypid = t.oid OR g.rngmultitypid = t.oid)
))::text
FROM pg_type t
WHERE t.typtype <> 'p'
  AND (t.oid < 16384 AND t.typtype <> 'c' OR t.oid >= 16384)
