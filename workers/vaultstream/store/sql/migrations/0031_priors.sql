-- works with programs from version 2
-- What jobs of one kind have shown: rates, starts and drains. The next job of the kind begins with it. It is not part of any proof.
CREATE TABLE vaultstream.priors (
    tenant     text NOT NULL CHECK (octet_length(tenant) <= 253),  -- empty: of jobs that belong to no tenant
    algorithm  text NOT NULL CHECK (octet_length(algorithm) <= 63),
    batch_size int NOT NULL,
    row_bytes  int NOT NULL,  -- a power of two, no more than the usual size of a row; 0: unknown
    resources  text NOT NULL CHECK (octet_length(resources) <= 1024),  -- of a signer
    prior      jsonb NOT NULL CHECK (octet_length(prior::text) <= 16384),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, algorithm, batch_size, row_bytes, resources)
);
ALTER TABLE vaultstream.priors ALTER COLUMN tenant SET STATISTICS 0, ALTER COLUMN prior SET STATISTICS 0,
    ALTER COLUMN resources SET STATISTICS 0;
ALTER TABLE vaultstream.priors ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.priors
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR vaultstream.sees(nullif(tenant, '')));
