-- Records that more than one planned batch of job $1 covers, as stretches of ids.
WITH stretches AS (
    SELECT first_id::bigint AS low, last_id::bigint AS high
    FROM vaultstream.batches
    WHERE job_no = $1 AND planned AND ids IS NULL
    UNION ALL
    SELECT id::bigint, id::bigint
    FROM vaultstream.batches, unnest(ids) AS id
    WHERE job_no = $1 AND planned
), compared AS (
    SELECT low, high, max(high) OVER (ORDER BY low, high ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
    FROM stretches
)
SELECT low::text AS record_id, sum(least(high, covered) - low + 1) OVER () AS total
FROM compared
WHERE low <= covered
ORDER BY low
LIMIT $2
