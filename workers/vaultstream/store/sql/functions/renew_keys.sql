-- Extends the leases that still hold, and names them; one that is missing from the answer is lost.
CREATE OR REPLACE FUNCTION vaultstream.renew_keys(p_holder text, p_key_no int[], p_epoch int[], p_seconds float8)
RETURNS TABLE (key_no int, epoch int) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH held AS MATERIALIZED (  -- locked in the order of keys, as everywhere: so that no two ever deadlock
        SELECT k.key_no
        FROM unnest(p_key_no, p_epoch) AS mine (key_no, epoch)
        JOIN vaultstream.keys k ON k.key_no = mine.key_no AND k.epoch = mine.epoch
        WHERE k.holder = p_holder AND k.lease_until > clock_timestamp()
        ORDER BY k.key_no
        FOR NO KEY UPDATE OF k
    )
    UPDATE vaultstream.keys k
    SET lease_until = clock_timestamp() + make_interval(secs => p_seconds)
    FROM held
    WHERE k.key_no = held.key_no
    RETURNING k.key_no, k.epoch
$$;
