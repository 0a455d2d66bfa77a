-- Dead letters of job $1 in the order of their batches, at most $2 of them; all, if that is NULL.
SELECT record_id, batch_no, reason, message, died_at
FROM vaultstream.dead_letters
WHERE job_no = $1
ORDER BY batch_no, record_id
LIMIT $2
