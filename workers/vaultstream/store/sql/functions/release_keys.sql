-- Releases keys without a batch: they move to the tail of the LRU order, and their leases go into the history. Lost leases are
-- skipped.
CREATE OR REPLACE FUNCTION vaultstream.release_keys(p_holder text, p_key_no int[], p_epoch int[])
RETURNS SETOF int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH held AS MATERIALIZED (  -- locked in the order of keys, as everywhere, to avoid deadlocks
        SELECT k.key_no
        FROM unnest(p_key_no, p_epoch) AS mine (key_no, epoch)
        JOIN vaultstream.keys k ON k.key_no = mine.key_no AND k.epoch = mine.epoch
        WHERE vaultstream.is_leased_to(k, p_holder)
        ORDER BY k.key_no
        FOR NO KEY UPDATE OF k
    ), freed AS (
        UPDATE vaultstream.keys k
        SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'), lease_until = greatest(k.leased_at, clock_timestamp())
        FROM held
        WHERE k.key_no = held.key_no
        RETURNING k.key_no, k.epoch, k.leased_at, k.lease_until
    )
    INSERT INTO vaultstream.leases (key_no, epoch, holder, login, during, outcome)
    SELECT key_no, epoch, p_holder, session_user, tstzrange(leased_at, lease_until), 'released' FROM freed
    RETURNING key_no
$$;
