-- name: find_relation
-- The relation named $1, by its oid, its name ready for SQL, and whether it is one of ours or of Postgres, which no job may sign.
-- to_regclass would fold an unquoted name to lower case. The part before the first dot is the schema, if there is such a schema:
-- a relation with the whole name in the search path, which others may create, never stands in for one of that schema.
-- This runs with the search path of its user. So it has no call and no comparison that an object of somebody else fits better.
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation,
       n.nspname::text IN ('vaultstream', 'information_schema') OR n.nspname::text LIKE 'pg\_%' AS reserved
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT position('.' IN $1::text) AS dot) AS p
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (
    (c.relname::text = $1::text AND pg_catalog.pg_table_is_visible(c.oid)
     AND (p.dot = 0 OR NOT EXISTS (
         SELECT FROM pg_catalog.pg_namespace s WHERE s.nspname::text = pg_catalog.substr($1::text, 1, p.dot - 1))))
    OR (p.dot > 0 AND n.nspname::text = pg_catalog.substr($1::text, 1, p.dot - 1)
        AND c.relname::text = pg_catalog.substr($1::text, p.dot + 1))
  )
ORDER BY reserved, c.relname::text = $1::text DESC
LIMIT 1

-- name: list_relations
-- The relations of which this user may read a column.
SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) AND position('.' IN c.relname::text) = 0 THEN c.relname::text
            ELSE pg_catalog.format('%s.%s', n.nspname, c.relname) END AS name
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname::text NOT IN ('information_schema', 'vaultstream') AND n.nspname::text NOT LIKE 'pg\_%'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
ORDER BY name
LIMIT 500

-- name: list_columns
-- The columns of the relation with the oid $1, and whether this user may read them. A domain counts as its base type, also
-- through several domains. A type that is not of Postgres has its schema before its name: anyone may call one bytea.
WITH RECURSIVE columns AS (
    SELECT attname AS name, attnum, atttypid AS type
    FROM pg_catalog.pg_attribute
    WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT c.name, c.attnum, t.typbasetype
    FROM columns c
    JOIN pg_catalog.pg_type t ON t.oid = c.type AND t.typtype = 'd'
)
SELECT c.name,
       CASE WHEN n.nspname::text = 'pg_catalog' THEN t.typname::text ELSE pg_catalog.format('%I.%I', n.nspname, t.typname) END AS type,
       t.typtype = 'e' AS enumerated, pg_catalog.has_column_privilege($1::oid, c.attnum, 'SELECT') AS readable
FROM columns c
JOIN pg_catalog.pg_type t ON t.oid = c.type
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype <> 'd'
ORDER BY c.attnum

-- name: pinned_relation
-- The relation with the oid $1, and its name in parts and ready for SQL. No row: it was dropped.
-- Stored: its rows are on disk, and it can't become a view, as an empty table could before Postgres 16.
SELECT n.nspname::text AS schema, c.relname::text AS name, pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation,
       c.relkind IN ('r', 'p', 'm') AND pg_catalog.current_setting('server_version_num')::int >= 160000 AS stored
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid

-- name: relation_identity
-- The name in SQL of the relation with the oid $1, and the transactions that last changed its row in the catalog and its schema's.
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation, c.xmin::text AS changed, n.xmin::text AS schema_changed
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid

-- name: end_session
-- Any login may end its own sessions.
SELECT pg_catalog.pg_terminate_backend($1::int)

-- name: source_login
-- What this login could do besides reading sources. A role counts if SET ROLE can reach it, and if the schema may be used by it,
-- or if it could do more in a READ ONLY transaction than read: act on files, sessions, slots or the server.
SELECT session_user::text AS login, r.rolsuper AS superuser,
       coalesce(pg_catalog.pg_has_role(r.oid, n.nspowner, 'MEMBER'), false) AS owns,
       ARRAY(
           SELECT reached.rolname::text FROM pg_catalog.pg_roles reached
           WHERE pg_catalog.pg_has_role(r.oid, reached.oid, 'MEMBER')
             AND (reached.rolsuper OR reached.rolreplication OR reached.rolcreaterole OR reached.rolbypassrls
                  OR reached.rolname::text LIKE 'vaultstream\_tenant\_%'
                  OR reached.rolname::text IN ('vaultstream_operator', 'vaultstream_keys', 'vaultstream_records',
                                               'vaultstream_signing', 'vaultstream_auditor')
                  OR reached.rolname::text IN (
                      'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', 'pg_write_all_data',
                      'pg_signal_backend', 'pg_monitor', 'pg_maintain', 'pg_checkpoint', 'pg_create_subscription')
                  OR coalesce(pg_catalog.has_schema_privilege(reached.oid, n.oid, 'USAGE, CREATE'), false)
                  OR EXISTS (  -- files of the server; nobody else may call these unless somebody granted it
                      SELECT FROM pg_catalog.pg_proc p
                      WHERE p.pronamespace = 'pg_catalog'::regnamespace AND pg_catalog.has_function_privilege(reached.oid, p.oid, 'EXECUTE')
                        AND p.proname::text IN ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export')))
           ORDER BY reached.rolname::text
       ) AS powers,
       d.oid AS database_oid, n.oid AS schema_oid,
       extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text AS server, pg_catalog.pg_is_in_recovery() AS standby
FROM pg_catalog.pg_roles r
JOIN pg_catalog.pg_database d ON d.datname::text = pg_catalog.current_database()::text
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname::text = 'vaultstream'
WHERE r.rolname::text = session_user::text

-- name: list_owned_code
-- Functions and views outside our schema by which others get the rights of its owner: functions that run as him, and views of his over
-- our relations, directly or over further views. A grant to anybody else counts, and for the view with the oid $1, that it is to be read.
-- Where the owner alone may connect, and there are no roles of ours, there are no others: no row.
WITH RECURSIVE ours AS (
    SELECT n.oid, n.nspowner AS owner FROM pg_catalog.pg_namespace n WHERE n.nspname::text = 'vaultstream'
), reached AS (
    SELECT c.oid FROM ours JOIN pg_catalog.pg_class c ON c.relnamespace = ours.oid
    UNION
    SELECT v.oid
    FROM reached
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = reached.oid
                               AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
    JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
    JOIN ours ON v.relowner = ours.owner
), found AS (
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
           pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS name,
           ours.owner
    FROM ours
    JOIN pg_catalog.pg_proc p ON p.proowner = ours.owner AND p.prosecdef AND p.pronamespace <> ours.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname::text NOT IN ('pg_catalog', 'information_schema')
    WHERE (p.proacl IS NULL OR EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) a WHERE a.grantee <> ours.owner))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e  -- an extension brings its own
                      WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
    UNION ALL
    SELECT CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, pg_catalog.format('%I.%I', n.nspname, c.relname), ours.owner
    FROM ours
    JOIN pg_catalog.pg_class c ON c.relkind IN ('v', 'm') AND c.relowner = ours.owner AND c.relnamespace <> ours.oid
    JOIN reached ON reached.oid = c.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IS NOT DISTINCT FROM $1::oid
       OR EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> ours.owner)
       OR EXISTS (SELECT FROM pg_catalog.pg_attribute t CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) a
                  WHERE t.attrelid = c.oid AND a.grantee <> ours.owner)
)
SELECT found.kind, found.name, o.rolname::text AS owner
FROM found
JOIN pg_catalog.pg_roles o ON o.oid = found.owner
WHERE EXISTS (
    SELECT FROM pg_catalog.pg_roles r
    WHERE NOT r.rolsuper AND NOT pg_catalog.pg_has_role(r.oid, found.owner, 'MEMBER')
      AND (r.rolname::text = ANY ($2::text[])
           OR (r.rolcanlogin AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT'))))
ORDER BY found.kind, found.name

-- name: begin_read
BEGIN TRANSACTION READ ONLY

-- name: end_read
-- A rollback takes back all settings of the session; locks that are not of the transaction it leaves.
ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()

-- name: next_read
-- Ends a read, and begins the next one in the same round trip. That one is READ ONLY too: Postgres takes it over from the one before,
-- where nothing can change it after the first query. now() will be the time of this statement, so nothing is begun ahead of its read.
ROLLBACK AND CHAIN; SELECT pg_catalog.pg_advisory_unlock_all()

-- name: read_ranges
-- Ids and payloads of the records from each id in $2 to its counterpart in $3. A payload over $1 bytes stays in the database;
-- only its size is returned. OFFSET 0 keeps the planner from evaluating the payload's expression in each of the three places
-- where it is used. A view may return one id any number of times: of more rows than two for each id, one too many is returned.
SELECT found.id, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload, octet_length(payload) AS size
FROM unnest($2::text::bigint[], $3::text::bigint[]) AS run (first, last),
     LATERAL (
         SELECT s.{id}::{id_type} AS id, {payload} AS payload
         FROM {relation} AS s
         WHERE s.{id} BETWEEN run.first AND run.last
         OFFSET 0
     ) AS found
LIMIT (SELECT 2 * sum(run.last - run.first + 1) + 1 FROM unnest($2::text::bigint[], $3::text::bigint[]) AS run (first, last))

-- name: read_range
-- The same for the records from the id $2 to the id $3. Most reads need no more; it is parsed and planned in less time.
SELECT found.id, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload, octet_length(payload) AS size
FROM (
    SELECT s.{id}::{id_type} AS id, {payload} AS payload
    FROM {relation} AS s
    WHERE s.{id} BETWEEN $2::bigint AND $3::bigint
    OFFSET 0
) AS found
LIMIT 2 * ($3::bigint - $2::bigint + 1) + 1

-- name: read_stored_range
-- The same where the payload is a column of bytes on disk: to use it in three places costs nothing, and it is the same in each of them.
-- That is parsed, planned and run in less time.
SELECT s.{id}::{id_type} AS id, CASE WHEN octet_length({payload}) <= $1 THEN {payload} END AS payload, octet_length({payload}) AS size
FROM {relation} AS s
WHERE s.{id} BETWEEN $2::bigint AND $3::bigint
LIMIT 2 * ($3::bigint - $2::bigint + 1) + 1

-- name: read_listed
-- The same for the records whose ids are in $2. {same_id} drops an id that only the column's collation takes for one of them: it
-- may be of any length.
SELECT found.id, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload, octet_length(payload) AS size
FROM (
    SELECT s.{id}::{id_type} AS id, {payload} AS payload
    FROM {relation} AS s
    WHERE s.{id} = ANY ($2::{listed}[])
    OFFSET 0
) AS found
WHERE {same_id}
LIMIT 2 * cardinality($2::{listed}[]) + 1

-- name: same_text
found.id COLLATE pg_catalog."C" = ANY ($2::text[])

-- name: source_rights
-- Whether this user may read all columns $2 of the relation with the oid $1.
SELECT current_user::text AS login, n.nspname::text AS schema,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS enters,
       true = ALL (SELECT pg_catalog.has_column_privilege(c.oid, name, 'SELECT') FROM unnest($2::text[]) AS name) AS reads
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid

-- name: partial_views
-- Why this user may see only a part of the relation with the oid $1: policies on a table that it is or that a view reads, and views
-- that ask who reads them. A view reads as its owner, or, with security_invoker, as whoever reads it. SQL writes current_user and
-- its kin as a node of their own (9 to 12: CURRENT_ROLE, CURRENT_USER, USER, SESSION_USER).
WITH RECURSIVE reached AS (
    SELECT $1::oid AS oid, r.oid AS reader FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
    UNION
    SELECT d.refobjid,
           CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) o
                             WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
                THEN reached.reader ELSE c.relowner END
    FROM reached
    JOIN pg_catalog.pg_class c ON c.oid = reached.oid AND c.relkind = 'v'
    JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
                               AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> c.oid
)
SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation, found.by_policy, r.rolname::text AS reader
FROM reached
JOIN pg_catalog.pg_class c ON c.oid = reached.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles r ON r.oid = reached.reader
CROSS JOIN LATERAL (
    SELECT true AS by_policy
    WHERE c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
      AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))
    UNION ALL
    SELECT false
    FROM pg_catalog.pg_rewrite w
    WHERE c.relkind = 'v' AND w.ev_class = c.oid
      AND (w.ev_action::text ~ '[{]SQLVALUEFUNCTION :op (9|10|11|12) '
           OR EXISTS (SELECT FROM pg_catalog.regexp_matches(w.ev_action::text, ':funcid ([0-9]+)', 'g') AS called
                      JOIN pg_catalog.pg_proc p ON p.oid = called[1]::oid
                      WHERE p.pronamespace = 'pg_catalog'::regnamespace
                        AND (p.proname IN ('current_setting', 'pg_has_role', 'row_security_active', 'inet_client_addr')
                             OR p.proname LIKE 'has%privilege')))
) AS found
ORDER BY 2 DESC, 1

-- name: estimate_rows
EXPLAIN (FORMAT JSON) SELECT FROM {relation}
