SELECT batch_no FROM vaultstream.batches
WHERE job_no = $1 AND state = 'pending' AND batch_no > $2
ORDER BY batch_no
LIMIT $3
