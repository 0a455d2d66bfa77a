-- name: find_scaling
-- What scaling remembers of job $1, version 0 if nothing is stored, and the latest decision that was kept.
SELECT coalesce(s.version, 0) AS version, s.memory, extract(epoch FROM d.at)::float8 AS at, d.decision
FROM (SELECT) AS one
LEFT JOIN vaultstream.scaling s ON s.job_no = $1
LEFT JOIN LATERAL (
    SELECT at, decision FROM vaultstream.decisions WHERE job_no = $1 ORDER BY number DESC LIMIT 1
) AS d ON true

-- name: write_scaling
-- Stores what scaling remembers of job $1 over version $2, 0 if nothing was stored. Returns nothing if somebody else has written since, or
-- if the job was deleted: a memory that was read before is not stored again. Keeps the decision $5 of the time $4 with it, unless it is
-- NULL, and the latest $6.
WITH updated AS (
    UPDATE vaultstream.scaling SET version = version + 1, memory = $3, written_at = clock_timestamp()
    WHERE job_no = $1 AND version = $2::bigint
    RETURNING version
), inserted AS (
    INSERT INTO vaultstream.scaling (job_no, version, memory)
    SELECT job_no, 1, $3 FROM vaultstream.jobs WHERE job_no = $1 AND $2::bigint = 0 AND deleted_at IS NULL
    ON CONFLICT (job_no) DO NOTHING
    RETURNING version
), written AS (
    SELECT version FROM updated UNION ALL SELECT version FROM inserted
), kept AS (
    INSERT INTO vaultstream.decisions (job_no, at, decision)
    SELECT $1, to_timestamp($4), $5::jsonb FROM written WHERE $5::jsonb IS NOT NULL
), removed AS (
    DELETE FROM vaultstream.decisions WHERE job_no = $1 AND $5::jsonb IS NOT NULL AND EXISTS (SELECT FROM written)
      AND number <= (SELECT number FROM vaultstream.decisions WHERE job_no = $1 ORDER BY number DESC OFFSET $6 - 1 LIMIT 1)
)
SELECT version FROM written

-- name: keep_decision
-- Keeps the decision $3 of the time $2 about job $1, and the latest $4.
WITH kept AS (
    INSERT INTO vaultstream.decisions (job_no, at, decision)
    SELECT job_no, to_timestamp($2), $3 FROM vaultstream.jobs WHERE job_no = $1 AND deleted_at IS NULL
)
DELETE FROM vaultstream.decisions WHERE job_no = $1
  AND number <= (SELECT number FROM vaultstream.decisions WHERE job_no = $1 ORDER BY number DESC OFFSET $4 - 1 LIMIT 1)

-- name: list_decisions
-- The decisions about job $1 that were kept after number $2, oldest first: the latest $3, all if that is NULL.
SELECT number, extract(epoch FROM at)::float8 AS at, decision
FROM (
    SELECT number, at, decision FROM vaultstream.decisions
    WHERE job_no = $1 AND number > $2 ORDER BY number DESC LIMIT $3
) AS latest
ORDER BY number

-- name: estimate_table
-- About how many rows the table $1 and its partitions have, by the statistics of Postgres, which need no privilege on it. NULL: unknown,
-- as for a view or a table that was never analyzed. Its owner may have set any number, also an infinite one, and may have locked a
-- partition: pg_partition_tree would wait for that.
WITH RECURSIVE part AS (
    SELECT $1::oid AS oid
    UNION
    SELECT i.inhrelid FROM part JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
)
SELECT least(sum(c.reltuples), 1e15)::bigint AS rows
FROM pg_catalog.pg_class AS c JOIN part USING (oid)
WHERE c.relkind IN ('r', 'm', 'f') AND c.reltuples >= 0
