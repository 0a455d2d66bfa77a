SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE format('%s.%s', n.nspname, c.relname) END AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'vaultstream') AND n.nspname NOT LIKE 'pg\_toast%'
ORDER BY name
LIMIT 500
