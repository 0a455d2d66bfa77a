-- name: bundle_statements
-- The statements of job $1 in the order of their batches.
SELECT body, signature FROM vaultstream.statements WHERE job_no = $1 ORDER BY batch_no

-- name: bundle_records
-- The signatures of job $1 in the order of their records, each with the batch whose statement is of its key and epoch, or 0.
SELECT s.record_id, coalesce(t.batch_no, 0) AS batch, s.digest, s.signature
FROM {signatures} s
LEFT JOIN vaultstream.statements t ON (t.job_no, t.key_no, t.epoch) = ($1, s.key_no, s.epoch)
ORDER BY s.record_id
