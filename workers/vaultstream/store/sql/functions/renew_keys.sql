-- Extends the leases that are still held, and returns their keys with epochs; a lease that is missing from the result is lost.
-- Locked rows are skipped. Most likely a commit of this holder has the lock, and a stalled commit must not make the other leases
-- expire. Waiting could also end with a key that was released meanwhile, and would block its next lease until this call ends.
-- A skipped key is returned without an epoch: it is neither extended nor known to be lost.
-- No lease is extended beyond a day after it began: it is returned as lost, so that its holder stops before it expires.
CREATE OR REPLACE FUNCTION vaultstream.renew_keys(p_holder text, p_key_no int[], p_epoch int[], p_seconds float8)
RETURNS TABLE (key_no int, epoch int) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (p_seconds > 0 AND p_seconds <= 3600) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a lease lasts for up to 3600 s';
    END IF;

    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT k.key_no, k.epoch
        FROM unnest(p_key_no, p_epoch) AS mine (key_no, epoch)
        JOIN vaultstream.keys k ON k.key_no = mine.key_no AND k.epoch = mine.epoch
        WHERE vaultstream.is_leased_to(k, p_holder)
          AND clock_timestamp() + make_interval(secs => p_seconds) <= k.leased_at + interval '1 day'
    ), free_to_change AS MATERIALIZED (
        SELECT k.key_no
        FROM held
        JOIN vaultstream.keys k ON k.key_no = held.key_no AND k.epoch = held.epoch
        WHERE vaultstream.is_leased_to(k, p_holder)
        FOR NO KEY UPDATE OF k SKIP LOCKED
    ), extended AS (
        UPDATE vaultstream.keys k
        SET lease_until = clock_timestamp() + make_interval(secs => p_seconds)
        FROM free_to_change
        WHERE k.key_no = free_to_change.key_no
        RETURNING k.key_no, k.epoch
    )
    SELECT held.key_no, extended.epoch FROM held LEFT JOIN extended ON extended.key_no = held.key_no;
END $$;
