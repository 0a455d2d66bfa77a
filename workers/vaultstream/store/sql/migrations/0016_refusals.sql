-- works with programs from version 2
-- Who refuses a job, and who opens it again, is recorded.
ALTER TABLE vaultstream.audit_events DROP CONSTRAINT audit_events_action_check, ADD CONSTRAINT audit_events_action_check
    CHECK (action IN ('create', 'update', 'suspend', 'resume', 'retry', 'retire', 'revoke', 'rewrap', 'delete', 'export',
                      'accept-source', 'adopt', 'refuse', 'reopen'));
DROP TRIGGER audit ON vaultstream.jobs;
CREATE TRIGGER audit AFTER UPDATE OF state, spec ON vaultstream.jobs FOR EACH ROW
    WHEN (OLD.spec IS DISTINCT FROM NEW.spec
          OR OLD.state <> NEW.state AND ('Suspended' IN (OLD.state, NEW.state) OR OLD.state = 'Failed'))
    EXECUTE FUNCTION vaultstream.audit_job();
