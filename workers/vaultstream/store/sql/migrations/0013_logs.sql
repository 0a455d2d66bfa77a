-- works with programs from version 2
-- Logs, as trees of RFC 6962: what was signed, and what was sealed, in an order that never changes. See vaultstream.proof. They outlive
-- the jobs that they are about, so nothing here refers to a job's row. Numbers of jobs are never given twice.
CREATE TABLE vaultstream.logs (
    log_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin   text NOT NULL UNIQUE,
    job_no   int,                                  -- NULL: the log of an installation, or of a tenant
    tenant   text,
    size     bigint NOT NULL DEFAULT 0,
    frontier bytea NOT NULL DEFAULT ''             -- the roots of its whole subtrees, from the left, 32 bytes each
);
CREATE INDEX logs_job ON vaultstream.logs (job_no);

CREATE TABLE vaultstream.log_entries (
    log_no   bigint NOT NULL REFERENCES vaultstream.logs,
    index    bigint NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('statement', 'dead-letter', 'revocation', 'audit-event', 'plan', 'seal')),
    job_no   int NOT NULL,                         -- which job it is about
    batch_no bigint,                               -- of a statement or a dead letter
    subject  text NOT NULL DEFAULT '',             -- which record, key or event it is about
    body     text,                                 -- NULL: a statement's envelope is made from vaultstream.statements; or it was erased
    leaf     bytea NOT NULL CHECK (octet_length(leaf) = 32),
    PRIMARY KEY (log_no, index)
);
-- Nothing is entered twice. A job has one plan, and any number of seals.
CREATE UNIQUE INDEX log_entries_once ON vaultstream.log_entries (log_no, job_no, kind, coalesce(batch_no, 0), subject)
    WHERE kind <> 'seal';
CREATE INDEX log_entries_seals ON vaultstream.log_entries (job_no, log_no, index) WHERE kind IN ('plan', 'seal');

CREATE TABLE vaultstream.checkpoints (
    checkpoint_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_no  bigint NOT NULL REFERENCES vaultstream.logs,
    size    bigint NOT NULL,
    note    text NOT NULL,                         -- signed by the seal key: vaultstream.proof.checkpoint
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX checkpoints_newest ON vaultstream.checkpoints (log_no, size, checkpoint_no);

-- The body is in functions/.
CREATE FUNCTION vaultstream.guard_logs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON vaultstream.logs FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_logs();
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON vaultstream.log_entries FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_logs();
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON vaultstream.checkpoints FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_logs();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vaultstream.logs EXECUTE FUNCTION vaultstream.guard_logs();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vaultstream.log_entries EXECUTE FUNCTION vaultstream.guard_logs();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vaultstream.checkpoints EXECUTE FUNCTION vaultstream.guard_logs();

ALTER TABLE vaultstream.logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.log_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.checkpoints ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.logs USING ((SELECT vaultstream.tenant_scope()) = 'all' OR vaultstream.sees(tenant));
CREATE POLICY tenant ON vaultstream.log_entries
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.logs l WHERE l.log_no = log_entries.log_no));
CREATE POLICY tenant ON vaultstream.checkpoints
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.logs l WHERE l.log_no = checkpoints.log_no));
