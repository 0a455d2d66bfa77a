-- How evenly a job's keys were used: committed batches a key, over all keys that could be leased.
SELECT count(*) FILTER (WHERE batches > 0) AS used, count(*) AS keys,
       coalesce(min(batches), 0) AS least, coalesce(max(batches), 0) AS most
FROM (
    SELECT k.key_no, count(l.epoch) FILTER (WHERE l.outcome = 'committed') AS batches
    FROM vaultstream.keys k
    LEFT JOIN vaultstream.leases l USING (key_no)
    WHERE k.job_no = $1
    GROUP BY k.key_no
) AS per_key
