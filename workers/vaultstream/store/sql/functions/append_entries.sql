-- Appends entries about a job to a log that has p_size of them. A job's log has what happened to that job; another has plans and seals.
-- The job is, or was, of the log's tenant: numbers of jobs to come can be guessed. A plan or a seal has the job's token in
-- its body: newest_seal reads the bodies of those alone, the newest first. The arrays have one element per entry. That p_frontier is the tree with these leaves is not verified here.
CREATE OR REPLACE FUNCTION vaultstream.append_entries(
    p_log_no bigint, p_size bigint, p_job_no int, p_kind text[], p_batch_no bigint[], p_subject text[], p_body text[], p_leaf bytea[],
    p_frontier bytea)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_log   vaultstream.logs;
    v_token text;
BEGIN
    SELECT l.* INTO v_log FROM vaultstream.logs l WHERE l.log_no = p_log_no FOR UPDATE;
    IF NOT FOUND OR NOT vaultstream.sees(v_log.tenant) THEN
        RAISE insufficient_privilege USING MESSAGE = format('the login %s has no log %s', session_user, p_log_no);
    END IF;
    PERFORM vaultstream.require_job(p_job_no);
    SELECT format('"jobToken":"%s"', a.token) INTO v_token
    FROM vaultstream.audited_jobs a WHERE a.job_no = p_job_no AND a.tenant IS NOT DISTINCT FROM v_log.tenant;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no job %s of the tenant of log %s', p_job_no, v_log.origin);
    END IF;
    IF v_log.size <> p_size OR coalesce(v_log.job_no, p_job_no) <> p_job_no THEN
        RAISE invalid_parameter_value USING MESSAGE = format('log %s has %s entries, and is of another job or has grown', v_log.origin, v_log.size);
    END IF;
    IF (format('[1:%s]', cardinality(p_kind)) = ALL (ARRAY[
            array_dims(p_kind), array_dims(p_batch_no), array_dims(p_subject), array_dims(p_body), array_dims(p_leaf)])
        AND p_kind <@ CASE WHEN v_log.job_no IS NULL THEN '{plan,seal}'::text[]
                           ELSE '{statement,dead-letter,revocation,audit-event}' END
        AND NOT EXISTS (
            SELECT FROM unnest(p_kind, p_batch_no, p_subject, p_body) AS e (kind, batch_no, subject, body)
            WHERE CASE e.kind WHEN 'statement' THEN e.body IS NOT NULL OR e.batch_no IS NULL ELSE e.body IS NULL END
               OR length(e.body) > 1000000 OR length(e.subject) > 10000
               OR e.kind IN ('plan', 'seal') AND strpos(e.body, v_token) = 0)
        AND octet_length(p_frontier) % 32 = 0 AND octet_length(p_frontier) <= 63 * 32
       ) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'these are no entries of this log';
    END IF;

    INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, batch_no, subject, body, leaf)
    SELECT p_log_no, p_size + e.n - 1, e.kind, p_job_no, e.batch_no, e.subject, e.body, e.leaf
    FROM unnest(p_kind, p_batch_no, p_subject, p_body, p_leaf) WITH ORDINALITY AS e (kind, batch_no, subject, body, leaf, n);
    UPDATE vaultstream.logs SET size = p_size + cardinality(p_kind), frontier = p_frontier WHERE log_no = p_log_no;
END $$;
