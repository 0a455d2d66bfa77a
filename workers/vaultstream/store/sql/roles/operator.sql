-- Creates, changes, suspends, fails, retries and deletes jobs, and reads their progress. It has no access to key material.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_operator;
GRANT SELECT ON vaultstream.schema_version, vaultstream.jobs, vaultstream.batches, vaultstream.keys TO vaultstream_operator;
GRANT SELECT ON vaultstream.logs, vaultstream.checkpoints TO vaultstream_operator;
GRANT SELECT (job_no) ON vaultstream.dead_letters TO vaultstream_operator;
GRANT SELECT, INSERT, UPDATE ON vaultstream.scaling TO vaultstream_operator;
GRANT SELECT, INSERT, DELETE ON vaultstream.decisions TO vaultstream_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON vaultstream.priors TO vaultstream_operator;
GRANT UPDATE (spec, state, message, finished_at) ON vaultstream.jobs TO vaultstream_operator;
GRANT EXECUTE ON FUNCTION
    vaultstream.create_job(text, text, jsonb, text, text, text, oid),
    vaultstream.adopt_job(int, text),
    vaultstream.delete_job(int, text),
    vaultstream.retry_dead(int),
    vaultstream.newest_seal(int),
    vaultstream.paused_seconds(int, float8)
TO vaultstream_operator;
GRANT EXECUTE ON FUNCTION vaultstream.sees(text), vaultstream.tenant_scope() TO vaultstream_operator;  -- row security calls it as this role
