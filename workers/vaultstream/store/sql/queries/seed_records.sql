-- Receipts to sign, with payloads of 256 bytes: JSON text, no two alike, the same each time. {table} is filled in; $1 to $2 are ids.
INSERT INTO {table} (id, payload)
SELECT id, rpad(head, 254, md5(head) || md5(id::text)) || '"}}'
FROM (
    SELECT id, format('{{"receipt":%s,"issued":"%s","amount_cents":%s,"memo":"',
                      id, to_char(timestamp '2026-01-01' + id * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                      100 + (id * 7919) % 1000000) AS head
    FROM generate_series($1::bigint, $2::bigint) AS id
) AS receipt
