-- name: has_null_id
SELECT EXISTS (SELECT FROM {relation} AS s WHERE s.{id} IS NULL)

-- name: highest_id
SELECT s.{id}::text FROM {relation} AS s WHERE s.{id} IS NOT NULL ORDER BY s.{id} DESC LIMIT 1

-- name: lock_checkpoint
-- The planning checkpoint of a job, locked until the transaction ends.
SELECT planned, planned_id, upper_id, next_batch_no FROM vaultstream.jobs WHERE job_no = $1 FOR NO KEY UPDATE

-- name: move_checkpoint
UPDATE vaultstream.jobs
SET planned_id = coalesce($2, planned_id), planned = $3, next_batch_no = next_batch_no + $4
WHERE job_no = $1

-- name: plan_page
-- Cuts the next page of a source into batches, in the order of its ids. The ids never leave the database.
-- Parameters: $1 job, $2 last id planned before, $3 highest id of the job, $4 rows of the page, $5 batch size, $6 next batch number.
WITH page AS MATERIALIZED (
    SELECT s.{id} AS id, row_number() OVER (ORDER BY s.{id}) - 1 AS place, lag(s.{id}) OVER (ORDER BY s.{id}) AS before
    FROM {relation} AS s
    WHERE {after} AND s.{id} <= $3::text::{id_type}
    ORDER BY s.{id}
    LIMIT $4
), cut AS (
    SELECT place / $5::int AS batch, count(*)::int AS records, array_agg(id::text ORDER BY place) AS ids
    FROM page
    GROUP BY 1
), added AS (
    INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids)
    SELECT $1, $6::bigint + batch, records, ids[1], ids[records], CASE WHEN {dense} THEN NULL ELSE ids END
    FROM cut
    RETURNING batch_no
)
SELECT
    (SELECT count(*) FROM page) AS records,
    (SELECT count(*) FROM added) AS batches,
    (SELECT id::text FROM page ORDER BY place DESC LIMIT 1) AS last_id,
    coalesce(
        (SELECT id::text FROM page WHERE id = before LIMIT 1),
        (SELECT min($2::text) FROM (SELECT FROM {relation} AS s WHERE s.{id} = $2::text::{id_type} LIMIT 2) AS same HAVING count(*) > 1)
    ) AS duplicate

-- name: plan_dense
-- The same for a page whose ids are consecutive integers, as they mostly are: a batch then needs only its first and last id.
-- Returns dense = false and adds nothing if they are not.
WITH page AS MATERIALIZED (
    SELECT count(*) AS records, min(id) AS first, max(id) AS last,
           count(*) > 0 AND count(DISTINCT id) = count(*) AND max(id)::numeric - min(id) + 1 = count(*)
           AND (SELECT count(*) <= 1 FROM (SELECT FROM {relation} AS s WHERE s.{id} = $2::text::bigint LIMIT 2) AS same) AS dense
    FROM (SELECT s.{id}::bigint AS id FROM {relation} AS s WHERE {after} AND s.{id} <= $3::text::bigint ORDER BY s.{id} LIMIT $4) AS found
), cut AS (
    SELECT n AS batch, first + n * $5::int AS first, (least((n + 1) * $5::int, records) - n * $5::int)::int AS records
    FROM page, generate_series(0, (records - 1) / $5::int) AS n
    WHERE dense
), added AS (
    INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id)
    SELECT $1, $6::bigint + batch, records, first::text, (first + (records - 1))::text
    FROM cut
    RETURNING batch_no
)
SELECT records, (SELECT count(*) FROM added) AS batches, last::text AS last_id, NULL AS duplicate, dense FROM page

-- name: pending_batches
SELECT batch_no FROM vaultstream.batches
WHERE job_no = $1 AND state = 'pending' AND batch_no > $2
ORDER BY batch_no
LIMIT $3

-- name: count_pending_through
SELECT count(*) FROM vaultstream.batches WHERE job_no = $1 AND state = 'pending' AND batch_no <= $2

-- name: move_published
-- Moves the publisher's checkpoint forward, never back.
UPDATE vaultstream.jobs SET published_through = greatest(published_through, $2) WHERE job_no = $1

-- name: fail_batch
SELECT outcome, attempt
FROM vaultstream.fail_batch(p_job_no => $1, p_holder => $2, p_batch_no => $3, p_key_no => $4, p_epoch => $5, p_error => $6)
