-- Reads jobs, public keys, batches, lease history, dead letters, signatures, statements, logs and audit events: for verify, export and
-- status. All that it writes is the event that it exports a job.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_auditor;
GRANT SELECT ON
    vaultstream.schema_version, vaultstream.jobs, vaultstream.keys, vaultstream.batches, vaultstream.leases,
    vaultstream.dead_letters, vaultstream.cleared_dead_letters, vaultstream.signatures, vaultstream.statements,
    vaultstream.logs, vaultstream.log_entries, vaultstream.checkpoints, vaultstream.audit_events, vaultstream.audited_jobs
TO vaultstream_auditor;
GRANT EXECUTE ON FUNCTION vaultstream.sees(text), vaultstream.tenant_scope() TO vaultstream_auditor;  -- row security calls it as this role
GRANT EXECUTE ON FUNCTION vaultstream.signed_jobs(), vaultstream.signatures_of(int, bigint, int) TO vaultstream_auditor;  -- of the view
GRANT EXECUTE ON FUNCTION vaultstream.newest_seal(int), vaultstream.record_export(int, jsonb), vaultstream.paused_seconds(int, float8)
TO vaultstream_auditor;
GRANT SELECT ON vaultstream.attestations, vaultstream.scaling, vaultstream.decisions, vaultstream.priors TO vaultstream_auditor;

DO $$  -- create_job grants later tables
DECLARE
    v_table text;
BEGIN
    FOR v_table IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'vaultstream'::regnamespace AND relkind = 'r' AND relname ~ '^signatures_[0-9]+$'
    LOOP
        EXECUTE format('GRANT SELECT ON vaultstream.%I TO vaultstream_auditor', v_table);
    END LOOP;
END $$;
