-- Creates, wraps, rewraps, retires and revokes keys. It can't set leases.
GRANT USAGE ON SCHEMA vaultstream TO vaultstream_keys;
GRANT SELECT ON
    vaultstream.schema_version, vaultstream.jobs, vaultstream.keys, vaultstream.key_material, vaultstream.leases
TO vaultstream_keys;
GRANT INSERT (job_no, ordinal, key_id, algorithm, public_key) ON vaultstream.keys TO vaultstream_keys;
GRANT USAGE ON SEQUENCE vaultstream.lru TO vaultstream_keys;  -- a new key is added to the tail of the LRU order
GRANT INSERT (key_no, version, kek_id, wrapped), UPDATE (version, kek_id, wrapped) ON vaultstream.key_material TO vaultstream_keys;
GRANT EXECUTE ON FUNCTION vaultstream.end_keys(int, text[], text) TO vaultstream_keys;
GRANT EXECUTE ON FUNCTION vaultstream.is_public_key(text, bytea) TO vaultstream_keys;  -- a trigger calls it as this role
GRANT EXECUTE ON FUNCTION vaultstream.sees(text), vaultstream.tenant_scope() TO vaultstream_keys;  -- row security calls it as this role
