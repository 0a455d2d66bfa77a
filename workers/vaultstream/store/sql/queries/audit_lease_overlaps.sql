-- Leases of job $1 that begin before an earlier one of the same key has ended: each of the history, and those in force.
-- The exclusion constraint should have refused them; this does not take its word.
WITH held AS (
    SELECT k.key_id, l.epoch, l.holder,
           coalesce(lower(l.during), '-infinity') AS began, coalesce(upper(l.during), 'infinity') AS ended
    FROM vaultstream.keys k
    JOIN vaultstream.leases l USING (key_no)
    WHERE k.job_no = $1 AND NOT isempty(l.during)
    UNION ALL
    SELECT key_id, epoch, holder, leased_at, lease_until
    FROM vaultstream.keys
    WHERE job_no = $1 AND holder IS NOT NULL
), compared AS (
    SELECT *, max(ended) OVER (
        PARTITION BY key_id ORDER BY began, ended ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS held_until
    FROM held
)
SELECT key_id, epoch, holder, began, held_until, count(*) OVER () AS total
FROM compared
WHERE began < held_until
ORDER BY key_id, began
LIMIT $2
