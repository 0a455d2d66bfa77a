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

-- name: drop_bench
DROP TABLE {table}
