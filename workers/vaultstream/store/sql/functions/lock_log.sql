-- Returns a log, locked until the end of the transaction, and makes it if there is none with that origin.
-- p_job_no NULL: the log of an installation, or of a tenant. Origins can be guessed and are never free again, so those with
-- /tenants/ are for the tenant that they name. Whoever looks for a job that is gone reads all logs of seals, so a tenant has a limited
-- number of them. It waits for another sealer for 10 s at most.
CREATE OR REPLACE FUNCTION vaultstream.lock_log(p_origin text, p_job_no int, p_tenant text)
RETURNS TABLE (log_no bigint, size bigint, frontier bytea) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    IF NOT vaultstream.sees(p_tenant) THEN
        RAISE insufficient_privilege USING MESSAGE = format('the login %s seals jobs of its own tenant alone', session_user);
    END IF;
    PERFORM vaultstream.require_job(p_job_no);
    IF p_job_no IS NOT NULL AND NOT EXISTS (
        SELECT FROM vaultstream.audited_jobs a WHERE a.job_no = p_job_no AND a.tenant IS NOT DISTINCT FROM p_tenant) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no job %s of that tenant', p_job_no);
    END IF;
    IF (length(p_origin) BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the origin of a log has 1 to 1,000 characters';
    END IF;
    IF (CASE WHEN p_tenant IS NULL THEN strpos(p_origin, '/tenants/') > 0
            ELSE right(regexp_replace(p_origin, '/jobs/[^/]+$', ''), length(p_tenant) + 9) <> '/tenants/' || p_tenant END) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('the log %s is of another job or tenant', p_origin);
    END IF;

    -- An INSERT takes a number of the sequence also where it does nothing.
    IF NOT EXISTS (SELECT FROM vaultstream.logs l WHERE l.origin = p_origin) THEN
        IF strpos(p_origin, '/jobs/') = 0 AND (
            SELECT count(*) FROM vaultstream.logs l
            WHERE l.tenant IS NOT DISTINCT FROM p_tenant AND strpos(l.origin, '/jobs/') = 0) >= 5000 THEN
            RAISE configuration_limit_exceeded USING MESSAGE = 'there are 5,000 logs of seals of that tenant';
        END IF;
        INSERT INTO vaultstream.logs (origin, job_no, tenant) VALUES (p_origin, p_job_no, p_tenant) ON CONFLICT (origin) DO NOTHING;
    END IF;
    RETURN QUERY
    SELECT l.log_no, l.size, l.frontier FROM vaultstream.logs l
    WHERE l.origin = p_origin AND l.job_no IS NOT DISTINCT FROM p_job_no AND l.tenant IS NOT DISTINCT FROM p_tenant
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('the log %s is of another job or tenant', p_origin);
    END IF;
END $$;
