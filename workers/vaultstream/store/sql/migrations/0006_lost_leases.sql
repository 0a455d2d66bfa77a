-- works with programs from version 2
-- Leases that expire count against their batch: a batch that ends its signer must not be tried forever.
ALTER TABLE vaultstream.keys
    ADD batch_no bigint,                           -- the batch that the last lease was claimed for; NULL: for none
    ADD alone boolean NOT NULL DEFAULT false;      -- whether its holder held nothing else meanwhile
CREATE INDEX keys_alone ON vaultstream.keys (key_no) WHERE alone;
ALTER TABLE vaultstream.batches
    ADD lost int NOT NULL DEFAULT 0;               -- leases on it that expired while its holder held others too

-- They return more columns, or take more parameters.
DROP FUNCTION IF EXISTS vaultstream.claim_batches(int, text, bigint[], float8);
DROP FUNCTION IF EXISTS vaultstream.lease_keys(int, text, int, float8);
