-- The tables to fence, $1 schemas and $2 names of those that are moved: they and everything above them, for a statement
-- on a parent fires the parent's triggers alone. Each with whether it is moved itself, whether our role may fence it,
-- and whether its trigger is there.
WITH RECURSIVE above AS (
  SELECT c.oid, true AS moved
  FROM unnest($1::text[], $2::text[]) m(schema, name)
  JOIN pg_namespace n ON n.nspname = m.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.name
  UNION
  SELECT i.inhparent, false FROM pg_inherits i JOIN above a ON a.oid = i.inhrelid
)
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, bool_or(a.moved),
       has_table_privilege(c.oid, 'TRIGGER') AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'),
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'vecferry_fence' AND t.tgenabled = 'O'
               AND t.tgfoid = to_regprocedure('vecferry_fence.refuse()'))
FROM above a
JOIN pg_class c ON c.oid = a.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
GROUP BY c.oid, n.nspname, c.relname, c.relkind
ORDER BY c.oid
