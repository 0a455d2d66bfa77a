-- Divides records into batches, moves its checkpoints, completes and seals jobs. It can't settle a batch, and changes logs only through functions.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_records;
GRANT SELECT ON vaultstream.schema_version, vaultstream.jobs, vaultstream.batches TO vaultstream_records;
GRANT UPDATE (
    state, message, started_at, finished_at, upper_id, planned_id, planned, next_batch_no, published_through
) ON vaultstream.jobs TO vaultstream_records;
GRANT INSERT (job_no, batch_no, records, first_id, last_id, ids) ON vaultstream.batches TO vaultstream_records;
GRANT EXECUTE ON FUNCTION vaultstream.sees(text), vaultstream.tenant_scope() TO vaultstream_records;  -- row security calls it as this role
GRANT EXECUTE ON FUNCTION vaultstream.pin_source(int, oid) TO vaultstream_records;
-- What is sealed.
GRANT SELECT ON
    vaultstream.statements, vaultstream.dead_letters, vaultstream.cleared_dead_letters,
    vaultstream.audit_events, vaultstream.audited_jobs, vaultstream.logs, vaultstream.log_entries, vaultstream.checkpoints
TO vaultstream_records;
GRANT SELECT (key_no, job_no, key_id, algorithm, public_key, state, ended_at) ON vaultstream.keys TO vaultstream_records;
GRANT EXECUTE ON FUNCTION
    vaultstream.lock_log(text, int, text),
    vaultstream.append_entries(bigint, bigint, int, text[], bigint[], text[], text[], bytea[], bytea),
    vaultstream.add_checkpoint(bigint, bigint, text),
    vaultstream.number_events(int),
    vaultstream.newest_seal(int),
    vaultstream.refuse_job(int, text)
TO vaultstream_records;
GRANT SELECT ON vaultstream.attestations TO vaultstream_records;
GRANT EXECUTE ON FUNCTION vaultstream.add_attestation(bigint, text, text, bytea) TO vaultstream_records;
