-- Worker processes that are connected to this database, with how many connections each has; of job $1 only, if that is
-- not NULL. Workers name their connections as vaultstream.worker.role_name says.
SELECT part[1] AS role, part[2]::int AS job_no, part[3] AS host, part[4]::int AS pid, count(*) AS connections
FROM (
    SELECT regexp_match(application_name, '^vaultstream-(keys|records|signing) (\d{1,9}) (.*):(\d{1,9})$') AS part
    FROM pg_stat_activity
    WHERE datname = current_database()
) AS session
WHERE part IS NOT NULL AND ($1::int IS NULL OR part[2]::int = $1)
GROUP BY 1, 2, 3, 4
ORDER BY 2, 1, 3, 4
