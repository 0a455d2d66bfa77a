-- Gives a job that was created before its namespace became a tenant to that tenant. A job never changes its tenant.
CREATE OR REPLACE FUNCTION vaultstream.adopt_job(p_job_no int, p_tenant text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    UPDATE vaultstream.jobs SET tenant = p_tenant
    WHERE job_no = p_job_no AND tenant IS NULL AND split_part(name, '/', 1) = p_tenant AND vaultstream.sees(NULL);
    IF FOUND THEN
        UPDATE vaultstream.audited_jobs SET tenant = p_tenant WHERE job_no = p_job_no;
        PERFORM vaultstream.record_event(p_job_no, 'adopt', jsonb_build_object('tenant', p_tenant));
    END IF;
END $$;
