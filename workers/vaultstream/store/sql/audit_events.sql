-- name: find_audited_job
-- The job with the token or the name $1, also one that was deleted; of those with one name the latest.
SELECT job_no, token, name, tenant FROM vaultstream.audited_jobs
WHERE token = $1 OR name = $1
ORDER BY token = $1 DESC, job_no DESC
LIMIT 1

-- name: list_audit_events
-- What was done to job $1 in the order of the numbers; those without one come last. The latest $2, all if that is NULL.
SELECT number, action, login, at, arguments
FROM (
    SELECT event_no, number, action, login, at, arguments FROM vaultstream.audit_events
    WHERE job_no = $1
    ORDER BY number DESC NULLS FIRST, event_no DESC
    LIMIT $2
) AS latest
ORDER BY number NULLS LAST, event_no

-- name: count_audit_events
SELECT count(*) FROM vaultstream.audit_events WHERE job_no = $1

-- name: list_audit_events_after
-- The events of job $1 whose number is greater than $2, in their order; at most $3 of them, all if that is NULL.
SELECT number, action, login, at, arguments
FROM vaultstream.audit_events
WHERE job_no = $1 AND number > $2
ORDER BY number
LIMIT $3

-- name: newest_event_number
-- The number of the last event of job $1 that has one; 0: none.
SELECT coalesce(max(number), 0) FROM vaultstream.audit_events WHERE job_no = $1

-- name: number_audit_events
SELECT vaultstream.number_events(p_job_no => $1)

-- name: record_export
SELECT vaultstream.record_export(p_job_no => $1, p_arguments => $2)
