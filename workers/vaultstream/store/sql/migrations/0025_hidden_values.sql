-- works with programs from version 2
-- Row security does not hide what ANALYZE keeps of a column: comparisons of text and bytes count as leakproof, so EXPLAIN shows a tenant
-- estimates from the values of all tenants, and thereby the values. So nothing is kept of columns that have any. (create_job does the
-- same for signatures; guard_keys refuses what is no public key.)
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN
        SELECT c.relname, c.relkind, a.attname, a.attnum, c.oid
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'vaultstream'::regnamespace
          AND (c.relkind = 'r' AND (
                   (c.relname::text, a.attname::text) IN (VALUES
                       ('attestations', 'attester'), ('attestations', 'value'), ('audit_events', 'login'), ('audit_events', 'arguments'),
                       ('audited_jobs', 'token'), ('audited_jobs', 'name'), ('audited_jobs', 'tenant'), ('batches', 'first_id'),
                       ('batches', 'last_id'), ('batches', 'ids'), ('batches', 'error'), ('checkpoints', 'note'),
                       ('cleared_dead_letters', 'record_id'), ('cleared_dead_letters', 'message'), ('cleared_dead_letters', 'cleared_by'),
                       ('dead_letters', 'record_id'), ('dead_letters', 'message'), ('jobs', 'token'), ('jobs', 'name'),
                       ('jobs', 'owner_uid'), ('jobs', 'spec'), ('jobs', 'message'), ('jobs', 'upper_id'), ('jobs', 'planned_id'),
                       ('jobs', 'tenant'), ('key_material', 'kek_id'), ('key_material', 'wrapped'), ('keys', 'key_id'),
                       ('keys', 'public_key'), ('keys', 'holder'), ('keys', 'login'), ('leases', 'holder'), ('leases', 'login'),
                       ('log_entries', 'subject'), ('log_entries', 'body'), ('log_entries', 'leaf'), ('logs', 'origin'),
                       ('logs', 'tenant'), ('logs', 'frontier'), ('scaling', 'memory'), ('statements', 'body'),
                       ('statements', 'signature'))
                   OR c.relname ~ '^signatures_[0-9]+$' AND a.attname IN ('record_id', 'digest', 'signature'))
               OR c.relname = 'attestations_once' AND a.attnum = 4)  -- the hash of a value
        ORDER BY c.relname, a.attnum
    LOOP
        EXECUTE format('ALTER %s vaultstream.%I ALTER COLUMN %s SET STATISTICS 0',
                       CASE v.relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END, v.relname,
                       CASE v.relkind WHEN 'i' THEN v.attnum::text ELSE quote_ident(v.attname) END);
        -- What was kept before stays until it is removed, which an owner can do since Postgres 18.
        IF current_setting('server_version_num')::int >= 180000 THEN
            PERFORM pg_catalog.pg_clear_attribute_stats('vaultstream', v.relname::text, v.attname::text, false);
        ELSIF current_setting('is_superuser')::boolean THEN
            DELETE FROM pg_catalog.pg_statistic s WHERE s.starelid = v.oid AND s.staattnum = v.attnum;
        END IF;
    END LOOP;
END $$;
