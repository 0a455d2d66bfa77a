-- Jobs whose keys may be in the making just now: some of keys.count are missing, and there is or may be a keys worker,
-- which may have read the file of key-encryption keys some time ago. $1: the jobs that have a keys worker connected.
SELECT j.name
FROM vaultstream.jobs j
WHERE j.deleted_at IS NULL AND (j.state = 'Running' OR j.job_no = ANY ($1::int[]))
  AND (SELECT count(*) FROM vaultstream.keys k
       WHERE k.job_no = j.job_no AND k.ordinal <= (j.spec -> 'keys' ->> 'count')::int)
      < (j.spec -> 'keys' ->> 'count')::int
ORDER BY j.job_no
