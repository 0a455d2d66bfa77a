-- Counts of one job. A record is counted by the batch that was cut from the source; parts and retries carry the same records.
SELECT
    coalesce(sum(records) FILTER (WHERE planned), 0)::bigint AS records,
    coalesce(sum(signed), 0)::bigint AS signed,
    (SELECT count(*) FROM vaultstream.dead_letters d WHERE d.job_no = $1) AS dead,
    count(*) FILTER (WHERE state <> 'split') AS batches,
    count(*) FILTER (WHERE state = 'done') AS batches_done,
    count(*) FILTER (WHERE state = 'pending') AS batches_pending,
    coalesce(sum(records) FILTER (WHERE state = 'pending'), 0)::bigint AS records_pending,
    count(*) FILTER (WHERE state = 'pending' AND attempts > 0) AS batches_failing,
    max(error) FILTER (WHERE state = 'pending') AS last_error
FROM vaultstream.batches
WHERE job_no = $1
