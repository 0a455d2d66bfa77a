-- Ends a job that could be completed as Failed, and records who did and why. Returns whether it did. The caller says that the job has
-- not done what was planned; Postgres can't tell. The owner of the schema can open the job again.
CREATE OR REPLACE FUNCTION vaultstream.refuse_job(p_job_no int, p_message text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_refused boolean;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    PERFORM FROM vaultstream.jobs j WHERE j.job_no = p_job_no FOR NO KEY UPDATE;
    UPDATE vaultstream.jobs j
    SET state = 'Failed', finished_at = clock_timestamp(), message = p_message
    WHERE j.job_no = p_job_no AND j.state = 'Running' AND j.planned
      AND NOT EXISTS (SELECT FROM vaultstream.batches b WHERE b.job_no = p_job_no AND b.state = 'pending');
    v_refused := FOUND;
    IF v_refused THEN
        PERFORM vaultstream.record_event(p_job_no, 'refuse', jsonb_build_object('message', p_message));
    END IF;
    RETURN v_refused;
END $$;
