SELECT k.key_no, k.ordinal, k.key_id, k.algorithm, k.public_key, k.state, k.created_at, k.ended_at, k.epoch,
       CASE WHEN k.lease_until > clock_timestamp() THEN k.holder END AS holder,
       CASE WHEN k.holder IS NOT NULL AND k.lease_until > clock_timestamp() THEN k.lease_until END AS lease_until,
       count(l.epoch) FILTER (WHERE l.outcome = 'committed') AS batches,
       max(upper(l.during)) AS last_used_at
FROM vaultstream.keys k
LEFT JOIN vaultstream.leases l USING (key_no)
WHERE k.job_no = $1
GROUP BY k.key_no
ORDER BY k.ordinal
