-- name: find_scaling
SELECT version, memory FROM vaultstream.scaling WHERE job_no = $1

-- name: write_scaling
-- Stores what scaling remembers of job $1 over version $2, 0 if nothing was stored. Returns nothing if somebody else has written since.
INSERT INTO vaultstream.scaling AS known (job_no, version, memory)
VALUES ($1, $2::bigint + 1, $3)
ON CONFLICT (job_no) DO UPDATE SET version = known.version + 1, memory = $3, written_at = clock_timestamp()
WHERE known.version = $2
RETURNING version
