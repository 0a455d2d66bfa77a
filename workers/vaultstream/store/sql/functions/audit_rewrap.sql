-- Records who wraps keys again: one event per job and statement.
CREATE OR REPLACE FUNCTION vaultstream.audit_rewrap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
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
