-- Batches of job $1 that more than one lease committed. Whatever the second one wrote, the table of signatures may show no
-- trace of it: the history does.
SELECT l.batch_no, count(*) AS leases, count(*) OVER () AS total
FROM vaultstream.keys k
JOIN vaultstream.leases l USING (key_no)
WHERE k.job_no = $1 AND l.outcome = 'committed' AND l.batch_no IS NOT NULL
GROUP BY l.batch_no
HAVING count(*) > 1
ORDER BY l.batch_no
LIMIT $2
