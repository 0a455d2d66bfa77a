-- What a running job has settled in the last $2 seconds (or since it started, if that is less), and what JetStream was not
-- told of yet.
SELECT
    clock_timestamp() AS now,
    extract(epoch FROM least(make_interval(secs => $2), clock_timestamp() - j.started_at))::float8 AS seconds,
    (SELECT coalesce(sum(b.signed + b.dead), 0) FROM vaultstream.batches b
     WHERE b.job_no = j.job_no AND b.settled_at > clock_timestamp() - make_interval(secs => $2))::bigint AS settled,
    (SELECT count(*) FROM vaultstream.batches b
     WHERE b.job_no = j.job_no AND b.state = 'pending' AND b.batch_no > j.published_through) AS unpublished
FROM vaultstream.jobs j
WHERE j.job_no = $1
