-- Refuses a job that the login of this session does not see. Row security does not apply to functions that run with the owner's
-- privileges, so each of them that takes a job asks here first. A job that does not exist has nothing to protect.
CREATE OR REPLACE FUNCTION vaultstream.require_job(p_job_no int)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant text;
BEGIN
    SELECT j.tenant INTO v_tenant FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    IF FOUND AND NOT vaultstream.sees(v_tenant) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('job %s belongs to another tenant than the login %s', p_job_no, session_user);
    END IF;
END $$;
