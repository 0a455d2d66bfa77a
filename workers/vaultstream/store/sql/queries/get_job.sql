-- A token names a job for ever, a name only while it is not deleted.
SELECT * FROM vaultstream.jobs
WHERE (name = $1 AND deleted_at IS NULL) OR token = $1
ORDER BY token = $1 DESC
LIMIT 1
