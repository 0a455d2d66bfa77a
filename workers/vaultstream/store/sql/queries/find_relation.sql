-- to_regclass reads an unquoted name in lower case; the name as it stands comes first.
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS relation
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT position('.' IN $1) AS dot) AS p
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (
    (c.relname = $1 AND pg_table_is_visible(c.oid))
    OR (p.dot > 0 AND n.nspname = substr($1, 1, p.dot - 1) AND c.relname = substr($1, p.dot + 1))
  )
ORDER BY c.relname = $1 DESC
LIMIT 1
