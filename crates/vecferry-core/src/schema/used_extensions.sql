-- Extensions with a member that something outside of every extension depends on.
SELECT x.extname
FROM pg_extension x
WHERE EXISTS (
  SELECT FROM pg_depend m
  JOIN pg_depend u ON u.refclassid = m.classid AND u.refobjid = m.objid
  WHERE m.refclassid = 'pg_extension'::regclass AND m.refobjid = x.oid AND m.deptype = 'e'
    AND u.deptype IN ('n', 'a')
    AND NOT EXISTS (SELECT FROM pg_depend o WHERE o.classid = u.classid AND o.objid = u.objid AND o.deptype = 'e')
)
