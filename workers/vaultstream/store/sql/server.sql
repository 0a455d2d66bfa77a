-- name: server_health
-- Settings of the server that decide whether what was committed is kept.
SELECT
    current_setting('server_version_num')::int AS version_num,
    current_setting('server_version') AS version,
    pg_is_in_recovery() AS in_recovery,
    current_setting('default_transaction_read_only')::bool AS read_only,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit,  -- ours turn it on for themselves
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS connections_left

-- name: list_sessions
-- The connections of workers to this database, by name; vaultstream.store.holder makes and parses the names, which any session can give
-- itself. So they count if the user is in the role that the name has, and in that of the job's tenant or of none; the schema's owner may
-- do all. A role's name is cut, and has a hash from its 55th character on.
SELECT s.application_name, string_agg(DISTINCT s.usename::text, ', ') AS login, count(*) AS connections
FROM (
    SELECT a.application_name, a.usename, a.usesysid, substring(a.application_name FROM '^vaultstream-(keys|records|signing) ') AS role,
           substring(a.application_name FROM '^vaultstream-[a-z]+ (\d{1,10}) ')::bigint AS job_no
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name LIKE 'vaultstream-%'
) AS s
JOIN vaultstream.jobs j ON j.job_no = s.job_no
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT left(r.rolname, 54) FROM pg_roles r
        WHERE starts_with(r.rolname::text, 'vaultstream_tenant_') AND pg_has_role(s.usesysid, r.oid, 'MEMBER')
    ) AS tenants
) AS t
WHERE pg_has_role(s.usesysid, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'vaultstream'), 'MEMBER')
   OR pg_has_role(s.usesysid, to_regrole('vaultstream_' || s.role), 'MEMBER')
      AND CASE WHEN j.tenant IS NULL THEN t.tenants = '{}' ELSE left('vaultstream_tenant_' || j.tenant, 54) = ANY (t.tenants) END
GROUP BY s.application_name

-- name: pin_search_path
-- Also turns synchronous_commit on, where a server, database or login has it off: what we acknowledge stays after a crash.
SELECT pg_catalog.current_setting('search_path') AS users, pg_catalog.set_config('search_path', $1, false),
       CASE WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off'
            THEN pg_catalog.set_config('synchronous_commit', 'on', false) END AS turned_on

-- name: add_local_search_path
-- Postgres's schema first, then the path $1.
SELECT pg_catalog.set_config('search_path', pg_catalog.concat('pg_catalog, ', $1::text), true)

-- name: set_local_search_path
SELECT pg_catalog.set_config('search_path', $1, true)

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

-- name: list_lockers
-- Transactions of others that hold locks on tables of our schema: of rows of the tables $1, and of any kind on the tables $2;
-- NULL: on any table.
-- `transaction` identifies one for as long as it is open. `waits`: it waits for a lock of another one, so it may be held up, too.
-- A prepared transaction has no process, but a name. Only its owner and superusers may end it.
SELECT DISTINCT l.virtualtransaction AS transaction, l.pid, p.gid AS prepared, coalesce(p.owner::text, a.usename::text, '?') AS login,
       EXISTS (SELECT FROM pg_locks w WHERE w.pid = l.pid AND NOT w.granted) AS waits
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.granted AND l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relnamespace = to_regnamespace('vaultstream') AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND ($2::text[] IS NULL OR c.relname = ANY ($2::text[]) OR c.relname = ANY ($1::text[]) AND l.mode <> 'AccessShareLock')
ORDER BY l.pid

-- name: list_queues
-- Who waits for a lock that keeps others from a table of ours, and does not own it: whoever comes later waits behind him. Postgres asks
-- only after the wait whether he may do what he wants (CREATE RULE, CREATE TRIGGER, …). A deletion by the operator waits in its right,
-- for a table of signatures. This reads no table of ours.
SELECT DISTINCT l.pid, a.usename::text AS login
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND c.relnamespace = to_regnamespace('vaultstream') AND NOT pg_has_role(a.usesysid, c.relowner, 'MEMBER')
  AND NOT (c.relname ~ '^signatures_[0-9]+' AND coalesce(pg_has_role(a.usesysid, to_regrole('vaultstream_operator'), 'MEMBER'), false))
ORDER BY l.pid

-- name: list_blockers
-- Who keeps sessions of this database waiting, whose names begin with $1, for $2 seconds at least; of the session $3 alone if it is not
-- NULL. What a session of another login does is hidden from some, so such ones are asked about, too. Process 0 stands for prepared
-- transactions, of which Postgres does not say which one it is.
SELECT w.application_name AS waiter, nullif(b.pid, 0) AS pid, p.gid AS prepared, coalesce(p.owner::text, s.usename::text, '?') AS login,
       b.pid <> 0 AND cardinality(pg_blocking_pids(b.pid)) > 0 AS waits, coalesce(s.application_name, '') AS application,
       to_char(coalesce(p.prepared, s.xact_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC') AS since
FROM pg_stat_activity w
CROSS JOIN LATERAL (SELECT min(l.waitstart) AS began FROM pg_locks l WHERE l.pid = w.pid AND NOT l.granted) AS l
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (pid)
LEFT JOIN pg_stat_activity s ON s.pid = b.pid
LEFT JOIN pg_prepared_xacts p ON b.pid = 0 AND p.database = current_database()
WHERE w.datname = current_database() AND starts_with(w.application_name, $1) AND ($3::int IS NULL OR w.pid = $3)
  AND (w.wait_event_type = 'Lock' OR w.state IS NULL) AND l.began <= clock_timestamp() - make_interval(secs => $2)
  AND (b.pid <> 0 OR p.gid IS NOT NULL)
ORDER BY b.pid

-- name: list_advisory_lockers
-- Sessions of others that hold the advisory lock of this database with the key $1, or, if $2 is not NULL, the keys $1 and $2.
SELECT DISTINCT l.pid, p.gid AS prepared, coalesce(p.owner::text, a.usename::text, '?') AS login
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.granted AND l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND (l.classid, l.objid, l.objsubid) = (CASE WHEN $2::int IS NULL THEN 0 ELSE $1::int END::oid,
                                          coalesce($2::int, $1::int)::oid, CASE WHEN $2::int IS NULL THEN 1 ELSE 2 END)
ORDER BY l.pid

-- name: may_see_transactions
-- Whether this user sees when the transactions of other users began.
SELECT pg_has_role('pg_read_all_stats', 'USAGE')

-- name: list_open_transactions
-- Transactions in which members of the roles $1, superusers apart, have changed or locked rows, open for more than $2 seconds;
-- also prepared ones, which survive the session and a restart.
SELECT a.pid, a.gid AS prepared, u.rolname::text AS login, extract(epoch FROM clock_timestamp() - a.began)::float8 AS seconds
FROM (
    SELECT pid, NULL AS gid, usename AS login, xact_start AS began FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL
    UNION ALL
    SELECT NULL, gid, owner, prepared FROM pg_prepared_xacts WHERE database = current_database()
) AS a
JOIN pg_roles u ON u.rolname = a.login AND NOT u.rolsuper
WHERE a.began < clock_timestamp() - make_interval(secs => $2)
  AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = ANY ($1::text[]) AND pg_has_role(u.oid, r.oid, 'MEMBER'))
ORDER BY a.began

-- name: list_old_snapshots
-- Sessions whose snapshot keeps VACUUM from removing rows of this database, for more than $1 seconds; where this login may not see since
-- when, for more than $2 transactions. A standby that holds rows back for its readers (hot_standby_feedback) has no database.
SELECT a.pid, coalesce(a.usename::text, '?') AS login, a.application_name AS application,
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, CASE WHEN a.datname IS NULL THEN a.backend_start END))::float8 AS seconds,
       x.age AS transactions
FROM pg_stat_activity a
CROSS JOIN LATERAL (SELECT greatest(age(a.backend_xmin), age(a.backend_xid)) AS age) AS x
WHERE x.age IS NOT NULL AND a.pid <> pg_backend_pid()
  AND (a.datname = current_database() AND a.backend_type IS DISTINCT FROM 'autovacuum worker' OR a.datname IS NULL)
  AND CASE WHEN a.xact_start IS NULL THEN x.age > $2::int ELSE a.xact_start < clock_timestamp() - make_interval(secs => $1) END
ORDER BY transactions DESC

-- name: list_left_prepared
-- Transactions of this database that were prepared more than $1 seconds ago, whoever owns them.
SELECT NULL AS pid, owner::text AS login, gid AS prepared, extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => $1)
ORDER BY pg_prepared_xacts.prepared

-- name: list_idle_slots
-- Replication slots of the server that nobody reads and that keep more than $1 bytes of WAL. A standby has no end of the WAL of its own.
SELECT slot_name::text AS name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS kept
FROM pg_replication_slots
WHERE NOT pg_is_in_recovery() AND NOT active AND restart_lsn IS NOT NULL
  AND pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN restart_lsn ELSE pg_current_wal_lsn() END, restart_lsn) > $1::bigint
ORDER BY kept DESC

-- name: own_pid
-- The process of this session on the server; a pooler gives its clients other numbers.
SELECT pg_catalog.pg_backend_pid()

-- name: begin_holding
-- Begins a transaction that keeps its session of the server.
BEGIN

-- name: set_in_session
SELECT pg_catalog.set_config({name}, {value}, false)

-- name: list_login_settings
-- The names of settings, those of $2 apart, that members of the roles $1 have as their own, for this database or all.
SELECT r.rolname::text AS login, array_agg(DISTINCT split_part(s.setting, '=', 1) ORDER BY split_part(s.setting, '=', 1)) AS settings
FROM pg_db_role_setting d
JOIN pg_roles r ON r.oid = d.setrole
CROSS JOIN LATERAL unnest(d.setconfig) AS s (setting)
WHERE d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND lower(split_part(s.setting, '=', 1)) <> ALL ($2::text[])
  AND NOT r.rolsuper
  AND EXISTS (SELECT FROM unnest($1::text[]) AS role WHERE to_regrole(role) IS NOT NULL AND pg_has_role(r.oid, to_regrole(role), 'MEMBER'))
GROUP BY r.rolname
ORDER BY r.rolname

-- name: count_connections_left
-- Sessions that logins without privileges can open besides those that there are. Other databases of the server count too.
SELECT greatest(0, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0)
    - (SELECT sum(numbackends) FROM pg_stat_database))::int

-- name: list_connect
-- Who may connect to this database without a grant that names the login, and the other databases of the server in which the roles $1
-- have privileges: roles and their members belong to the server. The dependencies of roles are in a catalog that all databases share.
SELECT ARRAY(
           SELECT coalesce(g.rolname::text, 'PUBLIC')
           FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
           LEFT JOIN pg_roles g ON g.oid = a.grantee
           WHERE a.privilege_type = 'CONNECT' AND (a.grantee = 0 OR g.rolname::text = ANY ($1::text[]))
           ORDER BY 1
       ) AS anybody,
       ARRAY(
           SELECT o.datname::text FROM pg_database o
           WHERE o.oid <> d.oid AND EXISTS (
               SELECT FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid AND r.rolname::text = ANY ($1::text[])
               WHERE s.refclassid = 'pg_authid'::regclass AND s.dbid = o.oid)
           ORDER BY 1
       ) AS elsewhere
FROM pg_database d
WHERE d.datname = current_database()
