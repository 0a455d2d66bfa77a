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

-- name: list_sessions
-- Our connections to this database, by name; vaultstream.store.holder makes and parses the names.
SELECT application_name, count(*) AS connections
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'vaultstream-%'
GROUP BY application_name

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
