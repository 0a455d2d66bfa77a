-- Retires or revokes keys of a job. A retired key finishes its batch; a revoked key is fenced at once.
-- It waits for what holds a key's row, a commit or a claim whose transaction is open, for 10 s at most: then nothing has changed.
CREATE OR REPLACE FUNCTION vaultstream.end_keys(p_job_no int, p_key_id text[], p_state text)
RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_ended text[];
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    IF (p_state IN ('retired', 'revoked')) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a key ends retired or revoked';
    END IF;
    -- Locked in the order of keys, as everywhere, to avoid deadlocks. This also waits for a lease that is being granted.
    PERFORM FROM vaultstream.keys k
    WHERE k.job_no = p_job_no AND k.key_id = ANY (p_key_id)
    ORDER BY k.key_no
    FOR NO KEY UPDATE;

    IF p_state = 'revoked' THEN
        WITH held AS MATERIALIZED (
            SELECT k.key_no, k.holder, k.login, k.epoch, k.leased_at,
                   greatest(k.leased_at, least(k.lease_until, clock_timestamp())) AS until
            FROM vaultstream.keys k
            WHERE k.job_no = p_job_no AND k.key_id = ANY (p_key_id) AND k.holder IS NOT NULL
        ), fenced AS (
            UPDATE vaultstream.keys k SET holder = NULL, login = NULL, lease_until = held.until
            FROM held WHERE k.key_no = held.key_no
        )
        INSERT INTO vaultstream.leases (key_no, epoch, holder, login, during, outcome)
        SELECT held.key_no, held.epoch, held.holder, held.login, tstzrange(held.leased_at, held.until), 'revoked' FROM held;
    END IF;

    WITH ended AS (
        UPDATE vaultstream.keys k
        SET state = p_state, ended_at = clock_timestamp()  -- of its revocation, if it was retired before
        WHERE k.job_no = p_job_no AND k.key_id = ANY (p_key_id)
          AND (k.state = 'active' OR (k.state = 'retired' AND p_state = 'revoked'))
        RETURNING k.key_no, k.key_id
    )
    SELECT array_agg(ended.key_id ORDER BY ended.key_no) INTO v_ended FROM ended;
    IF cardinality(v_ended) > 0 THEN
        PERFORM vaultstream.record_event(
            p_job_no, CASE p_state WHEN 'retired' THEN 'retire' ELSE 'revoke' END,
            jsonb_build_object('count', cardinality(v_ended)::text, 'keys', array_to_string(v_ended, ' ')));
    END IF;
    RETURN QUERY SELECT unnest(v_ended);
END $$;
