-- Type and identity of every user object of the database, to tell which entries of the dump are there already.
SELECT i.type, i.identity
FROM (
  SELECT tableoid, oid FROM pg_namespace
  UNION ALL SELECT tableoid, oid FROM pg_class WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_type WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_proc WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_constraint WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_attrdef WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_trigger WHERE oid >= 16384 AND NOT tgisinternal
  UNION ALL SELECT tableoid, oid FROM pg_rewrite WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_policy
  UNION ALL SELECT tableoid, oid FROM pg_operator WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_opclass WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_opfamily WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_collation WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_conversion WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_ts_config WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_ts_dict WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_ts_parser WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_ts_template WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_statistic_ext
  UNION ALL SELECT tableoid, oid FROM pg_event_trigger
  UNION ALL SELECT tableoid, oid FROM pg_foreign_data_wrapper
  UNION ALL SELECT tableoid, oid FROM pg_foreign_server
  UNION ALL SELECT tableoid, oid FROM pg_cast WHERE oid >= 16384
  UNION ALL SELECT tableoid, oid FROM pg_language WHERE oid >= 16384
) x(classid, objid), LATERAL pg_identify_object(x.classid, x.objid, 0) i
WHERE i.identity IS NOT NULL
