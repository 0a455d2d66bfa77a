-- All that the operator goes by, of the job named $1, in one round trip. One row always: without a job, `job_no` is NULL.
-- $2: seconds that the rate of records is measured over, at the most.
SELECT
    installed.schema_version,
    j.job_no, j.token, j.owner_uid, j.spec, j.state, j.message, j.started_at, j.finished_at, j.planned,
    j.published_through > 0 AS published,
    b.*, k.*,
    (SELECT count(*) FROM vaultstream.dead_letters d WHERE d.job_no = j.job_no) AS dead,
    extract(epoch FROM least(make_interval(secs => $2), clock_timestamp() - b.first_settled_at))::float8 AS window_seconds,
    extract(epoch FROM j.finished_at - j.started_at)::float8 AS total_seconds
FROM (SELECT max(version) AS schema_version FROM vaultstream.schema_version) AS installed
LEFT JOIN vaultstream.jobs j ON j.name = $1 AND j.deleted_at IS NULL
LEFT JOIN LATERAL (
    SELECT
        coalesce(sum(records) FILTER (WHERE planned), 0)::bigint AS records,
        coalesce(sum(signed), 0)::bigint AS signed,
        count(*) FILTER (WHERE state = 'pending') AS batches_left,
        coalesce(sum(records) FILTER (WHERE state = 'pending'), 0)::bigint AS records_left,
        count(*) FILTER (WHERE state = 'pending' AND batch_no > j.published_through) AS batches_unpublished,
        min(settled_at) AS first_settled_at,
        coalesce(sum(signed + batches.dead) FILTER (
            WHERE settled_at > clock_timestamp() - make_interval(secs => $2)), 0)::bigint AS settled_lately
    FROM vaultstream.batches
    WHERE job_no = j.job_no
) AS b ON true
LEFT JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state = 'active') AS keys_active,
        count(*) FILTER (WHERE ordinal <= (j.spec -> 'keys' ->> 'count')::int) AS keys_made
    FROM vaultstream.keys
    WHERE job_no = j.job_no
) AS k ON true
