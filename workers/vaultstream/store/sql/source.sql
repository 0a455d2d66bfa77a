-- name: find_relation
-- The relation named $1. to_regclass would fold an unquoted name to lower case; here the name as written comes first.
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

-- name: list_relations
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE format('%s.%s', n.nspname, c.relname) END AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'vaultstream') AND n.nspname NOT LIKE 'pg\_toast%'
ORDER BY name
LIMIT 500

-- name: list_columns
-- The columns of the relation with the oid $1. A domain counts as its base type, also through several domains.
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

-- name: read_ranges
-- Ids and payloads of the records from each id in $2 to its counterpart in $3. A payload over $1 bytes stays in the database;
-- only its size is returned. OFFSET 0 keeps the planner from evaluating the payload's expression in each of the three places
-- where it is used.
SELECT found.id, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload, octet_length(payload) AS size
FROM unnest($2::bigint[], $3::bigint[]) AS run (first, last),
     LATERAL (
         SELECT s.{id}::{id_type} AS id, {payload} AS payload
         FROM {relation} AS s
         WHERE s.{id} BETWEEN run.first AND run.last
         OFFSET 0
     ) AS found

-- name: read_listed
-- The same for the records whose ids are in $2.
SELECT found.id, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload, octet_length(payload) AS size
FROM (
    SELECT s.{id}::{id_type} AS id, {payload} AS payload
    FROM {relation} AS s
    WHERE s.{id} = ANY ($2::{id_type}[])
    OFFSET 0
) AS found

-- name: source_rights
-- Whether this user may read the columns $2 and $3 of the relation $1, given as `schema.name`, quoted where need be.
SELECT current_user::text AS login, n.nspname::text AS schema, has_schema_privilege(n.oid, 'USAGE') AS enters,
       has_column_privilege(c.oid, $2::text, 'SELECT') AND has_column_privilege(c.oid, $3::text, 'SELECT') AS reads
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE format('%I.%I', n.nspname, c.relname) = $1

-- name: estimate_rows
EXPLAIN (FORMAT JSON) SELECT FROM {relation}
