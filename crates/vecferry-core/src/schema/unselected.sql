-- Objects that belong to tables which are not moved ($1: their OIDs), when only some tables are: everything that
-- hangs on them, foreign keys that point at one that is not on the target either ($2), and all views.
SELECT 'pg_class'::regclass::oid, oid FROM pg_class WHERE oid = ANY ($1::oid[]) OR (relkind IN ('v', 'm') AND oid >= 16384)
UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = ANY ($1::oid[])
UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = ANY ($1::oid[])
UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = ANY ($1::oid[]) OR confrelid = ANY ($2::oid[])
UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE tgrelid = ANY ($1::oid[])
UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
  WHERE r.ev_class = ANY ($1::oid[]) OR c.relkind IN ('v', 'm')
UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid = ANY ($1::oid[])
UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxrelid = ANY ($1::oid[])
-- Sequences owned by their columns, identity sequences among them.
UNION ALL SELECT 'pg_class'::regclass, d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1::oid[])
    AND d.deptype IN ('a', 'i')
