INSERT INTO {table} ({id}, {payload})
SELECT s.id::{id_type}, s.payload
FROM pg_temp.vaultstream_import s
WHERE NOT EXISTS (SELECT FROM pg_temp.vaultstream_import_again a WHERE a.line = s.line)
