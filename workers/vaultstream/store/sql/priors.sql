-- name: find_prior
-- What jobs of the kind $1 to $5 have shown: tenant, algorithm, batch size, size of a row, resources of a signer.
SELECT prior FROM vaultstream.priors
WHERE tenant = $1 AND algorithm = $2 AND batch_size = $3 AND row_bytes = $4 AND resources = $5

-- name: lock_prior
-- The same, locked until the transaction ends. The first two jobs of a kind may miss each other; later ones do not.
SELECT prior FROM vaultstream.priors
WHERE tenant = $1 AND algorithm = $2 AND batch_size = $3 AND row_bytes = $4 AND resources = $5
FOR UPDATE

-- name: write_prior
-- Stores what jobs of the kind $1 to $5 have shown.
INSERT INTO vaultstream.priors (tenant, algorithm, batch_size, row_bytes, resources, prior) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, algorithm, batch_size, row_bytes, resources)
DO UPDATE SET prior = EXCLUDED.prior, written_at = clock_timestamp()

-- name: forget_priors
-- Removes what the tenant $1 has no more use for: what is older than $2 seconds, and all but the newest $3.
DELETE FROM vaultstream.priors
WHERE tenant = $1 AND (
    written_at < clock_timestamp() - make_interval(secs => $2)
    OR ctid NOT IN (SELECT p.ctid FROM vaultstream.priors p WHERE p.tenant = $1 ORDER BY p.written_at DESC LIMIT $3))

-- name: estimate_row_bytes
-- About how many bytes each row of the table $1 has, by the statistics of Postgres. NULL: unknown.
WITH RECURSIVE part AS (
    SELECT $1::oid AS oid
    UNION
    SELECT i.inhrelid FROM part JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
)
SELECT least(sum(greatest(c.relpages, 0)::bigint) * current_setting('block_size')::int / sum(c.reltuples), 1e9)::bigint AS bytes
FROM pg_catalog.pg_class AS c JOIN part USING (oid)
WHERE c.relkind IN ('r', 'm') AND c.reltuples > 0

-- name: find_drain
-- The seconds from the last batch of job $1 that was settled until the job was complete. NULL: it is not.
SELECT extract(epoch FROM j.finished_at - (
    SELECT settled_at FROM vaultstream.batches
    WHERE job_no = $1 AND settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT 1))::float8
FROM vaultstream.jobs AS j
WHERE j.job_no = $1 AND j.state = 'Complete'
