-- Who holds a key of the job with the token $1 now: `<host>:<process id>:<random>`, the host being the pod.
SELECT DISTINCT k.holder
FROM vaultstream.keys k
JOIN vaultstream.jobs j USING (job_no)
WHERE j.token = $1 AND k.holder IS NOT NULL AND k.lease_until > clock_timestamp()
