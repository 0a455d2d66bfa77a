-- Leases of jobs that have not ended: those in force and those that ran out without being taken over.
SELECT j.job_no, j.name AS job, k.key_id, k.holder,
       extract(epoch FROM k.lease_until - clock_timestamp())::float8 AS seconds_left
FROM vaultstream.keys k
JOIN vaultstream.jobs j USING (job_no)
WHERE k.holder IS NOT NULL AND j.deleted_at IS NULL AND j.state NOT IN ('Complete', 'Failed')
ORDER BY j.job_no, k.ordinal
