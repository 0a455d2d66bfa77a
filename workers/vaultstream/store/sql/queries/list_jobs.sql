-- The jobs, oldest first; those deleted with their signatures retained only if $1.
SELECT job_no, token, name, owner_uid, spec, id_type, state, message, created_at, started_at, finished_at, deleted_at,
       upper_id, planned_id, planned, next_batch_no, published_through
FROM vaultstream.jobs
WHERE deleted_at IS NULL OR $1
ORDER BY job_no
