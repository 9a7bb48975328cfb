-- One JSON object: extensions, sequences, views, large objects and roles of inventory.rs.
WITH user_schema AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
  WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry', 'vecferry_fence')
    AND nspname NOT LIKE 'pg\_toast%' AND nspname NOT LIKE 'pg\_temp%'
),
relation AS (
  SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relispopulated, n.nspname
  FROM pg_class c JOIN user_schema n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
),
role_oid AS (
  SELECT relowner AS oid FROM relation
  UNION SELECT a.grantee FROM relation, aclexplode(relacl) a
  UNION SELECT nspowner FROM user_schema WHERE nspname <> 'public'
  UNION SELECT a.grantee FROM user_schema, aclexplode(nspacl) a
  UNION SELECT p.proowner FROM pg_proc p JOIN user_schema s ON s.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
  UNION SELECT a.grantee FROM pg_proc p JOIN user_schema s ON s.oid = p.pronamespace, aclexplode(p.proacl) a
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
  UNION SELECT t.typowner FROM pg_type t JOIN user_schema s ON s.oid = t.typnamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
  UNION SELECT a.grantee FROM pg_attribute c JOIN relation r ON r.oid = c.attrelid, aclexplode(c.attacl) a
)
SELECT json_build_object(
  'extensions', (SELECT COALESCE(json_agg(json_build_object('name', x.extname, 'version', x.extversion, 'schema', n.nspname)
                   ORDER BY x.extname), '[]'::json) FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace),
  'sequences', (SELECT COALESCE(json_agg(json_build_object('schema', nspname, 'name', relname) ORDER BY nspname, relname), '[]'::json)
                FROM relation WHERE relkind = 'S'),
  'views', (SELECT COALESCE(json_agg(json_build_object('name', json_build_object('schema', nspname, 'name', relname),
              'materialized', relkind = 'm', 'populated', relispopulated) ORDER BY nspname, relname), '[]'::json)
            FROM relation WHERE relkind IN ('v', 'm')),
  'large_objects', (SELECT count(*) FROM pg_largeobject_metadata),
  'roles', (SELECT COALESCE(json_agg(r.rolname ORDER BY r.rolname), '[]'::json) FROM pg_roles r JOIN role_oid USING (oid)
            -- Predefined roles are on every server.
            WHERE r.rolname NOT LIKE 'pg\_%')
)::text
