-- name: create_job
SELECT vaultstream.create_job(
    p_token => $1, p_name => $2, p_spec => $3, p_id_type => $4, p_source_oid => $5, p_owner_uid => $6, p_tenant => $7)

-- name: adopt_job
-- Gives job $1 to the tenant $2, unless it has one.
SELECT vaultstream.adopt_job(p_job_no => $1, p_tenant => $2)

-- name: pin_source
SELECT vaultstream.pin_source(p_job_no => $1, p_source_oid => $2)

-- name: accept_source
SELECT vaultstream.accept_source(p_job_no => $1, p_source_oid => $2)

-- name: find_job
-- The job with the token or the name $1. A token identifies a job forever, a name only until it is deleted.
-- Columns are listed here and in list_jobs, so that a migration can add one while programs of both versions run.
SELECT job_no, token, name, tenant, owner_uid, spec, id_type, state, message, created_at, started_at, finished_at, deleted_at,
       upper_id, planned_id, planned, next_batch_no, published_through, source_oid
FROM vaultstream.jobs
WHERE (name = $1 AND deleted_at IS NULL) OR token = $1
ORDER BY token = $1 DESC
LIMIT 1

-- name: list_jobs
-- The jobs, oldest first; deleted jobs whose signatures were retained only if $1.
SELECT job_no, token, name, tenant, owner_uid, spec, id_type, state, message, created_at, started_at, finished_at, deleted_at,
       upper_id, planned_id, planned, next_batch_no, published_through, source_oid
FROM vaultstream.jobs
WHERE deleted_at IS NULL OR $1
ORDER BY job_no

-- name: list_namespaces_of_jobs
-- The namespaces of Kubernetes that ever had a job, in which the name of a job begins with the name of its namespace.
SELECT DISTINCT split_part(name, '/', 1) AS namespace FROM vaultstream.jobs WHERE strpos(name, '/') > 0

-- name: start_job
-- Moves a pending job to Running. $2 is its highest id; NULL: the source is empty, so everything is planned.
UPDATE vaultstream.jobs
SET state = 'Running', started_at = clock_timestamp(), upper_id = $2, planned = $2::text IS NULL, message = NULL
WHERE job_no = $1 AND state = 'Pending'

-- name: lock_job
-- Locks the job's row until the transaction ends. Every transaction that adds batches holds this lock.
SELECT FROM vaultstream.jobs WHERE job_no = $1 FOR NO KEY UPDATE

-- name: complete_job
-- Moves a running job to Complete if all records are planned and no batch is pending. Run it after lock_job.
UPDATE vaultstream.jobs
SET state = 'Complete', finished_at = clock_timestamp(), message = NULL
WHERE job_no = $1 AND state = 'Running' AND planned
  AND NOT EXISTS (SELECT FROM vaultstream.batches WHERE job_no = $1 AND state = 'pending')
RETURNING true

-- name: fail_job
UPDATE vaultstream.jobs
SET state = 'Failed', finished_at = clock_timestamp(), message = $2
WHERE job_no = $1 AND state NOT IN ('Complete', 'Failed')

-- name: fail_overdue_job
-- Ends a job as Failed, if its active deadline is over by the clock of Postgres.
UPDATE vaultstream.jobs
SET state = 'Failed', finished_at = clock_timestamp(), message = $2
WHERE job_no = $1 AND state NOT IN ('Complete', 'Failed')
  AND started_at + make_interval(secs => (spec ->> 'activeDeadlineSeconds')::float8) < clock_timestamp()

-- name: set_suspended
-- Suspends a job if $2, with the message $3 if there is one, otherwise resumes it. A job that has ended stays as it is.
UPDATE vaultstream.jobs
SET state = CASE WHEN $2 THEN 'Suspended' WHEN started_at IS NULL THEN 'Pending' ELSE 'Running' END,
    message = CASE WHEN $2 THEN coalesce($3, message) END
WHERE job_no = $1 AND state NOT IN ('Complete', 'Failed') AND (state = 'Suspended') <> $2

-- name: set_message
-- A worker that is still leaving a suspended job does not take back why that is.
UPDATE vaultstream.jobs SET message = $2
WHERE job_no = $1 AND message IS DISTINCT FROM $2 AND ($2 IS NOT NULL OR state <> 'Suspended')

-- name: update_spec
UPDATE vaultstream.jobs SET spec = $2 WHERE job_no = $1

-- name: retry_dead
SELECT vaultstream.retry_dead(p_job_no => $1)

-- name: delete_job
SELECT vaultstream.delete_job(p_job_no => $1, p_policy => $2)

-- name: list_dead_letters
-- The dead letters of job $1 in the order of their batches; at most $2 of them, all if that is NULL.
SELECT record_id, batch_no, reason, message, died_at
FROM vaultstream.dead_letters
WHERE job_no = $1
ORDER BY batch_no, record_id
LIMIT $2

-- name: list_cleared_dead_letters
-- The dead letters of job $1 that retries cleared, the latest first; at most $2 of them, all if that is NULL.
SELECT record_id, batch_no, reason, message, died_at, cleared_at, cleared_by
FROM vaultstream.cleared_dead_letters
WHERE job_no = $1
ORDER BY cleared_at DESC, batch_no, record_id
LIMIT $2

-- name: count_cleared_dead_letters
SELECT count(*) FROM vaultstream.cleared_dead_letters WHERE job_no = $1

-- name: count_dead_letters
SELECT count(*) FROM vaultstream.dead_letters WHERE job_no = $1

-- name: read_job
-- Job, counts of its records, batches and keys in one statement. Always one row: if there is no such job, `job_no` is NULL.
-- {job} is find_job, {kept} is kept_counts, {counted} is count_batches, {keys} is count_keys; $2 is the window for the rate, in seconds.
SELECT
    installed.schema_version, j.*, b.*, k.*,
    extract(epoch FROM least(make_interval(secs => $2), clock_timestamp() - b.first_settled_at))::float8 AS window_seconds,
    clock_timestamp() AS read_at
FROM (SELECT max(version) AS schema_version FROM vaultstream.schema_version) AS installed
LEFT JOIN ({job}) AS j ON true
LEFT JOIN LATERAL (
    SELECT kept.* FROM ({kept}) AS kept
    UNION ALL
    SELECT counted.* FROM vaultstream.jobs AS old CROSS JOIN LATERAL ({counted}) AS counted
    WHERE old.job_no = j.job_no AND NOT old.counted
) AS b ON true
LEFT JOIN LATERAL ({keys}) AS k ON true

-- name: kept_counts
-- The counts of job j, if they are kept. This reads the same number of rows however many batches a job has: its keys, the batches that were
-- settled in the window $2, and those that wait for another attempt. Without a second bound of the window, a plan for any value of $2 would
-- expect a third of all batches in it, and read all. Batches that were settled before the checkpoint of publishing has passed them count as
-- unpublished for that moment.
SELECT
    c.found AS records, s.signed, c.found - s.signed - s.dead + c.risen AS records_left,
    c.cut - c.splits AS batches, s.done AS batches_done, c.cut - c.splits - s.done AS batches_left,
    f.failing AS batches_failing, least(c.cut - c.splits - s.done, greatest(0, c.cut - c.published_through)) AS batches_unpublished,
    f.error AS last_error,
    (SELECT first.settled_at FROM vaultstream.batches AS first
     WHERE first.job_no = c.job_no AND first.settled_at IS NOT NULL ORDER BY first.settled_at LIMIT 1) AS first_settled_at,
    (SELECT coalesce(sum(lately.signed + lately.dead), 0)::bigint FROM vaultstream.batches AS lately
     WHERE lately.job_no = c.job_no AND lately.settled_at > statement_timestamp() - make_interval(secs => $2)
         AND lately.settled_at < 'infinity') AS settled_lately,
    s.dead - c.risen AS dead
FROM vaultstream.jobs AS c
CROSS JOIN LATERAL (
    SELECT coalesce(sum(done), 0)::bigint AS done, coalesce(sum(signed), 0)::bigint AS signed, coalesce(sum(dead), 0)::bigint AS dead
    FROM vaultstream.keys WHERE job_no = c.job_no
) AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS failing, max(error) AS error
    FROM vaultstream.batches WHERE job_no = c.job_no AND state = 'pending' AND attempts > 0
) AS f
WHERE c.job_no = j.job_no AND c.counted

-- name: count_batches
-- The same of a job whose counts are not kept. A record is counted by the batch that was cut from the source; parts and retries of that
-- batch carry the same records.
SELECT
    coalesce(sum(records) FILTER (WHERE planned), 0)::bigint AS records,
    coalesce(sum(signed), 0)::bigint AS signed,
    coalesce(sum(records) FILTER (WHERE state = 'pending'), 0)::bigint AS records_left,
    count(*) FILTER (WHERE state <> 'split') AS batches,
    count(*) FILTER (WHERE state = 'done') AS batches_done,
    count(*) FILTER (WHERE state = 'pending') AS batches_left,
    count(*) FILTER (WHERE state = 'pending' AND attempts > 0) AS batches_failing,
    count(*) FILTER (WHERE state = 'pending' AND batch_no > j.published_through) AS batches_unpublished,
    max(error) FILTER (WHERE state = 'pending') AS last_error,
    min(settled_at) AS first_settled_at,
    coalesce(sum(signed + batches.dead) FILTER (
        WHERE settled_at > clock_timestamp() - make_interval(secs => $2)), 0)::bigint AS settled_lately,
    (SELECT count(*) FROM vaultstream.dead_letters AS d WHERE d.job_no = j.job_no) AS dead
FROM vaultstream.batches
WHERE job_no = j.job_no

-- name: may_read_retries
SELECT has_table_privilege('vaultstream.cleared_dead_letters', 'SELECT')

-- name: may_read_pauses
SELECT has_function_privilege('vaultstream.paused_seconds(int, float8)', 'EXECUTE')

-- name: read_pauses
SELECT vaultstream.paused_seconds(p_job_no => $1, p_least => $2)
