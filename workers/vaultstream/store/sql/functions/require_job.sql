-- Refuses a job that the login of this session does not see. Row security does not apply to functions that run with the owner's
-- privileges, so each of them that takes a job asks here first. A job that does not exist has nothing to protect.
-- Only those functions call it, with their privileges and their search path: setting it once more would take longer than this.
CREATE OR REPLACE FUNCTION vaultstream.require_job(p_job_no int)
RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_tenant text;
BEGIN
    IF pg_has_role(session_user, current_user, 'USAGE') THEN
        RETURN;  -- as vaultstream.sees says
    END IF;
    SELECT j.tenant INTO v_tenant FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    IF FOUND AND NOT vaultstream.sees(v_tenant) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('job %s belongs to another tenant than the login %s', p_job_no, session_user);
    END IF;
END $$;
