-- works with programs from version 2
-- Postgres asks the session's time zone first what an abbreviation means, so a login could redefine UTC for itself and write leases into
-- this index at other times than they have. An interval is no abbreviation.
ALTER TABLE vaultstream.leases
    DROP CONSTRAINT leases_apart,
    ADD CONSTRAINT leases_apart EXCLUDE USING gist (
        box(
            point(key_no, extract(epoch FROM lower(during) AT TIME ZONE INTERVAL '0')::float8 * 1e6),
            point(key_no, extract(epoch FROM upper(during) AT TIME ZONE INTERVAL '0')::float8 * 1e6 - 1)
        ) WITH &&
    );
