-- A relation, and whether a unique index covers the one column named $2.
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       EXISTS (
           SELECT FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
           WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
             AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = $2
       ) AS keyed
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
