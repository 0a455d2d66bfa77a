-- works with programs from version 2
-- Decisions on the number of signers of each job, for people who ask why: the latest that were news. They are not part of any proof.
CREATE TABLE vaultstream.decisions (
    job_no   int NOT NULL REFERENCES vaultstream.jobs ON DELETE CASCADE,
    number   bigint GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL,
    decision jsonb NOT NULL CHECK (octet_length(decision::text) <= 16384),
    PRIMARY KEY (job_no, number)
);
ALTER TABLE vaultstream.decisions ALTER COLUMN decision SET STATISTICS 0;
ALTER TABLE vaultstream.decisions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.decisions
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = decisions.job_no));
