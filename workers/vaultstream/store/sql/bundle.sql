-- name: bundle_statements
-- The statements of job $1 that are not among the first $3 entries of log $2, in the order of their batches; of no log, all.
SELECT s.body, s.signature
FROM vaultstream.statements s
LEFT JOIN vaultstream.log_entries e
    ON e.log_no = $2 AND e.index < $3 AND e.job_no = s.job_no AND e.kind = 'statement' AND e.batch_no = s.batch_no
WHERE s.job_no = $1 AND e.log_no IS NULL
ORDER BY s.batch_no

-- name: bundle_records
-- The signatures of job $1 in the order of their records, each with the batch whose statement is of its key and epoch, or 0.
SELECT s.record_id, coalesce(t.batch_no, 0) AS batch, s.digest, s.signature
FROM {signatures} s
LEFT JOIN vaultstream.statements t ON (t.job_no, t.key_no, t.epoch) = ($1, s.key_no, s.epoch)
ORDER BY s.record_id
