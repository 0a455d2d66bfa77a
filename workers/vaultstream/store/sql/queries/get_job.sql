-- A token names a job for ever, a name only while it is not deleted. Columns are named here and in list_jobs, so that a
-- migration may add one while programs of both versions run.
SELECT job_no, token, name, owner_uid, spec, id_type, state, message, created_at, started_at, finished_at, deleted_at,
       upper_id, planned_id, planned, next_batch_no, published_through
FROM vaultstream.jobs
WHERE (name = $1 AND deleted_at IS NULL) OR token = $1
ORDER BY token = $1 DESC
LIMIT 1
