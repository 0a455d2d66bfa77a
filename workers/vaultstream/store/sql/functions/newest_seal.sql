-- The newest seal of a job with the checkpoint of the log that has it, and that of the job's log which it names. Who sees the job sees
-- these: the operator has no access to the entries of logs, some of which name records. Only logs of the job's tenant count, and in them
-- what has its token. Bodies are not cast to jsonb, because whoever may seal can have written any text.
CREATE OR REPLACE FUNCTION vaultstream.newest_seal(p_job_no int)
RETURNS TABLE (log_no bigint, index bigint, body text, checkpoint text, job_checkpoint text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    RETURN QUERY
    SELECT e.log_no, e.index, e.body, of_log.note, of_job.note
    FROM (SELECT n.* FROM (
              SELECT s.log_no, s.index, s.body, l.origin, l.tenant, a.token
              FROM vaultstream.audited_jobs a
              JOIN vaultstream.log_entries s ON s.job_no = a.job_no AND s.kind = 'seal'
              JOIN vaultstream.logs l ON l.log_no = s.log_no AND l.job_no IS NULL AND l.tenant IS NOT DISTINCT FROM a.tenant
              WHERE a.job_no = p_job_no AND vaultstream.sees(a.tenant)
              ORDER BY s.log_no DESC, s.index DESC LIMIT 20  -- those of before version 34 may have any body
          ) AS n
          WHERE strpos(n.body, format('"jobToken":"%s"', n.token)) > 0
          ORDER BY n.log_no DESC, n.index DESC LIMIT 1) AS e
    JOIN LATERAL (SELECT c.note FROM vaultstream.checkpoints c
                  WHERE c.log_no = e.log_no AND c.size > e.index ORDER BY c.size, c.checkpoint_no LIMIT 1) AS of_log ON true
    JOIN LATERAL (SELECT c.note FROM vaultstream.checkpoints c JOIN vaultstream.logs j ON j.log_no = c.log_no
                  WHERE j.origin = e.origin || '/jobs/' || e.token AND j.tenant IS NOT DISTINCT FROM e.tenant
                    AND c.size = substring(e.body FROM '"treeSize":([0-9]{1,18})[,}]')::bigint
                  ORDER BY c.checkpoint_no DESC LIMIT 1) AS of_job ON true;
END $$;
