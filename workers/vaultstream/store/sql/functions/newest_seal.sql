-- The newest seal of a job with the checkpoint of the log that has it, and that of the job's log which it names. Who sees the job sees
-- these: the operator has no access to the entries of logs, some of which name records.
CREATE OR REPLACE FUNCTION vaultstream.newest_seal(p_job_no int)
RETURNS TABLE (log_no int, index bigint, body text, checkpoint text, job_checkpoint text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    RETURN QUERY
    SELECT e.log_no, e.index, e.body, of_log.note, of_job.note
    FROM (SELECT s.* FROM vaultstream.log_entries s
          WHERE s.job_no = p_job_no AND s.kind = 'seal' ORDER BY s.log_no DESC, s.index DESC LIMIT 1) AS e
    JOIN vaultstream.logs l ON l.log_no = e.log_no AND vaultstream.sees(l.tenant)
    JOIN LATERAL (SELECT c.note FROM vaultstream.checkpoints c
                  WHERE c.log_no = e.log_no AND c.size > e.index ORDER BY c.size, c.checkpoint_no LIMIT 1) AS of_log ON true
    JOIN LATERAL (SELECT c.note FROM vaultstream.checkpoints c JOIN vaultstream.logs j ON j.log_no = c.log_no
                  WHERE j.origin = l.origin || '/jobs/' || (e.body::jsonb ->> 'jobToken') AND c.size = (e.body::jsonb ->> 'treeSize')::bigint
                  ORDER BY c.checkpoint_no DESC LIMIT 1) AS of_job ON true;
END $$;
