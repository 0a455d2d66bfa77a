-- works with programs from version 2
-- The namespace that a job belongs to, where namespaces are tenants; NULL: the job belongs to no tenant.
ALTER TABLE vaultstream.jobs ADD COLUMN tenant text;
