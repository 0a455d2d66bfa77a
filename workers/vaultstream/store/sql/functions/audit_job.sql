-- Records who suspends, resumes, reopens or updates a job. Updates name the fields of the spec that changed, and not their values.
CREATE OR REPLACE FUNCTION vaultstream.audit_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.spec IS DISTINCT FROM OLD.spec THEN
        PERFORM vaultstream.record_event(NEW.job_no, 'update', jsonb_build_object('fields', (
            SELECT string_agg(f.field, ' ' ORDER BY f.field)
            FROM jsonb_object_keys(OLD.spec || NEW.spec) AS f (field)
            WHERE OLD.spec -> f.field IS DISTINCT FROM NEW.spec -> f.field)));
    END IF;
    IF NEW.state = 'Suspended' AND OLD.state <> 'Suspended' THEN
        PERFORM vaultstream.record_event(NEW.job_no, 'suspend', '{}');
    ELSIF OLD.state = 'Suspended' AND NEW.state IN ('Pending', 'Running') THEN
        PERFORM vaultstream.record_event(NEW.job_no, 'resume', '{}');
    ELSIF OLD.state = 'Failed' AND NEW.state <> 'Failed' THEN
        PERFORM vaultstream.record_event(NEW.job_no, 'reopen', jsonb_build_object('message', OLD.message));
    END IF;
    RETURN NULL;
END $$;
