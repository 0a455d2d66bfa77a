-- name: lock_log
SELECT log_no, size, frontier FROM vaultstream.lock_log(p_origin => $1, p_job_no => $2, p_tenant => $3)

-- name: append_entries
SELECT vaultstream.append_entries(
    p_log_no => $1, p_size => $2, p_job_no => $3, p_kind => $4, p_batch_no => $5, p_subject => $6, p_body => $7, p_leaf => $8,
    p_frontier => $9)

-- name: add_checkpoint
SELECT vaultstream.add_checkpoint(p_log_no => $1, p_size => $2, p_note => $3)

-- name: find_log
SELECT log_no, origin, job_no, tenant, size, frontier FROM vaultstream.logs WHERE origin = $1

-- name: find_job_log
-- The newest log of job $1. It has more than one if another seal key, with another name, has taken over.
SELECT l.log_no, l.origin, l.job_no, l.tenant, l.size, l.frontier
FROM vaultstream.logs l
JOIN vaultstream.audited_jobs a ON a.job_no = l.job_no AND a.tenant IS NOT DISTINCT FROM l.tenant
WHERE l.job_no = $1
ORDER BY l.log_no DESC
LIMIT 1

-- name: get_log
SELECT log_no, origin, job_no, tenant, size, frontier FROM vaultstream.logs WHERE log_no = $1

-- name: newest_checkpoint
-- The newest checkpoint of log $1; of the size $2, if that is not NULL.
SELECT size, note, made_at FROM vaultstream.checkpoints
WHERE log_no = $1 AND ($2::bigint IS NULL OR size = $2)
ORDER BY size DESC, checkpoint_no DESC
LIMIT 1

-- name: list_leaves
-- The hashes of the leaves $2 to $3 of log $1; the last is not included.
SELECT index, leaf FROM vaultstream.log_entries WHERE log_no = $1 AND index >= $2 AND index < $3 ORDER BY index

-- name: list_entries
-- The entries $2 to $3 of log $1, each of a statement with that statement; the last is not included.
SELECT e.log_no, e.index, e.kind, e.job_no, e.batch_no, e.subject, coalesce(e.body, s.body) AS body, s.signature, e.leaf
FROM vaultstream.log_entries e
LEFT JOIN vaultstream.statements s ON e.kind = 'statement' AND s.job_no = e.job_no AND s.batch_no = e.batch_no
WHERE e.log_no = $1 AND e.index >= $2 AND e.index < $3
ORDER BY e.index

-- name: newest_entry_about
-- The newest plan or seal, as $2 says, of job $1; in log $3 if that is not NULL. Its log is of the job's tenant, and it has the job's token.
SELECT e.log_no, e.index, e.kind, e.job_no, e.batch_no, e.subject, e.body, NULL::bytea AS signature, e.leaf
FROM vaultstream.audited_jobs a
JOIN vaultstream.log_entries e ON e.job_no = a.job_no AND strpos(e.body, format('"jobToken":"%s"', a.token)) > 0
JOIN vaultstream.logs l ON l.log_no = e.log_no AND l.tenant IS NOT DISTINCT FROM a.tenant
WHERE a.job_no = $1 AND e.kind = $2 AND e.kind IN ('plan', 'seal') AND ($3::bigint IS NULL OR e.log_no = $3)
ORDER BY e.log_no DESC, e.index DESC
LIMIT 1

-- name: suspected_entries
-- The entries of log $1 after the one with index $4 that have the texts $2 and $3, and those whose text is gone or is not the one of
-- the leaf.
SELECT log_no, index, kind, job_no, batch_no, subject, body, NULL::bytea AS signature, leaf
FROM vaultstream.log_entries
WHERE log_no = $1 AND index > $4
  AND (body IS NULL OR strpos(body, $2) > 0 AND strpos(body, $3) > 0 OR leaf <> sha256('\x00'::bytea || convert_to(body, 'UTF8')))
ORDER BY index

-- name: newest_seal
SELECT log_no, index, body, checkpoint, job_checkpoint FROM vaultstream.newest_seal(p_job_no => $1)

-- name: find_statement
-- Where log $1 has the statement of batch $3 of job $2.
SELECT index FROM vaultstream.log_entries
WHERE log_no = $1 AND job_no = $2 AND kind = 'statement' AND coalesce(batch_no, 0) = $3 AND subject = ''

-- name: jobs_by_token
-- Those of the jobs with the tokens $1 that are there, deleted ones too.
SELECT token, name, deleted_at FROM vaultstream.jobs WHERE token = ANY($1)

-- name: may_seal
SELECT has_function_privilege('vaultstream.lock_log(text, int, text)', 'EXECUTE')

-- name: may_read_seals
SELECT has_table_privilege('vaultstream.log_entries', 'SELECT')

-- name: list_unsealed
-- The names of complete jobs without a seal that says so among the newest 20.
SELECT j.name FROM vaultstream.jobs j
WHERE j.state = 'Complete' AND j.deleted_at IS NULL AND NOT EXISTS (
    SELECT FROM (
        SELECT e.body FROM vaultstream.log_entries e
        JOIN vaultstream.logs l ON l.log_no = e.log_no AND l.tenant IS NOT DISTINCT FROM j.tenant
        WHERE e.job_no = j.job_no AND e.kind = 'seal'
        ORDER BY e.log_no DESC, e.index DESC LIMIT 20
    ) AS n
    WHERE strpos(n.body, format('"jobToken":"%s"', j.token)) > 0 AND n.body LIKE '%"state":"Complete"%')
ORDER BY j.job_no
