-- Records that more than one planned batch of job $1 covers.
SELECT id AS record_id, sum(count(*) - 1) OVER () AS total
FROM vaultstream.batches, unnest(ids) AS id
WHERE job_no = $1 AND planned
GROUP BY id
HAVING count(*) > 1
ORDER BY id
LIMIT $2
