-- The role of a tenant, and the logins of its workers. Run it as a user who may create roles, once for each tenant:
--   psql --set tenant=team-a --file examples/production/tenant.sql
-- Then set the passwords, for example with \password. VaultStream must be migrated, so that this can ask for the role's name.
\set ON_ERROR_STOP on
BEGIN;
SELECT vaultstream.tenant_role(:'tenant') AS role \gset
CREATE ROLE :"role" NOLOGIN;
SELECT format('CREATE ROLE %I LOGIN IN ROLE %I, %I', :'tenant' || '_' || part, 'vaultstream_' || part, :'role')
  FROM unnest(ARRAY['keys', 'records', 'signing']) AS part
\gexec
-- The login that reads records: a member of no role. Grant it the tables of the tenant.
SELECT format('CREATE ROLE %I LOGIN', :'tenant' || '_source')
\gexec
COMMIT;
