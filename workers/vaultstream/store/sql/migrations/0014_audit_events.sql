-- works with programs from version 2
-- Who did what to a job. Only the functions and triggers of this schema add events, in the transaction of what they are about.
-- Both tables survive the deletion of the job.
CREATE TABLE vaultstream.audited_jobs (
    job_no int PRIMARY KEY,
    token  text NOT NULL UNIQUE,
    name   text NOT NULL,
    tenant text,
    events bigint NOT NULL DEFAULT 0               -- how many have a number
);
CREATE TABLE vaultstream.audit_events (
    event_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_no    int NOT NULL,
    number    bigint CHECK (number > 0),           -- from 1 in each job, without a gap; NULL: see number_events
    action    text NOT NULL CHECK (action IN ('create', 'update', 'suspend', 'resume', 'retry', 'retire', 'revoke', 'rewrap',
                                              'delete', 'export', 'accept-source', 'adopt')),
    login     text NOT NULL,                       -- the session_user
    at        timestamptz NOT NULL,
    arguments jsonb NOT NULL CHECK (jsonb_typeof(arguments) = 'object'),  -- values are text
    UNIQUE (job_no, number)
);
CREATE INDEX audit_events_unnumbered ON vaultstream.audit_events (job_no) WHERE number IS NULL;
CREATE INDEX audit_events_at ON vaultstream.audit_events (job_no, at);
INSERT INTO vaultstream.audited_jobs (job_no, token, name, tenant) SELECT job_no, token, name, tenant FROM vaultstream.jobs;

ALTER TABLE vaultstream.audited_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.audit_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.audited_jobs USING ((SELECT vaultstream.tenant_scope()) = 'all' OR vaultstream.sees(tenant));
CREATE POLICY tenant ON vaultstream.audit_events
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (
        SELECT FROM vaultstream.audited_jobs a WHERE a.job_no = audit_events.job_no));

-- The bodies of these functions are in functions/.
CREATE FUNCTION vaultstream.guard_audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION vaultstream.audit_job() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION vaultstream.audit_rewrap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

-- For everybody, the schema's owner too.
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON vaultstream.audit_events FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_audit();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vaultstream.audit_events EXECUTE FUNCTION vaultstream.guard_audit();
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON vaultstream.audited_jobs FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_audit();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vaultstream.audited_jobs EXECUTE FUNCTION vaultstream.guard_audit();
ALTER TABLE vaultstream.audit_events ENABLE ALWAYS TRIGGER guard, ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE vaultstream.audited_jobs ENABLE ALWAYS TRIGGER guard, ENABLE ALWAYS TRIGGER guard_truncate;

CREATE TRIGGER audit AFTER UPDATE OF state, spec ON vaultstream.jobs FOR EACH ROW
    WHEN (OLD.spec IS DISTINCT FROM NEW.spec OR OLD.state <> NEW.state AND 'Suspended' IN (OLD.state, NEW.state))
    EXECUTE FUNCTION vaultstream.audit_job();
CREATE TRIGGER audit AFTER UPDATE ON vaultstream.key_material
    REFERENCING NEW TABLE AS rewrapped FOR EACH STATEMENT EXECUTE FUNCTION vaultstream.audit_rewrap();
