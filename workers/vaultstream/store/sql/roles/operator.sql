-- Creates, changes, suspends, fails, retries and deletes jobs, and reads their progress. It has no access to key material.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_operator;
GRANT SELECT ON vaultstream.schema_version, vaultstream.jobs, vaultstream.batches, vaultstream.keys TO vaultstream_operator;
GRANT SELECT (job_no) ON vaultstream.dead_letters TO vaultstream_operator;
GRANT UPDATE (spec, state, message, finished_at) ON vaultstream.jobs TO vaultstream_operator;
GRANT EXECUTE ON FUNCTION
    vaultstream.create_job(text, text, jsonb, text, text, text, oid),
    vaultstream.adopt_job(int, text),
    vaultstream.delete_job(int, text),
    vaultstream.retry_dead(int)
TO vaultstream_operator;
GRANT EXECUTE ON FUNCTION vaultstream.sees(text) TO vaultstream_operator;  -- row security calls it as this role

DO $$  -- It sees all tenants: without a policy of its own, each reading of the progress would compare every batch with its job.
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY '{jobs,keys,batches,dead_letters}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = format('vaultstream.%I', v_table)::regclass AND polname = 'operator') THEN
            EXECUTE format('CREATE POLICY operator ON vaultstream.%I TO vaultstream_operator USING (true)', v_table);
        END IF;
    END LOOP;
END $$;
