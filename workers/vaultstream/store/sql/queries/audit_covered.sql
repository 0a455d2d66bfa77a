-- The records that planned batches $2 to $3 of job $1 cover, with the state of the batch.
SELECT covered.id, b.state
FROM vaultstream.batches b
CROSS JOIN LATERAL ({ids}) AS covered (id)
WHERE b.job_no = $1 AND b.planned AND b.batch_no BETWEEN $2 AND $3
ORDER BY b.batch_no, covered.id
