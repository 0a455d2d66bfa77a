-- Returns the given batches that are still pending, each with a key leased for it, least recently used first.
-- A row without a key: no key was free, or, where `alone` is true, the batch waits because a batch is signed alone.
-- A batch without a row: it is already settled, or does not exist.
--
-- A batch with two lost leases is under suspicion of ending its signers. It is leased only to a holder that holds nothing else,
-- and that holder is leased nothing else meanwhile: whatever happens then is due to this batch, and counts as its attempt.
-- Before, it counts against no batch, because all batches of a signer lose their leases together.
CREATE OR REPLACE FUNCTION vaultstream.claim_batches(p_job_no int, p_holder text, p_batch_no bigint[], p_seconds float8)
RETURNS TABLE (
    batch_no bigint, records int, first_id text, last_id text, ids text[], key_no int, key_id text, epoch int, alone boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pending   bigint[];
    v_suspected bigint[];
    v_wanted    bigint[];
    v_alone     boolean := false;
    v_expired   boolean;
    v_busy      boolean;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    SELECT bool_or(k.lease_until <= clock_timestamp()), bool_or(k.alone AND vaultstream.is_leased_to(k, p_holder))
    INTO v_expired, v_busy
    FROM vaultstream.keys k WHERE k.job_no = p_job_no AND k.holder IS NOT NULL;
    IF v_expired THEN
        PERFORM vaultstream.expire_leases(p_job_no);
    END IF;

    SELECT coalesce(array_agg(b.batch_no ORDER BY b.batch_no), '{}'),
           coalesce(array_agg(b.batch_no ORDER BY b.batch_no) FILTER (WHERE b.lost >= 2), '{}')
    INTO v_pending, v_suspected
    FROM vaultstream.batches b
    WHERE b.job_no = p_job_no AND b.batch_no = ANY (p_batch_no) AND b.state = 'pending';

    IF v_busy THEN
        v_wanted := '{}';
    ELSIF v_suspected = '{}' THEN
        v_wanted := v_pending;
    ELSIF v_suspected <> v_pending THEN
        v_wanted := ARRAY(SELECT each FROM unnest(v_pending) AS each WHERE each <> ALL (v_suspected) ORDER BY each);
    ELSIF EXISTS (SELECT FROM vaultstream.keys k
                  WHERE k.job_no = p_job_no AND vaultstream.is_leased_to(k, p_holder)) THEN
        v_wanted := '{}';
    ELSE
        v_wanted := v_suspected[1:1];
        v_alone := true;
    END IF;

    RETURN QUERY
    WITH leased AS MATERIALIZED (
        SELECT l.* FROM vaultstream.lease_keys(p_job_no, p_holder, cardinality(v_wanted), p_seconds, v_wanted, v_alone) AS l
    )
    SELECT b.batch_no, b.records, b.first_id, b.last_id, b.ids, leased.key_no, leased.key_id, leased.epoch,
           CASE WHEN b.batch_no = ANY (v_wanted) THEN v_alone ELSE true END
    FROM vaultstream.batches b
    LEFT JOIN leased ON leased.batch_no = b.batch_no
    WHERE b.job_no = p_job_no AND b.batch_no = ANY (v_pending)
    ORDER BY b.batch_no;
END $$;
