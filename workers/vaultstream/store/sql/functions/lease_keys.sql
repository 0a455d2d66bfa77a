-- Leases up to p_count free keys of a job, least recently used first. The new epoch is the fencing token.
-- Expired leases are written to the history here, and their keys move to the tail of the LRU order. A notice with the code
-- VS001 reports their number to programs that count them.
-- Only claim_batches calls this function, with its privileges.
-- A lease belongs to the login of the session (session_user) as much as to the holder, a name that the caller chose.
-- A free key's lease_until is the end of its last lease. No lease begins before it, even if the clock was set back.
CREATE OR REPLACE FUNCTION vaultstream.lease_keys(p_job_no int, p_holder text, p_count int, p_seconds float8)
RETURNS TABLE (key_no int, key_id text, epoch int) LANGUAGE plpgsql AS $$
DECLARE
    v_expired int;
BEGIN
    IF (p_seconds > 0 AND p_seconds <= 3600) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a lease lasts for up to 3600 s';
    END IF;
    IF (p_holder <> '' AND length(p_holder) <= 300) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a holder has a name of up to 300 characters';
    END IF;

    WITH gone AS (
        SELECT k.key_no FROM vaultstream.keys k
        WHERE k.job_no = p_job_no AND k.holder IS NOT NULL AND k.lease_until <= clock_timestamp()
        ORDER BY k.key_no
        FOR UPDATE SKIP LOCKED
    ), freed AS (
        UPDATE vaultstream.keys k
        SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'), lease_until = greatest(k.leased_at, k.lease_until)
        FROM gone JOIN vaultstream.keys was ON was.key_no = gone.key_no
        WHERE k.key_no = gone.key_no
        RETURNING k.key_no, k.epoch, was.holder, was.login, k.leased_at, k.lease_until
    )
    INSERT INTO vaultstream.leases (key_no, epoch, holder, login, during, outcome)
    SELECT freed.key_no, freed.epoch, freed.holder, freed.login, tstzrange(freed.leased_at, freed.lease_until), 'expired' FROM freed;
    GET DIAGNOSTICS v_expired = ROW_COUNT;
    IF v_expired > 0 THEN
        RAISE NOTICE USING ERRCODE = 'VS001', MESSAGE = v_expired::text;
    END IF;

    -- A row that another transaction has locked is being leased, released or ended: it is skipped, and keeps its place for the
    -- next call.
    RETURN QUERY
    WITH free AS (
        SELECT k.key_no FROM vaultstream.keys k
        WHERE k.job_no = p_job_no AND k.state = 'active' AND k.holder IS NULL
        ORDER BY k.lru
        LIMIT p_count
        FOR UPDATE SKIP LOCKED
    )
    UPDATE vaultstream.keys k
    SET epoch = k.epoch + 1, holder = p_holder, login = session_user,
        leased_at = greatest(clock_timestamp(), k.lease_until),
        lease_until = clock_timestamp() + make_interval(secs => p_seconds)
    FROM free
    WHERE k.key_no = free.key_no
    RETURNING k.key_no, k.key_id, k.epoch;
END $$;
