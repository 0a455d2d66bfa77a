-- name: create_receipts
CREATE TABLE {table} (id bigint PRIMARY KEY, payload text NOT NULL)

-- name: seed_receipts
-- Receipts to sign, with the ids $1 to $2 and payloads of 256 bytes: JSON text, no two alike, the same on every run.
INSERT INTO {table} (id, payload)
SELECT id, rpad(head, 254, md5(head) || md5(id::text)) || '"}}'
FROM (
    SELECT id, format('{{"receipt":%s,"issued":"%s","amount_cents":%s,"memo":"',
                      id, to_char(timestamp '2026-01-01' + id * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                      100 + (id * 7919) % 1000000) AS head
    FROM generate_series($1::bigint, $2::bigint) AS id
) AS receipt

-- name: find_sample_view
-- Whether public.$1 is free for a view of this user; or else whether it is a view of this user, and its comment.
SELECT c.oid IS NULL AND pg_catalog.has_schema_privilege(n.oid, 'CREATE') AS free,
       c.relkind = 'v' AND pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $1::text
WHERE n.nspname = 'public'

-- name: show_records
CREATE OR REPLACE VIEW public.records AS SELECT id, payload FROM {table};
COMMENT ON VIEW public.records IS {comment}

-- name: show_signatures
CREATE OR REPLACE VIEW public.signatures AS SELECT * FROM vaultstream.signatures;
COMMENT ON VIEW public.signatures IS {comment}

-- name: create_bench
CREATE TABLE {table} (id bigint PRIMARY KEY, payload bytea NOT NULL);
ALTER TABLE {table} ALTER payload SET STORAGE EXTERNAL

-- name: seed_bench
-- $1 records to measure with: payloads of $2 bytes, no two alike.
INSERT INTO {table} (id, payload)
SELECT id, convert_to(left(repeat(encode(sha256(int8send(id)), 'hex'), $2 / 64 + 1), $2), 'UTF8')
FROM generate_series(1, $1::bigint) AS id

-- name: vacuum_bench
VACUUM (ANALYZE) {table}

-- name: may_checkpoint
SELECT pg_has_role('pg_checkpoint', 'USAGE')

-- name: checkpoint_bench
CHECKPOINT

-- name: create_floor
-- An empty table like that of a job's signatures, with its index.
CREATE TABLE {table} (LIKE vaultstream.{like} INCLUDING ALL)

-- name: drop_bench
DROP TABLE {table}
