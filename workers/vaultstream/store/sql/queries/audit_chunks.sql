-- A job's planned batches in runs of about $2 records, as first and last batch number.
SELECT min(batch_no) AS first, max(batch_no) AS last, sum(records) AS records
FROM (
    SELECT batch_no, records, (sum(records) OVER (ORDER BY batch_no) - records) / $2::bigint AS run
    FROM vaultstream.batches
    WHERE job_no = $1 AND planned
) AS running
GROUP BY run
ORDER BY run
