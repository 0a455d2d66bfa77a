-- name: claim_batches
-- With Postgres's clock, once the leases have begun.
SELECT batch_no, records, first_id, last_id, ids, key_no, key_id, epoch, alone, clock_timestamp() AS answered_at
FROM vaultstream.claim_batches(p_job_no => $1, p_holder => $2, p_batch_no => $3, p_seconds => $4)

-- name: renew_keys
SELECT key_no, epoch
FROM vaultstream.renew_keys(p_holder => $1, p_key_no => $2, p_epoch => $3, p_seconds => $4)

-- name: release_keys
SELECT vaultstream.release_keys(p_holder => $1, p_key_no => $2, p_epoch => $3)

-- name: commit_batches
-- There is no row, and nothing is committed, if the relation with the oid $18, or its schema, was altered since the records were read.
-- Adding 0 from this check makes Postgres evaluate it before the function; OFFSET 0 keeps it from being simplified.
SELECT outcome
FROM (
    SELECT 0 AS altered
    WHERE $18::oid IS NULL OR EXISTS (
        SELECT FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $18::oid AND c.xmin::text = $19 AND n.xmin::text = $20)
    OFFSET 0
) AS source
CROSS JOIN LATERAL vaultstream.commit_batches(
    p_job_no => $1 + source.altered,
    p_holder => $2,
    p_batch_no => $3,
    p_key_no => $4,
    p_epoch => $5,
    p_signed => $6,
    p_dead => $7,
    p_first_id => $8,
    p_record_id => $9::{id_type}[],
    p_width => $10,
    p_rows => $11,
    p_dead_slot => $12,
    p_dead_id => $13,
    p_dead_reason => $14,
    p_dead_message => $15,
    p_statement => $16,
    p_statement_signature => $17
)
ORDER BY slot

-- name: list_held_leases
-- Leases of jobs that have not ended: those in force, and those that expired and were not taken over.
SELECT j.job_no, j.name AS job, k.key_id, k.holder,
       extract(epoch FROM k.lease_until - clock_timestamp())::float8 AS seconds_left,
       coalesce(extract(epoch FROM clock_timestamp() - k.leased_at), 0)::float8 AS seconds_held
FROM vaultstream.keys k
JOIN vaultstream.jobs j USING (job_no)
WHERE k.holder IS NOT NULL AND j.deleted_at IS NULL AND j.state NOT IN ('Complete', 'Failed')
ORDER BY j.job_no, k.ordinal

-- name: list_keys_ahead
-- Jobs that have not ended with active keys whose lease, or next lease, begins in the future or ends later than any lease can
-- last: how many keys, and by how many seconds the latest of them is ahead. The clock was set back.
SELECT j.name AS job, count(*) AS keys, max(extract(epoch FROM ahead.at - clock_timestamp()))::float8 AS seconds
FROM vaultstream.keys k
JOIN vaultstream.jobs j USING (job_no)
CROSS JOIN LATERAL (
    SELECT CASE WHEN k.holder IS NULL THEN k.lease_until ELSE greatest(k.leased_at, k.lease_until - interval '1 hour') END AS at
) AS ahead
WHERE k.state = 'active' AND ahead.at > clock_timestamp() + interval '1 s'
  AND j.deleted_at IS NULL AND j.state NOT IN ('Complete', 'Failed')
GROUP BY j.job_no
ORDER BY j.job_no

-- name: list_suspects
-- Jobs that have not ended with batches that are signed alone, because signers lost leases while they signed them (claim_batches):
-- how many batches and records, the first batches by number, and what is known of the last attempt.
SELECT j.name AS job, count(*) AS batches, sum(b.records)::bigint AS records,
       (array_agg(b.batch_no ORDER BY b.batch_no))[1:3] AS first,
       (array_agg(b.error ORDER BY b.attempts DESC, b.batch_no))[1] AS error
FROM vaultstream.batches b
JOIN vaultstream.jobs j USING (job_no)
WHERE b.state = 'pending' AND b.lost >= 2 AND j.deleted_at IS NULL AND j.state NOT IN ('Complete', 'Failed')
GROUP BY j.job_no
ORDER BY j.job_no

-- name: list_holders
-- The holders of keys of the job with the token $1 now.
SELECT DISTINCT k.holder
FROM vaultstream.keys k
JOIN vaultstream.jobs j USING (job_no)
WHERE j.token = $1 AND k.holder IS NOT NULL AND k.lease_until > clock_timestamp()
