-- Cuts the next page of a source into batches, in the order of its ids. The ids never leave the database.
-- {relation}, {id}, {type} and {after} are filled in by vaultstream.store.batches; the parameters are
-- $1 job, $2 the last id planned before, $3 the highest id of the job, $4 rows of the page, $5 batch size, $6 next batch number.
WITH page AS MATERIALIZED (
    SELECT s.{id} AS id, row_number() OVER (ORDER BY s.{id}) - 1 AS place, lag(s.{id}) OVER (ORDER BY s.{id}) AS before
    FROM {relation} AS s
    WHERE {after} AND s.{id} <= $3::text::{type}
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
        (SELECT min($2::text) FROM (SELECT FROM {relation} AS s WHERE s.{id} = $2::text::{type} LIMIT 2) AS same HAVING count(*) > 1)
    ) AS duplicate
