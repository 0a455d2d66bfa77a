-- The dead letters of the records $2 of job $1.
SELECT record_id, reason, message
FROM vaultstream.dead_letters
WHERE job_no = $1 AND record_id = ANY ($2::text[])
