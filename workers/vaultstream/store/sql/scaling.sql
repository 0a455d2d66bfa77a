-- name: find_scaling
SELECT version, memory FROM vaultstream.scaling WHERE job_no = $1

-- name: write_scaling
-- Stores what scaling remembers of job $1 over version $2, 0 if nothing was stored. Returns nothing if somebody else has written since, or
-- if the job was deleted: a memory that was read before is not stored again.
WITH updated AS (
    UPDATE vaultstream.scaling SET version = version + 1, memory = $3, written_at = clock_timestamp()
    WHERE job_no = $1 AND version = $2::bigint
    RETURNING version
), inserted AS (
    INSERT INTO vaultstream.scaling (job_no, version, memory)
    SELECT job_no, 1, $3 FROM vaultstream.jobs WHERE job_no = $1 AND $2::bigint = 0 AND deleted_at IS NULL
    ON CONFLICT (job_no) DO NOTHING
    RETURNING version
)
SELECT version FROM updated UNION ALL SELECT version FROM inserted

-- name: estimate_table
-- About how many rows the table $1 and its partitions have, by the statistics of Postgres, which need no privilege on it. NULL: unknown,
-- as for a view or a table that was never analyzed.
SELECT sum(c.reltuples)::bigint AS rows
FROM pg_catalog.pg_class AS c
WHERE c.relkind IN ('r', 'm', 'f') AND c.reltuples >= 0
  AND (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid) WHERE isleaf))
