-- The jobs that still read their records, with the table of each.
SELECT name, spec -> 'records' ->> 'table' AS source
FROM vaultstream.jobs
WHERE state IN ('Pending', 'Running', 'Suspended') AND deleted_at IS NULL
ORDER BY name
