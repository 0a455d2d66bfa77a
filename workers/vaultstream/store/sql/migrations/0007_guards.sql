-- works with programs from version 2
-- What a role may not do with the columns that it may change. The bodies of these functions are in functions/.
CREATE FUNCTION vaultstream.guard_jobs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION vaultstream.guard_batches() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION vaultstream.guard_keys() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION vaultstream.guard_key_material() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';

CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON vaultstream.jobs
    FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_jobs();
CREATE TRIGGER guard AFTER INSERT ON vaultstream.batches
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION vaultstream.guard_batches();
CREATE TRIGGER guard BEFORE INSERT ON vaultstream.keys
    FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_keys();
CREATE TRIGGER guard BEFORE UPDATE ON vaultstream.key_material
    FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_key_material();

-- The dead letters that a retry cleared: the trace of what was set aside, and of who put it back.
CREATE TABLE vaultstream.cleared_dead_letters (
    job_no     int NOT NULL REFERENCES vaultstream.jobs,
    record_id  text NOT NULL,
    batch_no   bigint NOT NULL,
    reason     text NOT NULL,
    message    text NOT NULL,
    died_at    timestamptz NOT NULL,
    cleared_at timestamptz NOT NULL,
    cleared_by text NOT NULL                       -- the session_user
);
CREATE INDEX cleared_dead_letters_job ON vaultstream.cleared_dead_letters (job_no, cleared_at);

-- It believed its caller's batch size. Programs of version 2 can retry no dead letters.
DROP FUNCTION IF EXISTS vaultstream.retry_dead(int, int);
