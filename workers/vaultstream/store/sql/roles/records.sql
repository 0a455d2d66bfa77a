-- Divides records into batches, moves its checkpoints, and completes jobs. It can't settle a batch.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_records;
GRANT SELECT ON vaultstream.schema_version, vaultstream.jobs, vaultstream.batches TO vaultstream_records;
GRANT UPDATE (
    state, message, started_at, finished_at, upper_id, planned_id, planned, next_batch_no, published_through
) ON vaultstream.jobs TO vaultstream_records;
GRANT INSERT (job_no, batch_no, records, first_id, last_id, ids) ON vaultstream.batches TO vaultstream_records;
GRANT EXECUTE ON FUNCTION vaultstream.sees(text), vaultstream.tenant_scope() TO vaultstream_records;  -- row security calls it as this role
GRANT EXECUTE ON FUNCTION vaultstream.pin_source(int, oid) TO vaultstream_records;
