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

-- name: import_signed_by
-- The jobs that have signatures of the relation $1, also those that were deleted and kept them.
SELECT CASE WHEN deleted_at IS NULL THEN name ELSE token END AS name
FROM vaultstream.jobs AS j
WHERE source_oid = $1
    AND EXISTS (SELECT FROM vaultstream.batches AS b WHERE b.job_no = j.job_no AND b.signed > 0)
ORDER BY job_no

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

-- name: import_missing_privileges
-- What this user lacks to read, lock and add to the relation with the oid $1; NULL: nothing. Only then is it told about its columns.
-- Any of several privileges lets it be locked. The weakest of them is MAINTAIN, which Postgres has since version 17.
SELECT string_agg(needed.named, ', ' ORDER BY needed.place)
FROM (SELECT current_setting('server_version_num')::int >= 170000 AS maintains) AS server
CROSS JOIN LATERAL (VALUES
    (1, 'SELECT', 'SELECT'),
    (2, 'INSERT', 'INSERT'),
    (3, CASE WHEN maintains THEN 'MAINTAIN' ELSE 'UPDATE' END,
        'UPDATE, DELETE, TRUNCATE' || CASE WHEN maintains THEN ', MAINTAIN' ELSE '' END)
) AS needed (place, named, any_of)
WHERE NOT has_table_privilege($1::oid, needed.any_of)

-- name: import_code
-- What of the table with the oid $1 runs code of somebody else with the privileges of whoever adds to it; run after its lock.
-- Trusted are this user and superusers: their table may have what they want, only not a trigger with a function of a third one.
-- A default is not used, because each row has both columns; indexes of plain columns and foreign keys run no code of the owner.
SELECT what
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
CROSS JOIN LATERAL (SELECT o.rolsuper OR o.rolname = current_user AS trusted) AS t
CROSS JOIN LATERAL (
    SELECT 1, 'the trigger ' || g.tgname::text
    FROM pg_catalog.pg_trigger g
    JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
    JOIN pg_catalog.pg_roles f ON f.oid = p.proowner
    WHERE g.tgrelid = c.oid AND NOT (g.tgisinternal AND g.tgconstraint <> 0 AND f.rolsuper)
      AND (NOT t.trusted OR NOT (f.rolsuper OR f.rolname = current_user))
    UNION ALL SELECT 2, 'the rule ' || r.rulename::text FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND NOT t.trusted
    UNION ALL SELECT 3, 'the policy ' || p.polname::text FROM pg_catalog.pg_policy p
    WHERE p.polrelid = c.oid AND NOT t.trusted AND pg_catalog.row_security_active(c.oid)
    UNION ALL SELECT 4, 'the constraint ' || n.conname::text FROM pg_catalog.pg_constraint n
    WHERE n.conrelid = c.oid AND n.contype = 'c' AND NOT t.trusted
    UNION ALL SELECT 5, 'the index ' || x.relname::text FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) AND NOT t.trusted
    UNION ALL SELECT 6, 'the column ' || a.attname::text FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT t.trusted
      AND (a.attgenerated <> '' OR y.typtype = 'd')
    UNION ALL SELECT 7, 'the table it is a partition of' WHERE c.relispartition AND NOT t.trusted
    UNION ALL SELECT 8, 'a child table' WHERE NOT t.trusted
      AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid)
) AS found (place, what)
WHERE c.oid = $1::oid
ORDER BY place, what
LIMIT 5

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
-- The number is unique; several records of a JSON array may share a line.
CREATE TEMPORARY TABLE vaultstream_import (number bigint, line bigint, id text COLLATE "C", payload {payload_type}) ON COMMIT DROP

-- name: import_find_duplicates
-- The second and each later row of an id.
CREATE TEMPORARY TABLE vaultstream_import_again ON COMMIT DROP AS
SELECT number, first
FROM (
    SELECT number, row_number() OVER same AS place, first_value(line) OVER same AS first
    FROM pg_temp.vaultstream_import
    WINDOW same AS (PARTITION BY id::{id_type} ORDER BY number)
) AS seen
WHERE place > 1

-- name: import_find_present
-- The rows whose id the table already had.
INSERT INTO pg_temp.vaultstream_import_again (number)
SELECT s.number
FROM pg_temp.vaultstream_import s
JOIN {table} t ON t.{id} = s.id::{id_type}
WHERE NOT EXISTS (SELECT FROM pg_temp.vaultstream_import_again a WHERE a.number = s.number)

-- name: import_rejected
SELECT s.line, s.id, a.first, {excerpt} AS text
FROM pg_temp.vaultstream_import_again a
JOIN pg_temp.vaultstream_import s USING (number)
ORDER BY number

-- name: import_unstage
INSERT INTO {table} ({id}, {payload})
SELECT s.id::{id_type}, s.payload
FROM pg_temp.vaultstream_import s
WHERE NOT EXISTS (SELECT FROM pg_temp.vaultstream_import_again a WHERE a.number = s.number)

-- name: import_current_schema
SELECT pg_catalog.current_schema()

-- name: analyze
ANALYZE {table}
