-- Leases up to p_count free keys of a job, least recently used first. The new epoch is the fencing token. The n-th key is for
-- the n-th batch of p_batch_no, if there is one.
-- Only claim_batches calls this function, with its privileges.
-- A lease belongs to the login of the session (session_user) as much as to the holder, a name that the caller chose.
-- A free key's lease_until is the end of its last lease. No lease begins before it, even if the clock was set back.
CREATE OR REPLACE FUNCTION vaultstream.lease_keys(
    p_job_no int, p_holder text, p_count int, p_seconds float8, p_batch_no bigint[] DEFAULT '{}', p_alone boolean DEFAULT false)
RETURNS TABLE (key_no int, key_id text, epoch int, batch_no bigint) LANGUAGE plpgsql AS $$
BEGIN
    IF (p_seconds > 0 AND p_seconds <= 3600) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a lease lasts for up to 3600 s';
    END IF;
    IF (p_holder <> '' AND length(p_holder) <= 300) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a holder has a name of up to 300 characters';
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
    ), placed AS (
        SELECT free.key_no, p_batch_no[row_number() OVER ()] AS batch_no FROM free
    )
    UPDATE vaultstream.keys k
    SET epoch = k.epoch + 1, holder = p_holder, login = session_user, batch_no = placed.batch_no, alone = p_alone,
        leased_at = greatest(clock_timestamp(), k.lease_until),
        lease_until = clock_timestamp() + make_interval(secs => p_seconds)
    FROM placed
    WHERE k.key_no = placed.key_no
    RETURNING k.key_no, k.key_id, k.epoch, k.batch_no;
END $$;
