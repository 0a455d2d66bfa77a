-- Stores the relation of a job that was created before relations were stored. It never replaces one.
CREATE OR REPLACE FUNCTION vaultstream.pin_source(p_job_no int, p_source_oid oid)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    PERFORM vaultstream.check_source(j.spec, p_source_oid) FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    UPDATE vaultstream.jobs SET source_oid = p_source_oid WHERE job_no = p_job_no AND source_oid IS NULL;
END $$;
