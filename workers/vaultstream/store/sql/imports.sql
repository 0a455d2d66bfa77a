-- name: import_settings
-- For this transaction only: a load has no time limit, and sorts in large memory.
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL work_mem = '64MB';
SET LOCAL maintenance_work_mem = '256MB'

-- name: import_open_jobs
-- The jobs that still read their records, with the table of each.
SELECT name, spec -> 'records' ->> 'table' AS source
FROM vaultstream.jobs
WHERE state IN ('Pending', 'Running', 'Suspended') AND deleted_at IS NULL
ORDER BY name

-- name: import_describe
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

-- name: import_may_add
-- Whether this user may read and add to the relation with the oid $1: only then is it told about its columns.
SELECT has_table_privilege($1::oid, 'SELECT') AND has_table_privilege($1::oid, 'INSERT')

-- name: import_create
CREATE TABLE {table} ({id} {id_type} NOT NULL, {payload} {payload_type} NOT NULL)

-- name: import_lock_appended
LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE

-- name: import_lock_replaced
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE

-- name: import_drop
DROP TABLE {table}

-- name: import_rename
ALTER TABLE {table} RENAME TO {name}

-- name: import_add_primary_key
ALTER TABLE {table} ADD PRIMARY KEY ({id})

-- name: import_narrow_ids
ALTER TABLE {table} ALTER {id} TYPE {column_type} USING {id}::{id_type}

-- name: import_highest_number
SELECT coalesce(max({id}), 0) FROM {table}

-- name: import_stage
-- Rows whose ids come from the file wait here: the type of the ids is known only after the last one.
CREATE TEMPORARY TABLE vaultstream_import (line bigint, id text COLLATE "C", payload {payload_type}) ON COMMIT DROP

-- name: import_find_duplicates
-- The second and each later row of an id.
CREATE TEMPORARY TABLE vaultstream_import_again ON COMMIT DROP AS
SELECT line, id, first
FROM (SELECT line, id, min(line) OVER (PARTITION BY id::{id_type}) AS first FROM pg_temp.vaultstream_import) AS seen
WHERE line > first

-- name: import_find_present
-- The rows whose id the table already had.
INSERT INTO pg_temp.vaultstream_import_again (line, id)
SELECT s.line, s.id
FROM pg_temp.vaultstream_import s
JOIN {table} t ON t.{id} = s.id::{id_type}
WHERE NOT EXISTS (SELECT FROM pg_temp.vaultstream_import_again a WHERE a.line = s.line)

-- name: import_rejected
SELECT a.line, a.id, a.first, {excerpt} AS text
FROM pg_temp.vaultstream_import_again a
JOIN pg_temp.vaultstream_import s USING (line)
ORDER BY a.line

-- name: import_unstage
INSERT INTO {table} ({id}, {payload})
SELECT s.id::{id_type}, s.payload
FROM pg_temp.vaultstream_import s
WHERE NOT EXISTS (SELECT FROM pg_temp.vaultstream_import_again a WHERE a.line = s.line)

-- name: import_current_schema
SELECT current_schema()

-- name: analyze
ANALYZE {table}
