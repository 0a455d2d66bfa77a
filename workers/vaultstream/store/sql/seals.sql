-- name: planned_lines
-- The planned batches of job $1 after batch $2 up to $3 (NULL: all), each as its line of vaultstream.proof.seal.ranges_digest. Postgres's JSON
-- has the escapes of RFC 8785.
SELECT batch_no, last_id, records,
       '[' || batch_no || ',' || to_json(first_id) || ',' || to_json(last_id) || ',' || records
       || CASE WHEN ids IS NULL THEN '' ELSE ',' || to_json(ids) END || ']' AS line
FROM vaultstream.batches
WHERE job_no = $1 AND planned AND batch_no > $2 AND ($3::bigint IS NULL OR batch_no <= $3)
ORDER BY batch_no

-- name: planned_totals
SELECT count(*) AS batches, coalesce(sum(records), 0)::bigint AS records
FROM vaultstream.batches
WHERE job_no = $1 AND planned

-- name: settled_through
-- All batches of job $1 up to this one are settled, with their statements and dead letters: none of them gets any later.
SELECT coalesce((SELECT min(b.batch_no) FROM vaultstream.batches b WHERE b.job_no = j.job_no AND b.state = 'pending'), j.next_batch_no) - 1
FROM vaultstream.jobs j
WHERE j.job_no = $1

-- name: unlogged_statements
-- The next $5 statements of job $1 that log $2 does not have, of batches after $3, and after $4 where the last page ended.
SELECT s.batch_no, s.body, s.signature
FROM vaultstream.statements s
WHERE s.job_no = $1 AND s.batch_no > greatest($3::bigint, $4::bigint) AND NOT EXISTS (
    SELECT FROM vaultstream.log_entries e
    WHERE e.log_no = $2 AND e.job_no = $1 AND e.kind = 'statement' AND coalesce(e.batch_no, 0) = s.batch_no AND e.subject = '')
ORDER BY s.batch_no
LIMIT $5

-- name: unlogged_dead_letters
-- The next $4 dead letters of job $1 that log $2 does not have, of batches after $3. Those that a retry has cleared are among them.
SELECT d.batch_no, d.record_id, d.reason, d.message, d.died_at
FROM (
    SELECT batch_no, record_id, reason, message, died_at FROM vaultstream.dead_letters WHERE job_no = $1
    UNION
    SELECT batch_no, record_id, reason, message, died_at FROM vaultstream.cleared_dead_letters WHERE job_no = $1
) AS d
WHERE d.batch_no > $3 AND NOT EXISTS (
    SELECT FROM vaultstream.log_entries e
    WHERE e.log_no = $2 AND e.job_no = $1 AND e.kind = 'dead-letter' AND coalesce(e.batch_no, 0) = d.batch_no AND e.subject = d.record_id)
ORDER BY d.batch_no, d.record_id
LIMIT $4

-- name: unlogged_revocations
SELECT k.key_id, k.public_key, k.ended_at
FROM vaultstream.keys k
WHERE k.job_no = $1 AND k.state = 'revoked' AND NOT EXISTS (
    SELECT FROM vaultstream.log_entries e
    WHERE e.log_no = $2 AND e.job_no = $1 AND e.kind = 'revocation' AND coalesce(e.batch_no, 0) = 0 AND e.subject = k.key_id)
ORDER BY k.ended_at, k.key_no

-- name: sealed_keys
SELECT key_id, algorithm, public_key FROM vaultstream.keys WHERE job_no = $1

-- name: ring_is_made
-- Whether job $1 has the $2 keys of its ring, in whatever state.
SELECT count(*) >= $2 FROM vaultstream.keys WHERE job_no = $1

-- name: signed_without_statement
-- How many records were signed in batches of job $1 without a statement, as a job from before statements may have them; of another, 0.
SELECT coalesce(sum(b.signed), 0)::bigint
FROM vaultstream.batches b
JOIN vaultstream.jobs j USING (job_no)
WHERE b.job_no = $1 AND NOT j.stated AND b.signed > 0
  AND NOT EXISTS (SELECT FROM vaultstream.statements s WHERE s.job_no = b.job_no AND s.batch_no = b.batch_no)

-- name: refuse_job
SELECT vaultstream.refuse_job(p_job_no => $1, p_message => $2)
