-- Dead letters of records that no planned batch of job $1 covers.
WITH covered AS MATERIALIZED (
    SELECT covered.id::text COLLATE "default" AS id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.planned
)
SELECT record_id, count(*) OVER () AS total
FROM vaultstream.dead_letters d
WHERE job_no = $1 AND NOT EXISTS (SELECT FROM covered WHERE covered.id = d.record_id)
ORDER BY record_id
LIMIT $2
