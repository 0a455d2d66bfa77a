-- Records to measure with: payloads of $2 bytes, no two alike. {table} is filled in; $1 is how many.
INSERT INTO {table} (id, payload)
SELECT id, convert_to(left(repeat(encode(sha256(int8send(id)), 'hex'), $2 / 64 + 1), $2), 'UTF8')
FROM generate_series(1, $1::bigint) AS id
