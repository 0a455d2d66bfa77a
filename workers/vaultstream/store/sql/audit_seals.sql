-- Queries of `vaultstream.audit` that compare a job with its seals.

-- name: audit_batches_there
-- Which of the batches $2 job $1 has.
SELECT batch_no FROM vaultstream.batches WHERE job_no = $1 AND batch_no = ANY ($2::bigint[])

-- name: audit_dead_letters_of
-- The dead letters of the records $2 of job $1, with all that is sealed of them.
SELECT record_id, batch_no, reason, message, died_at
FROM vaultstream.dead_letters
WHERE job_no = $1 AND record_id = ANY ($2::text[])

-- name: audit_planned
-- The batches of job $1 as they were cut from its source.
SELECT batch_no AS number, first_id, last_id, records, ids
FROM vaultstream.batches
WHERE job_no = $1 AND planned
ORDER BY batch_no

-- name: audit_seal_logs
-- The logs that have seals. What a log is of, its origin says: that is in its checkpoints.
SELECT origin FROM vaultstream.logs WHERE strpos(origin, '/jobs/') = 0 ORDER BY log_no

-- name: audit_seal_log_of
-- The newest log of the tenant $2 with a plan or a seal that has the text $1. No text of another tenant's log is searched: there may be
-- gigabytes.
SELECT l.origin
FROM vaultstream.logs l
CROSS JOIN LATERAL (
    SELECT FROM vaultstream.log_entries e WHERE e.log_no = l.log_no AND strpos(e.body, $1) > 0 ORDER BY e.index DESC LIMIT 1
) AS found
WHERE strpos(l.origin, '/jobs/') = 0 AND l.tenant IS NOT DISTINCT FROM $2
ORDER BY l.log_no DESC
LIMIT 1

-- name: audit_statements_of
-- The statements of the batches $2 of job $1.
SELECT batch_no, body, signature FROM vaultstream.statements WHERE job_no = $1 AND batch_no = ANY ($2::bigint[])

-- name: audit_sealable
-- How much job $1 has that is to be sealed.
SELECT (SELECT count(*) FROM vaultstream.statements WHERE job_no = $1) AS statement,
       (SELECT count(*) FROM vaultstream.dead_letters WHERE job_no = $1) AS dead_letter,
       (SELECT count(*) FROM vaultstream.keys WHERE job_no = $1 AND state = 'revoked') AS revocation,
       (SELECT count(*) FROM vaultstream.audit_events WHERE job_no = $1) AS audit_event

-- name: audit_unsealed_dead_letters
-- Dead letters of job $1 that its log $2 does not name.
SELECT d.record_id, d.batch_no
FROM vaultstream.dead_letters d
WHERE d.job_no = $1 AND NOT EXISTS (
    SELECT FROM vaultstream.log_entries e
    WHERE e.log_no = $2 AND e.job_no = $1 AND e.kind = 'dead-letter' AND coalesce(e.batch_no, 0) = d.batch_no AND e.subject = d.record_id)
ORDER BY d.batch_no, d.record_id
LIMIT $3

-- name: audit_unsealed_statements
-- Statements of job $1 that its log $2 does not name.
SELECT NULL AS record_id, s.batch_no
FROM vaultstream.statements s
WHERE s.job_no = $1 AND NOT EXISTS (
    SELECT FROM vaultstream.log_entries e
    WHERE e.log_no = $2 AND e.job_no = $1 AND e.kind = 'statement' AND coalesce(e.batch_no, 0) = s.batch_no)
ORDER BY s.batch_no
LIMIT $3
