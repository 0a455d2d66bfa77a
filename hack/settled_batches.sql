-- The records of the newest job that were signed, or are dead letters, by the quarter of a second in which their batches were settled.
SELECT extract(epoch FROM date_bin('0.25 s', settled_at, 'epoch')) + 0.25 AS at, sum(signed + dead) AS records
FROM vaultstream.batches
WHERE job_no = (SELECT max(job_no) FROM vaultstream.jobs) AND settled_at < 'infinity' AND signed + dead > 0
GROUP BY 1 ORDER BY 1;
