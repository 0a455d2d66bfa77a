-- Refuses to the logins of VaultStream's roles every statement that creates, changes or drops objects. No worker, no operator and no
-- auditor makes any. Without it, each of these logins can stop all jobs of the database: CREATE RULE, CREATE TRIGGER and others wait for a
-- lock of a whole table before Postgres asks whether they are allowed, and whoever reads the table waits behind them.
-- Run it as a superuser, in the database of VaultStream:
--   psql --file charts/vaultstream/files/postgres/no-ddl.sql
-- The Postgres that comes with the chart has it.
-- To take it back: DROP EVENT TRIGGER vaultstream_no_ddl; DROP SCHEMA vaultstream_guard CASCADE;
\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA IF NOT EXISTS vaultstream_guard;
CREATE OR REPLACE FUNCTION vaultstream_guard.refuse_ddl() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Functions of the schema, such as create_job, run as its owner.
    IF NOT pg_has_role(current_user, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'vaultstream'), 'MEMBER')
       AND EXISTS (
           SELECT FROM pg_roles r
           WHERE r.rolname IN ('vaultstream_operator', 'vaultstream_keys', 'vaultstream_records', 'vaultstream_signing', 'vaultstream_auditor')
             AND (pg_has_role(session_user, r.oid, 'MEMBER') OR pg_has_role(current_user, r.oid, 'MEMBER'))) THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s is not for logins of VaultStream', TG_TAG);
    END IF;
END $$;
DROP EVENT TRIGGER IF EXISTS vaultstream_no_ddl;
CREATE EVENT TRIGGER vaultstream_no_ddl ON ddl_command_start EXECUTE FUNCTION vaultstream_guard.refuse_ddl();
COMMIT;
