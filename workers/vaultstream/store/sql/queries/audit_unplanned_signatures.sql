-- Signatures of records that no planned batch of job $1 covers.
WITH covered AS MATERIALIZED (
    SELECT covered.id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.planned
)
SELECT record_id::text, count(*) OVER () AS total
FROM {signatures} s
WHERE NOT EXISTS (SELECT FROM covered WHERE covered.id = s.record_id)
ORDER BY s.record_id
LIMIT $2
