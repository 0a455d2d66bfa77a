-- name: server_health
-- Settings of the server that decide whether what was committed is kept.
SELECT
    current_setting('server_version_num')::int AS version_num,
    current_setting('server_version') AS version,
    pg_is_in_recovery() AS in_recovery,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS connections_left

-- name: list_worker_sessions
-- Worker processes that are connected to this database, with their number of connections; only those of job $1, if that is not
-- NULL. vaultstream.store.holder makes the names of their connections.
SELECT part[1] AS role, part[2]::int AS job_no, part[3] AS host, part[4]::int AS pid, count(*) AS connections
FROM (
    SELECT regexp_match(application_name, '^vaultstream-(keys|records|signing) (\d{1,9}) (.*):(\d{1,9})$') AS part
    FROM pg_stat_activity
    WHERE datname = current_database()
) AS session
WHERE part IS NOT NULL AND ($1::int IS NULL OR part[2]::int = $1)
GROUP BY 1, 2, 3, 4
ORDER BY 2, 1, 3, 4

-- name: find_table
-- The oid of the table $1, NULL if there is none.
SELECT to_regclass($1)

-- name: current_time
SELECT clock_timestamp()

-- name: create_database
CREATE DATABASE {database}

-- name: flush_statistics
-- Makes this session report its committed transactions now; otherwise it waits for up to 1 s, or 10 s when idle.
SELECT pg_stat_force_next_flush()

-- name: count_transactions
SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()
