-- name: has_null_id
SELECT EXISTS (SELECT FROM {relation} AS s WHERE s.{id} IS NULL)

-- name: highest_id
-- NULL, and how it begins, if it is longer than $1 bytes.
SELECT CASE WHEN octet_length(found.id) <= $1 THEN found.id END AS id, left(found.id, 40) AS beginning
FROM (SELECT s.{id}::text AS id FROM {relation} AS s WHERE s.{id} IS NOT NULL ORDER BY s.{id} DESC LIMIT 1) AS found

-- name: checkpoint
-- The planning checkpoint of a job that may be planned; no row: it has ended.
SELECT planned, planned_id, upper_id, next_batch_no
FROM vaultstream.jobs
WHERE job_no = $1 AND state NOT IN ('Complete', 'Failed') AND deleted_at IS NULL

-- name: lock_checkpoint
-- The same, locked until the transaction ends.
SELECT planned, planned_id, upper_id, next_batch_no
FROM vaultstream.jobs
WHERE job_no = $1 AND state NOT IN ('Complete', 'Failed') AND deleted_at IS NULL
FOR NO KEY UPDATE

-- name: move_checkpoint
UPDATE vaultstream.jobs
SET planned_id = coalesce($2, planned_id), planned = $3, next_batch_no = next_batch_no + $4
WHERE job_no = $1

-- name: dense_page
-- The next page of a source whose ids are consecutive integers, as they mostly are: a batch then needs only its first and last id.
-- Parameters: $1 last id planned before, $2 highest id of the job, $3 rows of the page. dense = false: the ids have to be listed.
SELECT count(*) AS records, min(id)::text AS first, max(id)::text AS last,
       count(*) > 0 AND count(DISTINCT id) = count(*) AND max(id)::numeric - min(id) + 1 = count(*)
       AND (SELECT count(*) <= 1 FROM (SELECT FROM {relation} AS s WHERE s.{id} = $1::text::bigint LIMIT 2) AS same) AS dense
FROM (SELECT s.{id}::bigint AS id FROM {relation} AS s WHERE {after} AND s.{id} <= $2::text::bigint ORDER BY s.{id} LIMIT $3) AS found

-- name: listed_page
-- The ids of the next page of a source in their order, an id that occurs twice, and the beginning of one with more than $5 bytes.
-- No ids: their text has more than $4 bytes, or one is too long. `fits`: the text of the first so many has no more.
WITH page AS MATERIALIZED (
    SELECT s.{id} AS id, row_number() OVER (ORDER BY s.{id}) AS place, lag(s.{id}) OVER (ORDER BY s.{id}) AS before
    FROM {relation} AS s
    WHERE {after} AND s.{id} <= $2::text::{id_type}
    ORDER BY s.{id}
    LIMIT $3
)
SELECT
    (SELECT CASE WHEN ($4::bigint IS NULL OR coalesce(sum(octet_length(id::text)), 0) <= $4)
                      AND coalesce(max(octet_length(id::text)), 0) <= $5
                 THEN coalesce(array_agg(id::{id_type}::text ORDER BY place), '{{}}') END
     FROM page) AS ids,
    (SELECT CASE WHEN sum(octet_length(id::text)) > $4
                 THEN (SELECT count(*) FROM (SELECT sum(octet_length(id::text)) OVER (ORDER BY place) AS so_far FROM page) AS p
                       WHERE so_far <= $4) END
     FROM page) AS fits,
    (SELECT left(id::text, 40) FROM page WHERE octet_length(id::text) > $5 LIMIT 1) AS long,
    coalesce(
        (SELECT left(id::text, 40) FROM page WHERE id = before LIMIT 1),
        (SELECT min($1::text) FROM (SELECT FROM {relation} AS s WHERE s.{id} = $1::text::{id_type} LIMIT 2) AS same HAVING count(*) > 1)
    ) AS duplicate

-- name: add_dense_batches
-- Adds the batches of a page of $5 consecutive integers from $4 on. $1 is the job, $2 the next batch number, $3 the batch size.
WITH added AS (
    INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id)
    SELECT $1, $2::bigint + n, least($3::int, $5::bigint - n * $3::int),
           ($4::text::bigint + n * $3::int)::text, ($4::text::bigint + (least((n + 1) * $3::int, $5::bigint) - 1))::text
    FROM generate_series(0, ($5::bigint - 1) / $3::int) AS n
    RETURNING batch_no
)
SELECT count(*) FROM added

-- name: add_listed_batches
-- Adds the batches of a page with the ids $4, in their order.
WITH cut AS (
    SELECT (place - 1) / $3::int AS batch, count(*)::int AS records, array_agg(id ORDER BY place) AS ids
    FROM unnest($4::text[]) WITH ORDINALITY AS page (id, place)
    GROUP BY 1
), added AS (
    INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids)
    SELECT $1, $2::bigint + batch, records, ids[1], ids[records], CASE WHEN {dense} THEN NULL ELSE ids END
    FROM cut
    RETURNING batch_no
)
SELECT count(*) FROM added

-- name: pending_batches
SELECT batch_no FROM vaultstream.batches
WHERE job_no = $1 AND state = 'pending' AND batch_no > $2
ORDER BY batch_no
LIMIT $3

-- name: count_pending_through
-- At most 100,000. In their order, so that Postgres reads them by their index however many batches the job has.
SELECT count(*)
FROM (
    SELECT FROM vaultstream.batches WHERE job_no = $1 AND state = 'pending' AND batch_no <= $2 ORDER BY batch_no LIMIT 100000
) AS outstanding

-- name: move_published
-- Moves the publisher's checkpoint forward, never back.
UPDATE vaultstream.jobs SET published_through = greatest(published_through, $2) WHERE job_no = $1

-- name: fail_batch
SELECT outcome, attempt
FROM vaultstream.fail_batch(p_job_no => $1, p_holder => $2, p_batch_no => $3, p_key_no => $4, p_epoch => $5, p_error => $6)

-- name: hint_at_batches
SELECT pg_notify($1, $2)
