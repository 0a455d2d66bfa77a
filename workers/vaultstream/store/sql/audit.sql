-- name: audit_chunks
-- A job's planned batches in runs of about $2 records, as first and last batch number.
SELECT min(batch_no) AS first, max(batch_no) AS last, sum(records) AS records
FROM (
    SELECT batch_no, records, (sum(records) OVER (ORDER BY batch_no) - records) / $2::bigint AS run
    FROM vaultstream.batches
    WHERE job_no = $1 AND planned
) AS running
GROUP BY run
ORDER BY run

-- name: audit_committed_leases
-- The committed leases among pairs of key $1 and epoch $2: when they began and ended, the time of the commit, and
-- whether a statement has the time of the signatures.
-- An infinite bound, which only someone who tampers writes, is none: the driver has no infinite time with a time zone.
SELECT l.key_no, l.epoch, nullif(lower(l.during), '-infinity') AS began, nullif(upper(l.during), 'infinity') AS ended,
       l.holder, l.batch_no,
       nullif(nullif(coalesce(l.committed_at, upper(l.during)), 'infinity'), '-infinity') AS committed_at,
       j.stated OR EXISTS (
           SELECT FROM vaultstream.statements s WHERE s.job_no = j.job_no AND s.batch_no = l.batch_no) AS stated
FROM vaultstream.leases l
JOIN unnest($1::int[], $2::int[]) AS used (key_no, epoch) USING (key_no, epoch)
LEFT JOIN vaultstream.keys k USING (key_no)
LEFT JOIN vaultstream.jobs j ON j.job_no = k.job_no
WHERE l.outcome = 'committed'

-- name: audit_committed_twice
-- Batches of job $1 that more than one lease committed. Whatever the second one wrote, the table of signatures may show no
-- trace of it: the history does.
SELECT l.batch_no, count(*) AS leases, count(*) OVER () AS total
FROM vaultstream.keys k
JOIN vaultstream.leases l USING (key_no)
WHERE k.job_no = $1 AND l.outcome = 'committed' AND l.batch_no IS NOT NULL
GROUP BY l.batch_no
HAVING count(*) > 1
ORDER BY l.batch_no
LIMIT $2

-- name: audit_batches
-- The planned batches $2 to $3 of job $1, as they were cut, and their state.
SELECT batch_no AS number, first_id, last_id, records, ids, state
FROM vaultstream.batches
WHERE job_no = $1 AND planned AND batch_no BETWEEN $2 AND $3
ORDER BY batch_no

-- name: audit_after
-- The rows of a source after an id, up to another one; and those from the first one on, also those without an id. See audit_source_rows.
s.{id} > {after} AND s.{id} <= {up_to}

-- name: audit_from_first
s.{id} <= {up_to} OR s.{id} IS NULL

-- name: audit_all_dead_letters
-- The records of job $1 that have dead letters, $2 at most.
SELECT record_id FROM vaultstream.dead_letters WHERE job_no = $1 LIMIT $2

-- name: audit_among
{column} = ANY ('{{{ids}}}'::bigint[])

-- name: audit_between
{column} BETWEEN {first} AND {last}

-- name: audit_copied_ids
SELECT s.{id}::{id_type} FROM {relation} AS s WHERE {within} LIMIT {limit}

-- name: audit_copied_payloads
-- The same as audit_payloads, for COPY, which has no parameters: of a payload longer than {most} bytes, nothing.
SELECT found.id, CASE WHEN octet_length(payload) <= {most} THEN payload END AS payload
FROM (
    SELECT s.{id}::{id_type} AS id, {payload} AS payload
    FROM {relation} AS s
    WHERE {within}
    OFFSET 0
) AS found
LIMIT {limit}

-- name: audit_copied_signatures
-- What audit_signatures selects, for COPY.
SELECT record_id, key_no, epoch, signed_at, digest, signature FROM {signatures} WHERE {within}

-- name: audit_covered_by
-- The records that the batches $2 of job $1 cover.
SELECT b.batch_no, covered.id
FROM vaultstream.batches b
CROSS JOIN LATERAL ({ids}) AS covered (id)
WHERE b.job_no = $1 AND b.batch_no = ANY ($2::bigint[])

-- name: audit_dead_letters
-- The dead letters of the records $2 of job $1.
SELECT record_id, reason, message
FROM vaultstream.dead_letters
WHERE job_no = $1 AND record_id = ANY ($2::text[])

-- name: audit_has_dead_letters
-- Whether job $1 has any.
SELECT EXISTS (SELECT FROM vaultstream.dead_letters WHERE job_no = $1)

-- name: audit_empty_batches
-- Batches of job $1 without a record, or with another number of them than their row says.
SELECT batch_no AS first, count(*) OVER () AS total
FROM vaultstream.batches
WHERE job_no = $1 AND (records < 1 OR records <> CASE
    WHEN ids IS NOT NULL THEN cardinality(ids)
    WHEN '{id_type}' = 'bigint' THEN last_id::numeric - first_id::numeric + 1
    ELSE 0 END)
ORDER BY batch_no
LIMIT $2

-- name: audit_export
-- The signatures of a job in the order of their records; of the records $1 only, if that is not NULL.
SELECT
    s.record_id::text, s.digest AS payload_sha256, k.key_id, k.state AS key_state, k.algorithm, s.signature, s.signed_at, s.epoch
FROM {signatures} s
LEFT JOIN vaultstream.keys k USING (key_no)
WHERE $1::{id_type}[] IS NULL OR s.record_id = ANY ($1)
ORDER BY s.record_id

-- name: audit_hold_source
-- Takes the lock of a reader: until this transaction ends the table can't be dropped or altered.
SELECT FROM {relation} LIMIT 0

-- name: audit_is_stated
SELECT stated FROM vaultstream.jobs WHERE job_no = $1

-- name: audit_keys
-- The public keys of job $1.
SELECT key_no, key_id, algorithm, public_key, state, ended_at FROM vaultstream.keys WHERE job_no = $1

-- name: audit_keys_used
-- The numbers of the keys under which job $1 has signatures or statements, and how many signatures.
SELECT key_no, sum(signatures)::bigint AS signatures
FROM (
    SELECT key_no, count(*) AS signatures FROM {signatures} GROUP BY key_no
    UNION ALL
    SELECT DISTINCT key_no, 0 FROM vaultstream.statements WHERE job_no = $1
) AS used
GROUP BY key_no
ORDER BY key_no

-- name: audit_leases_of_others
-- Leases of job $1 that committed another batch than the statement by the same key under the same epoch is of.
SELECT k.key_id, l.epoch, l.batch_no AS leased, s.batch_no AS stated, count(*) OVER () AS total
FROM vaultstream.statements s
JOIN vaultstream.leases l USING (key_no, epoch)
JOIN vaultstream.keys k USING (key_no)
WHERE s.job_no = $1 AND l.outcome = 'committed' AND l.batch_no IS DISTINCT FROM s.batch_no
ORDER BY s.batch_no
LIMIT $2

-- name: audit_lease_overlaps
-- Leases of job $1 that begin before an earlier one of the same key has ended: each of the history, and those in force.
-- The exclusion constraint should have refused them; this does not take its word.
WITH held AS (
    SELECT k.key_id, l.epoch, l.holder,
           coalesce(lower(l.during), '-infinity') AS began, coalesce(upper(l.during), 'infinity') AS ended
    FROM vaultstream.keys k
    JOIN vaultstream.leases l USING (key_no)
    WHERE k.job_no = $1 AND NOT isempty(l.during)
    UNION ALL
    SELECT key_id, epoch, holder, leased_at, lease_until
    FROM vaultstream.keys
    WHERE job_no = $1 AND holder IS NOT NULL
), compared AS (
    SELECT *, max(ended) OVER (
        PARTITION BY key_id ORDER BY began, ended ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS held_until
    FROM held
)
SELECT key_id, epoch, holder, began, held_until, count(*) OVER () AS total
FROM compared
WHERE began < held_until
ORDER BY key_id, began
LIMIT $2

-- name: audit_missing_batches
-- Numbers of batches of job $1 that no batch has, as stretches: they are given without gaps, from 1.
WITH numbers AS (
    SELECT batch_no, lag(batch_no, 1, 0::bigint) OVER (ORDER BY batch_no) AS former
    FROM (SELECT batch_no FROM vaultstream.batches WHERE job_no = $1
          UNION SELECT next_batch_no FROM vaultstream.jobs WHERE job_no = $1) AS given
)
SELECT former + 1 AS first, batch_no - 1 AS last, sum(batch_no - former - 1) OVER () AS total
FROM numbers
WHERE batch_no > former + 1
ORDER BY batch_no
LIMIT $2

-- name: audit_payloads
-- The payloads that the records $2, as `listed_ids` writes them, have now; of one longer than $1 bytes the length alone. See
-- read_listed.
SELECT found.id, octet_length(payload) AS bytes, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload
FROM (
    SELECT {id}::{id_type} AS id, {payload} AS payload
    FROM {relation}
    WHERE {id} = ANY ($2::{listed}[])
    OFFSET 0
) AS found
WHERE {same_id}
LIMIT 2 * cardinality($2::{listed}[]) + 1

-- name: audit_pending
-- Which of the records $2 wait in a part or a retry of their batch that is still to be signed.
WITH waiting AS MATERIALIZED (
    SELECT covered.id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.state = 'pending' AND NOT b.planned
)
SELECT DISTINCT id FROM waiting WHERE id = ANY ($2::{id_type}[])

-- name: audit_planned_twice_bigint
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

-- name: audit_planned_twice_listed
-- Records that more than one planned batch of job $1 covers.
SELECT id AS record_id, sum(count(*) - 1) OVER () AS total
FROM vaultstream.batches, unnest(ids) AS id
WHERE job_no = $1 AND planned
GROUP BY id
HAVING count(*) > 1
ORDER BY id
LIMIT $2

-- name: audit_signatures
-- The signatures of the records $1, as `listed_ids` writes them.
SELECT record_id, key_no, epoch, signed_at, digest, signature
FROM {signatures}
WHERE record_id = ANY ($1::{listed}[])

-- name: audit_run_ends
-- The last id of the last planned batch of job $1 up to each of the numbers $2; NULL: there is none.
SELECT (
    SELECT b.last_id FROM vaultstream.batches b
    WHERE b.job_no = $1 AND b.planned AND b.batch_no <= run.last
    ORDER BY b.batch_no DESC
    LIMIT 1)
FROM unnest($2::bigint[]) WITH ORDINALITY AS run (last, place)
ORDER BY run.place

-- name: audit_source_rows
-- The ids of the source's rows up to the id $1 and after the id $3. If that is NULL, from the first one, and of those without an id.
-- Of an id longer than $2 bytes, only how it begins.
SELECT CASE WHEN octet_length(found.id::text) <= $2 THEN found.id END AS id, left(found.id::text, 40) AS beginning
FROM (
    SELECT s.{id}::{id_type} AS id
    FROM {relation} AS s
    WHERE s.{id} <= $1::text::{id_type} AND ($3::text IS NULL OR s.{id} > $3::text::{id_type})
       OR s.{id} IS NULL AND $3::text IS NULL
    OFFSET 0
) AS found

-- name: audit_source_rows_since
-- How many rows of the source have a higher id than $1; all, if the source was empty then.
SELECT count(*) FROM {relation} AS s WHERE $1::text IS NULL OR s.{id} > $1::text::{id_type}

-- name: audit_statement_of
-- The statements of job $1 by key $2 under its epoch $3.
SELECT body, signature FROM vaultstream.statements WHERE job_no = $1 AND key_no = $2 AND epoch = $3

-- name: audit_statements
-- The statements of the batches $2 to $3 of job $1, whatever state they are in, and the holder of the lease.
SELECT b.batch_no, b.records, b.signed, s.key_no, s.epoch, s.body, s.signature, l.holder
FROM vaultstream.batches b
JOIN vaultstream.statements s USING (job_no, batch_no)
LEFT JOIN vaultstream.leases l ON (l.key_no, l.epoch) = (s.key_no, s.epoch) AND l.outcome = 'committed'
WHERE b.job_no = $1 AND b.batch_no BETWEEN $2 AND $3
ORDER BY b.batch_no

-- name: audit_stray_statements
-- Statements of job $1 whose batch is not settled, or is gone from after all others: those between, audit_missing_batches finds.
SELECT s.batch_no AS first, count(*) OVER () AS total
FROM vaultstream.statements s
JOIN vaultstream.jobs j USING (job_no)
LEFT JOIN vaultstream.batches b USING (job_no, batch_no)
WHERE s.job_no = $1 AND b.state IS DISTINCT FROM 'done' AND (b.batch_no IS NOT NULL OR s.batch_no NOT BETWEEN 1 AND j.next_batch_no - 1)
ORDER BY s.batch_no
LIMIT $2

-- name: audit_totals
-- How many signatures and dead letters job $1 has, of any records.
SELECT (SELECT count(*) FROM {signatures}) AS signatures,
       (SELECT count(*) FROM vaultstream.dead_letters WHERE job_no = $1) AS dead_letters

-- name: audit_unaccounted_batches
-- Settled batches of job $1 without a statement: no record of theirs was signed, so each one is a dead letter or in a retry, which
-- has a later number.
WITH later AS MATERIALIZED (
    SELECT b.batch_no, covered.id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND NOT b.planned
)
SELECT b.batch_no AS first
FROM vaultstream.batches b
LEFT JOIN vaultstream.statements s USING (job_no, batch_no)
CROSS JOIN LATERAL ({ids}) AS covered (id)
LEFT JOIN later l ON l.id = covered.id AND l.batch_no > b.batch_no
LEFT JOIN vaultstream.dead_letters d ON d.job_no = b.job_no AND d.record_id = covered.id::text COLLATE "default"
WHERE b.job_no = $1 AND b.state = 'done' AND s.batch_no IS NULL AND l.id IS NULL AND d.record_id IS NULL
GROUP BY b.batch_no
ORDER BY b.batch_no

-- name: audit_uncovered
-- Which of the ids $2 no planned batch of job $1 covers.
WITH covered AS MATERIALIZED (
    SELECT covered.id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.planned
)
SELECT DISTINCT found.id
FROM unnest($2::{id_type}[]) AS found (id)
WHERE NOT EXISTS (SELECT FROM covered WHERE covered.id = found.id)
ORDER BY found.id

-- name: audit_undivided_batches
-- Split batches of job $1 that no two parts cover. Parts have two numbers in a row, the first ones after their batch's that are
-- of the same records: a later split of these is of a retry.
WITH parts AS (
    SELECT b.batch_no, (
        SELECT min(one.batch_no)
        FROM vaultstream.batches one
        JOIN vaultstream.batches two ON two.job_no = one.job_no AND two.batch_no = one.batch_no + 1
        WHERE one.job_no = b.job_no AND one.batch_no > b.batch_no AND NOT one.planned AND NOT two.planned
          AND one.first_id = b.first_id AND two.last_id = b.last_id AND one.records + two.records = b.records
          AND CASE WHEN b.ids IS NULL
                   THEN one.ids IS NULL AND two.ids IS NULL AND two.first_id::numeric = one.last_id::numeric + 1
                   ELSE one.ids || two.ids = b.ids END
    ) AS part
    FROM vaultstream.batches b
    WHERE b.job_no = $1 AND b.state = 'split'
), shared AS (
    SELECT batch_no, part, count(*) OVER (PARTITION BY part) AS batches FROM parts
)
SELECT batch_no AS first, count(*) OVER () AS total
FROM shared
WHERE part IS NULL OR batches > 1
ORDER BY batch_no
LIMIT $2

-- name: audit_unplanned_dead_letters
-- Dead letters of records that no planned batch of job $1 covers.
WITH covered AS MATERIALIZED (
    SELECT covered.id::text COLLATE "default" AS id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.planned
)
SELECT record_id, count(*) OVER () AS total
FROM vaultstream.dead_letters d
WHERE job_no = $1 AND NOT EXISTS (SELECT FROM covered WHERE covered.id = d.record_id)
ORDER BY record_id
LIMIT $2

-- name: audit_unplanned_signatures
-- Signatures of records that no planned batch of job $1 covers.
WITH covered AS MATERIALIZED (
    SELECT covered.id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.planned
)
SELECT record_id::text, count(*) OVER () AS total
FROM {signatures} s
WHERE NOT EXISTS (SELECT FROM covered WHERE covered.id = s.record_id)
ORDER BY s.record_id
LIMIT $2

-- name: audit_unsettled
-- Which of the ids $2 have neither a signature nor a dead letter of job $1.
SELECT found.id
FROM unnest($2::{id_type}[]) AS found (id)
WHERE NOT EXISTS (SELECT FROM {signatures} s WHERE s.record_id = found.id)
  AND NOT EXISTS (
      SELECT FROM vaultstream.dead_letters d WHERE d.job_no = $1 AND d.record_id = found.id::text COLLATE "default")

-- name: audit_unstated_batches
-- Batches of job $1 whose row says that records were signed, without a statement.
SELECT b.batch_no
FROM vaultstream.batches b
LEFT JOIN vaultstream.statements s USING (job_no, batch_no)
WHERE b.job_no = $1 AND b.state = 'done' AND b.signed <> 0 AND s.batch_no IS NULL

-- name: audit_unstated_signatures
-- Signatures of job $1 that are under the key and the epoch of no statement of a batch of their record, by the last such batch
-- (NULL: none) and whether it has a statement; $2 of their records each.
WITH covered AS MATERIALIZED (
    SELECT b.batch_no, covered.id, s.key_no, s.epoch, s.batch_no IS NOT NULL AS stated
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    LEFT JOIN vaultstream.statements s USING (job_no, batch_no)
    WHERE b.job_no = $1
), alone AS (
    SELECT s.record_id FROM {signatures} s
    WHERE NOT EXISTS (SELECT FROM covered c WHERE (c.id, c.key_no, c.epoch) = (s.record_id, s.key_no, s.epoch))
), placed AS (
    SELECT DISTINCT ON (a.record_id) a.record_id, c.batch_no, coalesce(c.stated, false) AS stated
    FROM alone a
    LEFT JOIN covered c ON c.id = a.record_id
    ORDER BY a.record_id, c.batch_no DESC
)
SELECT batch_no, stated, count(*) AS signatures, (array_agg(record_id::text ORDER BY record_id))[1:$2] AS records
FROM placed
GROUP BY batch_no, stated
ORDER BY batch_no

-- name: audit_count_planned
SELECT coalesce(sum(records), 0) FROM vaultstream.batches WHERE job_no = $1 AND planned

-- name: covered_bigints
-- The ids that a batch `b` covers, as a part of other queries. The next two do the same for other types.
SELECT generate_series(b.first_id::bigint, b.last_id::bigint) WHERE b.ids IS NULL
UNION ALL
SELECT unnest(b.ids)::bigint

-- name: covered_uuids
SELECT unnest(b.ids)::uuid

-- name: covered_texts
SELECT unnest(b.ids) COLLATE "C"

-- name: export_snapshot
SELECT pg_export_snapshot()

-- name: use_snapshot
SET TRANSACTION SNAPSHOT {snapshot}

-- name: restore_session
-- Takes back what code of a source's owner has set, in the middle of the transaction that has the snapshot. Advisory locks too.
RESET ALL; RESET ROLE; SELECT pg_catalog.pg_advisory_unlock_all(); {lift_timeouts}

-- name: lift_timeouts
-- An audit may take long, and its first connection idles while the others work.
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
