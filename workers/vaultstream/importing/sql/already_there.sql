-- The rows whose id the table holds from before.
INSERT INTO pg_temp.vaultstream_import_again (line, id)
SELECT s.line, s.id
FROM pg_temp.vaultstream_import s
JOIN {table} t ON t.{id} = s.id::{id_type}
WHERE NOT EXISTS (SELECT FROM pg_temp.vaultstream_import_again a WHERE a.line = s.line)
