-- Records who wraps keys again: one event per job and statement. At most 1,000 of them per hour, login and job, as for exports: each is
-- entered in a log from which nothing is removed.
CREATE OR REPLACE FUNCTION vaultstream.audit_rewrap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_job_no int;
BEGIN
    SELECT k.job_no INTO v_job_no
    FROM (SELECT DISTINCT k.job_no FROM rewrapped m JOIN vaultstream.keys k USING (key_no)) AS k
    WHERE (SELECT count(*) FROM vaultstream.audit_events e
           WHERE e.job_no = k.job_no AND e.at > clock_timestamp() - interval '1 hour'
             AND e.action = 'rewrap' AND e.login = session_user) >= 1000
    LIMIT 1;
    IF FOUND THEN
        RAISE configuration_limit_exceeded USING MESSAGE = format(
            'the login %s has rewrapped keys of job %s in 1000 statements in the last hour', session_user, v_job_no);
    END IF;
    PERFORM vaultstream.record_event(r.job_no, 'rewrap', jsonb_build_object('count', r.count::text, 'kek', r.kek, 'keys', r.keys))
    FROM (
        SELECT k.job_no, count(*), string_agg(DISTINCT left(m.kek_id, 100), ' ') AS kek, string_agg(k.key_id, ' ' ORDER BY k.key_no) AS keys
        FROM rewrapped m
        JOIN vaultstream.keys k USING (key_no)
        GROUP BY k.job_no
        ORDER BY k.job_no
    ) AS r;
    RETURN NULL;
END $$;
