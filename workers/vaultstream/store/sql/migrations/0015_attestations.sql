-- works with programs from version 2
-- What others say about signed checkpoints: cosignatures of witnesses, and timestamps of RFC 3161. See vaultstream.sealing.
CREATE TABLE vaultstream.attestations (
    checkpoint_no bigint NOT NULL REFERENCES vaultstream.checkpoints,
    kind     text NOT NULL CHECK (kind IN ('cosignature', 'timestamp')),
    attester text NOT NULL,                        -- a witness's verifier key, or the address of an authority
    value    bytea NOT NULL,                       -- a line of a signed note, or an answer in DER
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A false one, which anyone who may seal can store, keeps no other one out.
CREATE UNIQUE INDEX attestations_once ON vaultstream.attestations (checkpoint_no, kind, attester, sha256(value));
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON vaultstream.attestations FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_logs();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vaultstream.attestations EXECUTE FUNCTION vaultstream.guard_logs();
ALTER TABLE vaultstream.attestations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.attestations
    USING ((SELECT vaultstream.tenant_scope()) = 'all'
           OR EXISTS (SELECT FROM vaultstream.checkpoints c WHERE c.checkpoint_no = attestations.checkpoint_no));
