-- One row per object that is defined by a text of its own: kind, name for people, schema and name of the relation it
-- belongs to, what every version of PostgreSQL keeps letter by letter, and what the server writes in its own way.
WITH user_schema AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry', 'vecferry_fence')
    AND nspname NOT LIKE 'pg\_toast%' AND nspname NOT LIKE 'pg\_temp%'
),
relation AS (
  SELECT c.oid, c.relname, c.relkind, c.reloptions, n.nspname
  FROM pg_class c JOIN user_schema n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
),
function AS (
  SELECT p.*, n.nspname,
         -- The column is new in version 14; a body in it is a parsed one, and prosrc is then empty.
         to_jsonb(p) ->> 'prosqlbody' AS parsed
  FROM pg_proc p JOIN user_schema n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
)
SELECT 'function', format('%s.%s(%s)', f.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
       NULL, NULL,
       concat_ws(' ', f.prokind, l.lanname, pg_get_function_result(f.oid), f.provolatile, f.proparallel,
                 f.proisstrict, f.prosecdef, f.proleakproof, f.procost, f.prorows, f.proconfig::text,
                 CASE WHEN f.prokind = 'a' THEN (
                   SELECT concat_ws(' ', a.aggkind, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn,
                                    format_type(a.aggtranstype, NULL), a.aggsortop::regoperator, a.agginitval)
                   FROM pg_aggregate a WHERE a.aggfnoid = f.oid)
                 WHEN f.parsed IS NULL THEN f.prosrc END),
       CASE WHEN f.prokind = 'a' THEN '' ELSE pg_get_functiondef(f.oid) END
FROM function f JOIN pg_language l ON l.oid = f.prolang
UNION ALL
SELECT 'view', format('%s.%s', r.nspname, r.relname), NULL, NULL,
       concat_ws(' ', r.relkind, (SELECT array_agg(o ORDER BY o)::text FROM unnest(r.reloptions) o),
                 (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
                  FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped)),
       pg_get_viewdef(r.oid)
FROM relation r WHERE r.relkind IN ('v', 'm')
UNION ALL
SELECT 'trigger', format('%s.%s: %s', r.nspname, r.relname, t.tgname), r.nspname, r.relname,
       concat_ws(' ', 'fires', t.tgenabled, t.tgtype, t.tgfoid::regproc, encode(t.tgargs, 'escape'), t.tgdeferrable,
                 t.tginitdeferred),
       pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid
  JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace
-- The fence's triggers are no part of the application.
WHERE NOT t.tgisinternal AND pn.nspname NOT IN ('vecferry', 'vecferry_fence')
UNION ALL
SELECT 'rule', format('%s.%s: %s', r.nspname, r.relname, w.rulename), r.nspname, r.relname,
       concat_ws(' ', 'fires', w.ev_enabled, w.ev_type, w.is_instead),
       pg_get_ruledef(w.oid)
FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', format('%s.%s: %s', r.nspname, r.relname, p.polname), r.nspname, r.relname,
       concat_ws(' ', 'for', p.polcmd, CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, 'to',
                 (SELECT string_agg(COALESCE(o.rolname, 'public'), ', ' ORDER BY o.rolname)
                  FROM unnest(p.polroles) role LEFT JOIN pg_roles o ON o.oid = role)),
       format('USING %s WITH CHECK %s', COALESCE(pg_get_expr(p.polqual, p.polrelid), 'none'),
              COALESCE(pg_get_expr(p.polwithcheck, p.polrelid), 'none'))
FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
ORDER BY 1, 2
