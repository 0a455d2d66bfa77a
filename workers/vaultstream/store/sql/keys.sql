-- name: add_key
-- Adds a key, unless another keys worker has already added one with this ordinal.
INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (job_no, ordinal) DO NOTHING
RETURNING key_no

-- name: add_key_material
INSERT INTO vaultstream.key_material (key_no, version, kek_id, wrapped) VALUES ($1, $2, $3, $4)

-- name: list_ordinals
SELECT ordinal FROM vaultstream.keys WHERE job_no = $1

-- name: list_keys
SELECT k.key_no, k.ordinal, k.key_id, k.algorithm, k.public_key, k.state, k.created_at, k.ended_at, k.epoch,
       CASE WHEN k.lease_until > clock_timestamp() THEN k.holder END AS holder,
       CASE WHEN k.holder IS NOT NULL AND k.lease_until > clock_timestamp() THEN k.lease_until END AS lease_until,
       count(l.epoch) FILTER (WHERE l.outcome = 'committed') AS batches,
       max(upper(l.during)) AS last_used_at
FROM vaultstream.keys k
LEFT JOIN vaultstream.leases l USING (key_no)
WHERE k.job_no = $1
GROUP BY k.key_no
ORDER BY k.ordinal

-- name: count_keys
-- Keys of the job {job_no}, by state. `made` counts those of its ring, in any state, without keys that were added later.
SELECT
    count(*) FILTER (WHERE state = 'active') AS active,
    count(*) FILTER (WHERE state = 'retired') AS retired,
    count(*) FILTER (WHERE state = 'revoked') AS revoked,
    count(*) FILTER (WHERE holder IS NOT NULL AND lease_until > clock_timestamp()) AS leased,
    count(*) FILTER (WHERE ordinal <= (
        SELECT (spec -> 'keys' ->> 'count')::int FROM vaultstream.jobs AS owner WHERE owner.job_no = {job_no}
    )) AS made
FROM vaultstream.keys
WHERE job_no = {job_no}

-- name: key_use
-- How evenly a job's keys were used: committed batches per key, over all keys of the job.
SELECT count(*) FILTER (WHERE batches > 0) AS used, count(*) AS keys,
       coalesce(min(batches), 0) AS least, coalesce(max(batches), 0) AS most
FROM (
    SELECT k.key_no, count(l.epoch) FILTER (WHERE l.outcome = 'committed') AS batches
    FROM vaultstream.keys k
    LEFT JOIN vaultstream.leases l USING (key_no)
    WHERE k.job_no = $1
    GROUP BY k.key_no
) AS per_key

-- name: list_wrapped
-- The wrapped keys of job $1; only the one with the id $2, if that is not NULL.
SELECT k.key_id, k.algorithm, k.state, m.version, m.kek_id, m.wrapped
FROM vaultstream.keys k
JOIN vaultstream.key_material m USING (key_no)
WHERE k.job_no = $1 AND ($2::text IS NULL OR k.key_id = $2)
ORDER BY k.ordinal

-- name: get_halves
-- The public halves of the keys $2 of job $1, and of those in $3 the wrapped private ones.
SELECT k.key_id, k.public_key, k.algorithm, k.state, m.version, m.kek_id, m.wrapped
FROM vaultstream.keys k
LEFT JOIN vaultstream.key_material m ON m.key_no = k.key_no AND k.key_id = ANY ($3::text[])
WHERE k.job_no = $1 AND k.key_id = ANY ($2::text[])

-- name: list_public_keys
SELECT key_id, public_key FROM vaultstream.keys WHERE job_no = $1

-- name: list_revived
-- The keys of job $1 that are not revoked, among those with the ids $2 or with a public key whose SHA-256 is in $3.
SELECT key_id FROM vaultstream.keys
WHERE job_no = $1 AND state <> 'revoked'
  AND (key_id = ANY ($2::text[]) OR cardinality($3::text[]) > 0 AND encode(sha256(public_key), 'hex') = ANY ($3::text[]))
ORDER BY key_no

-- name: list_key_states
SELECT k.key_id, k.state, m.version
FROM vaultstream.keys k
JOIN vaultstream.key_material m USING (key_no)
WHERE k.job_no = $1

-- name: replace_wrapped
-- Stores the new wrappings of the keys $1, except of those that were rewrapped in the meantime. In one statement, which is one audit event.
UPDATE vaultstream.key_material m
SET version = c.version, kek_id = c.kek_id, wrapped = c.wrapped
FROM unnest($1::text[], $2::int[], $3::text[], $4::bytea[]) AS c (key_id, version, kek_id, wrapped)
JOIN vaultstream.keys k USING (key_id)
WHERE k.key_no = m.key_no AND m.version = c.version - 1
RETURNING true

-- name: end_keys
SELECT key_id FROM vaultstream.end_keys(p_job_no => $1, p_key_id => $2, p_state => $3) AS key_id

-- name: list_kek_ids
SELECT DISTINCT kek_id FROM vaultstream.key_material

-- name: count_keys_ahead
-- Active keys of job $1 whose lease, or next lease, begins in the future, or ends later than any lease can last: the clock was set
-- back since. See list_keys_ahead.
SELECT count(*)
FROM vaultstream.keys
WHERE job_no = $1 AND state = 'active'
  AND CASE WHEN holder IS NULL THEN lease_until ELSE greatest(leased_at, lease_until - interval '1 hour') END > clock_timestamp() + interval '1 s'

-- name: has_free_key
SELECT EXISTS (
    SELECT FROM vaultstream.keys
    WHERE job_no = $1 AND state = 'active' AND (holder IS NULL OR lease_until <= clock_timestamp())
)

-- name: may_read_wrapped
SELECT has_table_privilege('vaultstream.key_material', 'SELECT')

-- name: count_wrapped_per_kek
-- How many wrapped keys need each key-encryption key.
SELECT kek_id, count(*) AS keys FROM vaultstream.key_material GROUP BY kek_id ORDER BY kek_id

-- name: list_jobs_making_keys
-- Jobs whose keys may be being made right now: some of keys.count are missing, and there is or may be a keys worker,
-- which may have read the file of key-encryption keys some time ago. $1: the jobs that have a keys worker connected.
SELECT j.name
FROM vaultstream.jobs j
WHERE j.deleted_at IS NULL AND (j.state = 'Running' OR j.job_no = ANY ($1::int[]))
  AND (SELECT count(*) FROM vaultstream.keys k
       WHERE k.job_no = j.job_no AND k.ordinal <= (j.spec -> 'keys' ->> 'count')::int)
      < (j.spec -> 'keys' ->> 'count')::int
ORDER BY j.job_no

-- name: try_share_kek_lock
-- Taken by every command that makes keys, so that no rewrap runs meanwhile.
SELECT pg_try_advisory_lock_shared($1)

-- name: unshare_kek_lock
SELECT pg_advisory_unlock_shared($1)

-- name: try_kek_lock
-- Taken by a rewrap.
SELECT pg_try_advisory_lock($1)

-- name: release_kek_lock
SELECT pg_advisory_unlock($1)

-- name: try_lock_ordinals
-- Taken by a command that adds keys to job $2, so that no other takes the same ordinals.
SELECT pg_try_advisory_lock($1, $2)

-- name: unlock_ordinals
SELECT pg_advisory_unlock($1, $2)
