-- works with programs from version 2
-- What a key says about the batch that it signed, in the same transaction as the signatures. See vaultstream.proof.statement.
CREATE TABLE vaultstream.statements (
    job_no    int NOT NULL,
    batch_no  bigint NOT NULL,
    key_no    int NOT NULL,
    epoch     int NOT NULL,
    body      text NOT NULL,                       -- canonical JSON
    signature bytea NOT NULL,                      -- by this key, over the body and its type
    PRIMARY KEY (job_no, batch_no)
);
ALTER TABLE vaultstream.statements ALTER signature SET STORAGE EXTERNAL;
ALTER TABLE vaultstream.statements ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.statements
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = statements.job_no));

-- Whether no batch of the job is settled without a statement. False for jobs from before: signers of their version sign on.
ALTER TABLE vaultstream.jobs ADD stated boolean NOT NULL DEFAULT false;
ALTER TABLE vaultstream.jobs ALTER stated SET DEFAULT true;
