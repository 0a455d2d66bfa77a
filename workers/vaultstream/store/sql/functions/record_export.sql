-- Adds the event that this login exports a job; what it exports is in its arguments, all text.
-- At most 1,000 exports per hour, login and job, in each of its connections: whoever may read a job must not fill the disk with that.
-- (Open transactions do not see each other's. A lock would let anybody hold up the exports of others.)
CREATE OR REPLACE FUNCTION vaultstream.record_export(p_job_no int, p_arguments jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant text;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    -- A job that was deleted has no row any more.
    SELECT a.tenant INTO v_tenant FROM vaultstream.audited_jobs a WHERE a.job_no = p_job_no;
    IF NOT FOUND OR NOT vaultstream.sees(v_tenant) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('job %s does not exist, or belongs to another tenant than the login %s', p_job_no, session_user);
    END IF;
    -- An older snapshot does not show all exports that count.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE invalid_parameter_value USING MESSAGE = 'exports are recorded at the isolation level READ COMMITTED';
    END IF;
    IF octet_length(p_arguments::text) > 2000 OR jsonb_typeof(p_arguments) IS DISTINCT FROM 'object'
       OR EXISTS (SELECT FROM jsonb_each(p_arguments) AS a (name, value)
                  WHERE jsonb_typeof(a.value) <> 'string' OR a.name !~ '^[a-z_]{1,32}$') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'the arguments of an export are an object of texts, of up to 2000 bytes, with names of a-z and _';
    END IF;
    IF (SELECT count(*) FROM vaultstream.audit_events e
        WHERE e.job_no = p_job_no AND e.at > clock_timestamp() - interval '1 hour'
          AND e.action = 'export' AND e.login = session_user) >= 1000 THEN
        RAISE configuration_limit_exceeded USING
            MESSAGE = format('the login %s has exported this job 1000 times in the last hour', session_user);
    END IF;
    PERFORM vaultstream.record_event(p_job_no, 'export', p_arguments);
END $$;
