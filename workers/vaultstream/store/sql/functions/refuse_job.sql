-- Ends a job that could be completed, but has not done what was planned, as Failed. Returns whether it did.
CREATE OR REPLACE FUNCTION vaultstream.refuse_job(p_job_no int, p_message text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    PERFORM FROM vaultstream.jobs j WHERE j.job_no = p_job_no FOR NO KEY UPDATE;
    UPDATE vaultstream.jobs j
    SET state = 'Failed', finished_at = clock_timestamp(), message = p_message
    WHERE j.job_no = p_job_no AND j.state = 'Running' AND j.planned
      AND NOT EXISTS (SELECT FROM vaultstream.batches b WHERE b.job_no = p_job_no AND b.state = 'pending');
    RETURN FOUND;
END $$;
