-- works with programs from version 2
-- What the operator's scaling remembers of each job: stabilization windows, policies and measured rates. It is not part of any proof.
CREATE TABLE vaultstream.scaling (
    job_no     int PRIMARY KEY REFERENCES vaultstream.jobs ON DELETE CASCADE,
    version    bigint NOT NULL,
    memory     jsonb NOT NULL CHECK (octet_length(memory::text) <= 65536),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE vaultstream.scaling ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.scaling
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = scaling.job_no));
