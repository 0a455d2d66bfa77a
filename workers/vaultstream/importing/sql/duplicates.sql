-- The second and each later row of an id.
CREATE TEMPORARY TABLE vaultstream_import_again ON COMMIT DROP AS
SELECT line, id, first
FROM (SELECT line, id, min(line) OVER (PARTITION BY id::{id_type}) AS first FROM pg_temp.vaultstream_import) AS seen
WHERE line > first
