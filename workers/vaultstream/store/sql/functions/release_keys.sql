-- Gives keys back without a batch, to the tail of the LRU order, and writes their leases' history. Lost leases are passed over.
CREATE OR REPLACE FUNCTION vaultstream.release_keys(p_holder text, p_key_no int[], p_epoch int[])
RETURNS SETOF int LANGUAGE sql AS $$
    WITH freed AS (
        UPDATE vaultstream.keys k SET holder = NULL, lru = nextval('vaultstream.lru')
        FROM unnest(p_key_no, p_epoch) AS mine (key_no, epoch)
        WHERE k.key_no = mine.key_no AND k.epoch = mine.epoch AND k.holder = p_holder
          AND k.lease_until > clock_timestamp()
        RETURNING k.key_no, k.epoch, k.leased_at
    )
    INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome)
    SELECT key_no, epoch, p_holder, tstzrange(leased_at, clock_timestamp()), 'released' FROM freed
    RETURNING key_no
$$;
