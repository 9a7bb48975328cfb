-- The columns of table $1, and which of them name a row for a subscriber: those of its replica identity index, of its
-- primary key where it has none.
SELECT a.attname::text, a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',
       COALESCE(a.attnum = ANY (i.attnums), false)
  FROM pg_catalog.pg_attribute a
  LEFT JOIN (SELECT (x.indkey::int2[])[0:x.indnkeyatts - 1] AS attnums
               FROM pg_catalog.pg_index x
              WHERE x.indrelid = $1 AND x.indislive AND (x.indisreplident OR x.indisprimary)
              ORDER BY x.indisreplident DESC
              LIMIT 1) i ON true
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
