-- Returns the given batches that are still pending, each with a key leased for it, least recently used first.
-- A row without a key: no key was free. A batch without a row: it is already settled, or does not exist.
CREATE OR REPLACE FUNCTION vaultstream.claim_batches(p_job_no int, p_holder text, p_batch_no bigint[], p_seconds float8)
RETURNS TABLE (batch_no bigint, records int, first_id text, last_id text, ids text[], key_no int, key_id text, epoch int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pending bigint[] := ARRAY(
        SELECT b.batch_no FROM vaultstream.batches b
        WHERE b.job_no = p_job_no AND b.batch_no = ANY (p_batch_no) AND b.state = 'pending'
        ORDER BY b.batch_no);
BEGIN
    RETURN QUERY
    WITH leased AS (
        SELECT l.key_no, l.key_id, l.epoch, row_number() OVER () AS place
        FROM vaultstream.lease_keys(p_job_no, p_holder, cardinality(v_pending), p_seconds) AS l
    )
    SELECT b.batch_no, b.records, b.first_id, b.last_id, b.ids, leased.key_no, leased.key_id, leased.epoch
    FROM unnest(v_pending) WITH ORDINALITY AS p (batch_no, place)
    JOIN vaultstream.batches b ON b.job_no = p_job_no AND b.batch_no = p.batch_no AND b.batch_no = ANY (v_pending)
    LEFT JOIN leased ON leased.place = p.place;
END $$;
