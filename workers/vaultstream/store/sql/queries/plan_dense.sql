-- Cuts the next page of a source into batches if its ids are integers without a gap, as they mostly are: then nothing needs to
-- be known of each. Otherwise answers that it is not dense, and adds nothing. Filled in and given as in plan_page.sql.
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
