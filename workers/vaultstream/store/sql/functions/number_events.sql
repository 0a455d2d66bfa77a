-- Numbers the events of a job, from 1 and without a gap. Returns the last number; NULL if another transaction is numbering them.
-- No event waits for another one, so that none can hold up a revocation or deadlock with it: an event that is added meanwhile has no
-- number until the next event, or the next seal. Until it is sealed, a number protects nothing: the schema's owner can change it.
CREATE OR REPLACE FUNCTION vaultstream.number_events(p_job_no int)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_last   bigint;
    v_added  bigint;
    v_tenant text;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    -- A job that was deleted has no row any more.
    SELECT a.tenant INTO v_tenant FROM vaultstream.audited_jobs a WHERE a.job_no = p_job_no;
    IF FOUND AND NOT vaultstream.sees(v_tenant) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('job %s belonged to another tenant than the login %s', p_job_no, session_user);
    END IF;
    -- An older snapshot does not show who numbered what.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM vaultstream.audit_events e WHERE e.job_no = p_job_no AND e.number IS NULL) THEN
        RETURN (SELECT a.events FROM vaultstream.audited_jobs a WHERE a.job_no = p_job_no);
    END IF;
    SELECT a.events INTO v_last FROM vaultstream.audited_jobs a WHERE a.job_no = p_job_no FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    WITH placed AS (
        SELECT e.event_no, v_last + row_number() OVER (ORDER BY e.event_no) AS number
        FROM vaultstream.audit_events e
        WHERE e.job_no = p_job_no AND e.number IS NULL
    ), numbered AS (
        UPDATE vaultstream.audit_events e SET number = placed.number
        FROM placed
        WHERE e.event_no = placed.event_no
        RETURNING e.event_no
    )
    SELECT count(*) INTO v_added FROM numbered;
    IF v_added > 0 THEN
        UPDATE vaultstream.audited_jobs a SET events = v_last + v_added WHERE a.job_no = p_job_no;
    END IF;
    RETURN v_last + v_added;
END $$;
