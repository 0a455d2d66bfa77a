-- A domain counts as the type that it is over, through as many domains as there are.
WITH RECURSIVE columns AS (
    SELECT attname AS name, attnum, atttypid AS type
    FROM pg_attribute
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT c.name, c.attnum, t.typbasetype
    FROM columns c
    JOIN pg_type t ON t.oid = c.type AND t.typtype = 'd'
)
SELECT c.name, t.typname AS type
FROM columns c
JOIN pg_type t ON t.oid = c.type
WHERE t.typtype <> 'd'
ORDER BY c.attnum
