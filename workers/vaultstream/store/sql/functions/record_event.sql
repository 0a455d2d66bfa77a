-- Adds an event to what was done to a job, with the login of this session and the time. Arguments are text; one that is longer than
-- 4,000 characters is cut, and ends with an ellipsis. None may be a secret.
-- Only the functions and triggers of this schema call it, with their privileges.
CREATE OR REPLACE FUNCTION vaultstream.record_event(p_job_no int, p_action text, p_arguments jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments)
    SELECT p_job_no, p_action, session_user, clock_timestamp(), coalesce(
        jsonb_object_agg(a.name, CASE WHEN length(a.value) <= 4000 THEN a.value ELSE left(a.value, 3999) || '…' END), '{}')
    FROM jsonb_each_text(p_arguments) AS a (name, value)
    WHERE a.value IS NOT NULL;
    -- Whoever numbers holds a lock until his transaction ends. Reading a job must hold up nothing.
    IF p_action <> 'export' THEN
        PERFORM vaultstream.number_events(p_job_no);
    END IF;
END $$;
