-- The seconds between the first lease of a job and its last in which no key was leased, in pieces of more than p_least seconds each.
-- The operator, whose status shows the rate of a job without them, does not read the lease history.
CREATE OR REPLACE FUNCTION vaultstream.paused_seconds(p_job_no int, p_least float8)
RETURNS float8 LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    RETURN (
        SELECT coalesce(sum(gap) FILTER (WHERE gap > p_least), 0)::float8
        FROM (
            SELECT extract(epoch FROM lower(during)
                           - max(upper(during)) OVER (ORDER BY lower(during) ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))::float8 AS gap
            FROM vaultstream.leases JOIN vaultstream.keys USING (key_no)
            WHERE job_no = p_job_no
        ) AS gaps
    );
END $$;
