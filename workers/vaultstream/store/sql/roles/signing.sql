-- Reads wrapped keys, and public keys to compare them with. It changes leases, batches, signatures and the lease history only through functions.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_signing;
GRANT SELECT ON vaultstream.schema_version, vaultstream.jobs, vaultstream.key_material TO vaultstream_signing;
GRANT SELECT (key_no, job_no, ordinal, key_id, algorithm, public_key, state, holder, lease_until) ON vaultstream.keys TO vaultstream_signing;
GRANT EXECUTE ON FUNCTION
    vaultstream.claim_batches(int, text, bigint[], float8),
    vaultstream.renew_keys(text, int[], int[], float8),
    vaultstream.release_keys(text, int[], int[]),
    vaultstream.commit_batches(
        int, text, bigint[], int[], int[], int[], int[], bigint[], anyarray, int, bytea, int[], text[], text[], text[], text[], bytea[]),
    vaultstream.commit_batches(
        int, text, bigint[], int[], int[], int[], int[], anyarray, int, bytea, int[], text[], text[], text[], text[], bytea[]),
    vaultstream.commit_batches(
        int, text, bigint[], int[], int[], int[], int[], anyarray, int, bytea, int[], text[], text[], text[]),
    vaultstream.fail_batch(int, text, bigint, int, int, text)
TO vaultstream_signing;
GRANT EXECUTE ON FUNCTION vaultstream.sees(text), vaultstream.tenant_scope() TO vaultstream_signing;  -- row security calls it as this role
