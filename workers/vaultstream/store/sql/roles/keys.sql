-- Makes keys, wraps and rewraps them, retires and revokes them. A lease is nothing that it can set.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_keys;
GRANT SELECT ON
    vaultstream.schema_version, vaultstream.jobs, vaultstream.keys, vaultstream.key_material, vaultstream.leases
TO vaultstream_keys;
GRANT INSERT (job_no, ordinal, key_id, algorithm, public_key) ON vaultstream.keys TO vaultstream_keys;
GRANT USAGE ON SEQUENCE vaultstream.lru TO vaultstream_keys;  -- a new key goes to the end of the line
GRANT INSERT (key_no, version, kek_id, wrapped), UPDATE (version, kek_id, wrapped) ON vaultstream.key_material TO vaultstream_keys;
GRANT EXECUTE ON FUNCTION vaultstream.end_keys(int, text[], text) TO vaultstream_keys;
